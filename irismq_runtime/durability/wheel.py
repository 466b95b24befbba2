"""Publishes the rows of reminders when they are due, and not before: till then the store has them.

A row that is due in a month is no message of a broker for a month. The wheel looks into the store
when the first of them is due, a second before: what its own node has staged it knows of, what was
there before it finds when an address is taken over, and at the latest after a minute. Each look
takes a bounded number; with a million that are due, look follows look. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from actors.clock import TimerHandle
    from irismq_runtime.durability.engine import DurableEngine

__all__ = ["ReminderWheel"]

#: Seconds before a row is due at which it is published, to be held by the broker for the rest.
_AHEAD: Final = 1.0
#: Rows that one look takes.
_AT_ONCE: Final = 500
#: Seconds between two looks at most.
_LONGEST: Final = 60.0
#: Seconds before what a look failed at is tried again.
_AGAIN: Final = 1.0


class ReminderWheel:
    """The looks of one node."""

    __slots__ = ("_at", "_engine", "_running", "_timer")

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine
        #: When the next look is, on the monotonic clock.
        self._at = float("inf")
        self._timer: TimerHandle | None = None
        self._running = False

    def look_by(self, delay: float) -> None:
        """Something is due in `delay` seconds."""
        at = self._engine.now() + max(0.0, min(delay, _LONGEST) - _AHEAD)
        if at < self._at and not self._engine.closed:
            self.stop()
            self._at = at
            wait = max(0.0, at - self._engine.now())
            self._timer = self._engine.clock.call_later(wait, self._begin)

    def stop(self) -> None:
        """Look no more, until something is due again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = float("inf")

    def _begin(self) -> None:
        self.stop()
        if not self._running:
            self._running = True
            self._engine.spawn(self._look())

    async def _look(self) -> None:
        engine = self._engine
        following = _LONGEST
        try:
            await engine.committer.usable()
            while addresses := engine.served:
                rows = await engine.store.due(addresses, _AHEAD, _AT_ONCE)
                await engine.rows.send_due(rows, engine.clock.time())
                if len(rows) < _AT_ONCE:
                    break
            else:
                return
            (*_, first) = (None, *await engine.store.due(addresses, _LONGEST, 1))
            if first is not None:
                following = first.due - engine.clock.time()
        except StoreUnavailable as fault:
            engine.committer.fault_seen(fault)
            following = _AGAIN + _AHEAD
        finally:
            self._running = False
            if engine.served:
                self.look_by(following)
