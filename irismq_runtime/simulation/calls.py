"""What a simulated loop has been given to call: at once, or at a time."""

from __future__ import annotations

import asyncio

__all__ = ["LoopCall", "LoopTimer"]


class LoopCall(asyncio.Handle):
    """A callback that is ready, or will be."""

    __slots__ = ()

    def run(self) -> None:
        """Call it unless it was cancelled; what it raises goes to the loop's handler."""
        if not self._cancelled:
            self._run()


class LoopTimer(LoopCall, asyncio.TimerHandle):
    """A callback with a time."""

    __slots__ = ()

    def expect(self) -> None:
        """It waits for its time: a `cancel` is told to the loop."""
        self._scheduled = True

    def due(self) -> None:
        """It is its time."""
        self._scheduled = False
