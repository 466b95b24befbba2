"""Waiting for a condition: the one way in which a test does it.

The loop is turned; after a while with pauses in which sockets, processes and files
get their time. Nobody sleeps for a guessed time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]

#: Turns of the loop before it pauses between them: enough for what needs no I/O. What waits
#: for another process takes the processor from it with each turn.
_TURNS = 200
#: Seconds of one pause.
_PAUSE = 0.001


async def until(
    condition: Callable[[], Any],
    what: str = "what the test waits for",
    *,
    seconds: float = 60.0,
    at_leisure: bool = False,
) -> Any:
    """Return what `condition()` gives as soon as that is true.

    `at_leisure`: it pauses from the beginning, for a condition that does something to others.
    Raises `AssertionError` with `what` after `seconds`: far more than any machine needs.
    """
    loop = asyncio.get_running_loop()
    turns = _TURNS if at_leisure else 0
    try:
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                turns += 1
                if turns < _TURNS:
                    await asyncio.sleep(0)
                else:
                    await _pause(loop)
    except TimeoutError:
        raise AssertionError(f"it never came: {what}") from None
    return found


async def _pause(loop: asyncio.AbstractEventLoop) -> None:
    turned = loop.create_future()
    timer = loop.call_later(_PAUSE, turned.set_result, None)
    try:
        await turned
    finally:  # the time is over: nobody may end what is cancelled
        timer.cancel()
