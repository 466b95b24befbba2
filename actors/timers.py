"""Messages that an actor sends to itself later: `send_after`, `send_every`.

A timer belongs to the incarnation that set it and dies with it; a message it
has put in the inbox already is not seen by a later incarnation. A periodic
timer keeps its rate: the next time is counted from the time that was due, and
times that passed while the loop was busy are skipped, not made up for. So are those
that come while its last message waits for its turn: at most one does, however slow
its handler is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._parcels import Stamped
from actors.deadlines import check_seconds

if TYPE_CHECKING:
    from actors._cell import Cell
    from actors.clock import TimerHandle

__all__ = ["Timer"]


class Tick(Stamped):
    """The message of a timer, which learns when its turn has come."""

    __slots__ = ("_timer",)

    def __init__(self, cell: Cell, message: Any, incarnation: int, timer: Timer) -> None:
        super().__init__(cell, message, incarnation)
        self._timer = timer

    def admit(self, cell: Cell) -> bool:
        """Its turn has come: the next one may wait."""
        self._timer.waits = False
        return super().admit(cell)

    def put_aside(self) -> None:
        """It stands in the stash: it waits again."""
        self._timer.waits = True


class Timer:
    """A message on its way to its own sender. `cancel()` from any thread."""

    __slots__ = (
        "_cell",
        "_due",
        "_handle",
        "_incarnation",
        "_message",
        "_period",
        "active",
        "waits",
    )

    def __init__(self, cell: Cell, delay: float, message: Any, period: float | None) -> None:
        check_seconds("delay", delay)
        self._cell = cell
        self._incarnation = cell.incarnation
        self._message = message
        self._period = period
        self._due = cell.system.now() + delay
        self._handle: TimerHandle | None = None
        #: True until it has fired for the last time or was cancelled.
        self.active = True
        #: Whether its last message waits for its turn, in the inbox or put aside.
        self.waits = False
        cell.system.call_on_loop(self._arm)

    def cancel(self) -> None:
        """Send no more. A message that is in the inbox already stays there."""
        if self.active:
            self.active = False
            self._cell.system.call_on_loop(self._disarm)

    def _arm(self) -> None:
        cell = self._cell
        if not self.active or cell.incarnation != self._incarnation:
            self.active = False
            return
        cell.company().timers.add(self)
        clock = cell.system.clock
        self._handle = clock.call_later(max(0.0, self._due - clock.monotonic()), self._fire)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._cell.bystanders is not None:
            self._cell.bystanders.timers.discard(self)

    def _fire(self) -> None:
        cell = self._cell
        self._handle = None
        if not self.active:
            return
        if not self.waits:
            self.waits = True  # before: a thread may take it at once
            if not cell.put_timed(Tick(cell, self._message, self._incarnation, self)):
                self.waits = False
        if self._period is None:
            self.active = False
            self._disarm()
            return
        now = cell.system.now()
        missed = int((now - self._due) / self._period)
        self._due += self._period * (missed + 1)
        self._arm()
