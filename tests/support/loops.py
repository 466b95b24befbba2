"""The loop of a test: uvloop's, whose end is loud and certain.

uvloop warns of each connection that is open when a loop is closed. Where warnings are
errors, as in this suite, that leaves the connection open, and `close` waits for it for ever:
a test that fails before it has closed everything would stop its whole worker. So everything
is closed first, and what was left open is said afterwards.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import warnings

__all__ = ["new_loop", "uvloop_class"]


def new_loop() -> asyncio.AbstractEventLoop:
    """A new loop: plain asyncio's with `IRISMQ_TEST_LOOP=asyncio`, and on Windows."""
    if os.environ.get("IRISMQ_TEST_LOOP") == "asyncio" or sys.platform == "win32":
        return asyncio.new_event_loop()
    return uvloop_class()()


@functools.cache
def uvloop_class() -> type[asyncio.AbstractEventLoop]:
    """uvloop's loop, with an end of ours."""
    import uvloop

    class Loop(uvloop.Loop):
        __module__ = uvloop.Loop.__module__  # by which `irismq doctor` knows it

        def close(self) -> None:
            with warnings.catch_warnings(record=True) as left_open:
                warnings.simplefilter("always")
                super().close()
            for each in left_open:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)

    return Loop
