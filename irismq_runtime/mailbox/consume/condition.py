"""A condition variable with a time limit, on the clock of the mailbox.

For waiting for several things at once, each of which says when it has changed: what is
waited for is asked again after each change. The wait ends when there is nothing left to
wait for, or the time is over. (asyncio.Condition waits by the loop's clock, which no
test can turn.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock

__all__ = ["TimedCondition"]


class TimedCondition:
    """See the module. Loop thread only."""

    __slots__ = ("_changed", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def wait_while(self, waiting: Callable[[], bool], seconds: float) -> bool:
        """Wait while `waiting()`, at most `seconds`; False when the time was over first."""
        until = self._clock.monotonic() + seconds
        timer = self._clock.call_later(seconds, self._changed.set)
        try:
            while waiting():
                if self._clock.monotonic() >= until:
                    return False
                self._changed.clear()
                await self._changed.wait()
        finally:
            timer.cancel()
        return True
