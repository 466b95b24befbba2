"""Waiting for what happens outside this loop: sockets, processes, files.

The time limit of the test ends a wait that is in vain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition()` is true; it is asked again after each turn of I/O."""
    loop = asyncio.get_running_loop()
    while not condition():
        turned = loop.create_future()
        loop.call_later(0.002, turned.set_result, None)
        await turned
