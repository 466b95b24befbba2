"""What must end by itself, and not by a deadline: asked without a stopwatch.

A machine may stand still for seconds, so no test says that something took less
than a second. It gives every deadline inside more time than `OUTER`: what ends
within `OUTER` then waited for none of them. The time it took is logged
(`pytest -o log_cli=true --log-cli-level=INFO`) and judged by nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["OUTER", "promptly"]

_log = logging.getLogger(__name__)

#: Seconds: far more than any machine needs, far less than the deadlines inside.
OUTER = 20.0


@asynccontextmanager
async def promptly(what: str) -> AsyncIterator[None]:
    """Raise TimeoutError when the body has not ended after `OUTER` seconds."""
    began = time.monotonic()
    async with asyncio.timeout(OUTER):
        yield
    _log.info("%s: %.3f s", what, time.monotonic() - began)
