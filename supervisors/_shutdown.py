"""Ending children: ask, wait `shutdown` seconds, then cancel.

One child: its own timer. Many at the same time: all are asked, and one timer for
each length of time kills those that are left when it fires. What cannot be
cancelled (a thread) is abandoned by its slot and reported by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import runtime

if TYPE_CHECKING:
    from actors import Clock, Exit
    from actors.clock import TimerHandle
    from actors.runtime import Slot
    from supervisors.spec import Shutdown

__all__ = ["SharedTimers", "stop_slot"]


async def stop_slot(slot: Slot, shutdown: Shutdown) -> Exit:
    """End the incarnation of `slot`; return how it ended. The slot is kept."""
    if shutdown == "kill":
        return await runtime.stop(slot, "shutdown", timeout=0)
    if shutdown == "infinity":
        return await runtime.stop(slot, "shutdown", timeout=None)
    return await runtime.stop(slot, "shutdown", timeout=float(shutdown))


class SharedTimers:
    """The patience with many children that are stopped at the same time.

    Each is told with `stop_slot(slot, timers.told(slot, shutdown))`. When all have been
    told, `arm` orders one timer for each length of time, which kills what is left then;
    so no child's time runs out before it was told. `ended` takes a child off.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[Slot, float] = {}
        self._handles: list[TimerHandle] = []

    def told(self, slot: Slot, shutdown: Shutdown) -> Shutdown:
        """How to ask this child; a finite time is watched by the shared timer."""
        if shutdown in {"kill", 0}:
            return "kill"
        if isinstance(shutdown, int | float):
            self._left[slot] = float(shutdown)
        return "infinity"

    def arm(self) -> None:
        """All have been told: their time begins."""
        self._handles = [
            self._clock.call_later(seconds, self._kill, seconds)
            for seconds in sorted(set(self._left.values()))
        ]

    def ended(self, slot: Slot) -> None:
        """One of the children has ended; with the last one the timers go."""
        if self._left.pop(slot, None) is not None and not self._left:
            for handle in self._handles:
                handle.cancel()

    def _kill(self, seconds: float) -> None:
        for slot, patience in tuple(self._left.items()):
            if patience == seconds:
                slot.kill()
