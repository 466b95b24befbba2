"""The one place that chooses the event loop: uvloop where it exists.

Everything else asks for the running loop and does not know which one it is.

`run` also takes what the program has made so far, its modules and classes, out
of the collector's rounds: a full round over them stops the loop for tens of
milliseconds, and finds nothing.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

__all__ = ["new_event_loop", "run"]

T = TypeVar("T")


def _factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not built for this platform: plain asyncio serves
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop of the kind that `run` uses. It belongs to the caller."""
    return _factory()()


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run `main` on a new loop to its end and return what it returns.

    Tasks that are left over are cancelled and asynchronous generators closed, as
    with `asyncio.run`. Raises what `main` raises, `RuntimeError` when a loop
    already runs in this thread.

    What exists when it begins is not looked through for garbage until it ends
    (`gc.freeze`).
    """
    gc.freeze()
    try:
        return _run(main, debug=debug)
    finally:
        gc.unfreeze()


def _run(main: Coroutine[Any, Any, T], *, debug: bool | None) -> T:
    with asyncio.Runner(debug=debug, loop_factory=_factory()) as runner:
        return runner.run(main)
