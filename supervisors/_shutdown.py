"""Ending children: ask, wait `shutdown` seconds, then cancel.

One child: its own timer. Many at the same time: all are asked, and one timer for
each length of time kills those that are left when it fires. What cannot be
cancelled (a thread) is abandoned by its cell and reported by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors import Clock, Exit
    from actors._cell import Cell
    from supervisors.spec import Shutdown

__all__ = ["SharedTimers", "stop_cell"]


async def stop_cell(cell: Cell, shutdown: Shutdown) -> Exit:
    """End the incarnation of `cell`; return how it ended. The slot is kept."""
    if shutdown == "kill":
        return await cell.stop("shutdown", timeout=0)
    if shutdown == "infinity":
        return await cell.stop("shutdown", timeout=None)
    return await cell.stop("shutdown", timeout=float(shutdown))


class SharedTimers:
    """The patience with many children that are stopped at the same time.

    Use `stop_cell(cell, timers.asked(shutdown))` for each of them; what is left when
    its time is over is killed by one timer for all of that length.
    """

    def __init__(self, clock: Clock, cells: Iterable[tuple[Cell, Shutdown]]) -> None:
        groups: dict[float, list[Cell]] = {}
        for cell, shutdown in cells:
            if isinstance(shutdown, int | float) and shutdown > 0:
                groups.setdefault(float(shutdown), []).append(cell)
        self._left = {id(cell) for group in groups.values() for cell in group}
        self._handles = [
            clock.call_later(seconds, self._kill, group) for seconds, group in groups.items()
        ]

    @staticmethod
    def asked(shutdown: Shutdown) -> Shutdown:
        """How one child is asked: a finite time is watched by the shared timer."""
        return "kill" if shutdown in {"kill", 0} else "infinity"

    def ended(self, cell: Cell) -> None:
        """One of the children has ended; with the last one the timers go."""
        self._left.discard(id(cell))
        if not self._left:
            for handle in self._handles:
                handle.cancel()

    def _kill(self, group: list[Cell]) -> None:
        for cell in group:
            if id(cell) in self._left:
                cell.kill()
