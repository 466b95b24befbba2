"""Waiting for several things at once, each of which says when it has changed.

What is waited for is asked again after each change; the wait ends when there is
nothing left to wait for, or the time is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock

__all__ = ["Patience"]


class Patience:
    """See the module. Loop thread only."""

    __slots__ = ("_changed", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def over(self, waiting: Callable[[], bool], seconds: float) -> bool:
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
