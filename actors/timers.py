"""Messages that an actor sends to itself later: `send_after`, `send_every`.

A timer belongs to the incarnation that set it and dies with it; a message it
has put in the inbox already is not seen by a later incarnation. A periodic
timer keeps its rate: the next time is counted from the time that was due, and
times that passed while the loop was busy are skipped, not made up for. So are those
that come while its last message waits for its turn: at most one does, however slow
its handler is. One that is revoked, because another one has taken its name, is as if it
had never fired, if what it sent was not handled yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._items import Stamped
from actors.rules import check_seconds

if TYPE_CHECKING:
    from actors._slot import Slot
    from actors._slot_view import SlotView
    from actors.clock import TimerHandle

__all__ = ["Timer"]


class Tick(Stamped):
    """The message of a timer, which learns when its turn has come."""

    __slots__ = ("_timer",)

    def __init__(self, slot: SlotView, message: Any, incarnation: int, timer: Timer) -> None:
        super().__init__(slot, message, incarnation)
        self._timer = timer

    def admit(self, slot: SlotView) -> bool:
        """Its turn has come: the next one may wait. Of a timer that was revoked it is nothing."""
        self._timer.waits = False
        return not self._timer.revoked and super().admit(slot)

    def stashed(self) -> None:
        """It stands in the stash: it waits again."""
        self._timer.waits = True


class Timer:
    """A message on its way to its own sender. `cancel()` from any thread."""

    __slots__ = (
        "_due",
        "_handle",
        "_incarnation",
        "_message",
        "_period",
        "_slot",
        "active",
        "revoked",
        "waits",
    )

    def __init__(self, slot: Slot, delay: float, message: Any, period: float | None) -> None:
        check_seconds("delay", delay)
        self._slot = slot
        self._incarnation = slot.incarnation
        self._message = message
        self._period = period
        self._due = slot.system.now() + delay
        self._handle: TimerHandle | None = None
        #: True until it has fired for the last time or was cancelled.
        self.active = True
        #: Whether what it has sent counts no more.
        self.revoked = False
        #: Whether its last message waits for its turn, in the inbox or put aside.
        self.waits = False
        slot.system.call_on_loop(self._arm)

    def cancel(self) -> None:
        """Send no more. A message that is in the inbox already stays there."""
        if self.active:
            self.active = False
            self._slot.system.call_on_loop(self._disarm)

    def revoke(self) -> bool:
        """Cancel it, with what waits of it already; whether that changes anything."""
        pending = self.active or self.waits
        self.revoked = True
        self.cancel()
        return pending

    def _arm(self) -> None:
        slot = self._slot
        if not self.active or slot.incarnation != self._incarnation:
            self.active = False
            return
        slot.attachments().timers.add(self)
        clock = slot.system.clock
        self._handle = clock.call_later(max(0.0, self._due - clock.monotonic()), self._fire)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._slot.attached is not None:
            self._slot.attached.timers.discard(self)

    def _fire(self) -> None:
        slot = self._slot
        self._handle = None
        if not self.active:
            return
        if not self.waits:
            self.waits = True  # before: a thread may take it at once
            if not slot.put_timed(Tick(slot, self._message, self._incarnation, self)):
                self.waits = False
        if self._period is None:
            self.active = False
            self._disarm()
            return
        now = slot.system.now()
        missed = int((now - self._due) / self._period)
        self._due += self._period * (missed + 1)
        self._arm()
