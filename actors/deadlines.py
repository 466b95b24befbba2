"""The deadlines of pending asks: one timer for all of the same duration.

Asks with one timeout end in the order in which they began, so each duration
has an ordered table of what is pending and at most one timer, set for the
oldest. Whoever takes an ask out of its table has the right to resolve it:
`dict.pop` is atomic, so an answer, a timeout and a death that come at the same
moment from different threads have exactly one winner, without a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.rules import check_seconds

if TYPE_CHECKING:
    from actors._slot_view import SystemView
    from actors.ask import Ask
    from actors.clock import TimerHandle

__all__ = ["Deadlines"]


class _Bucket:
    """The pending asks of one duration, oldest first."""

    __slots__ = ("_owner", "armed", "handle", "pending", "timeout")

    def __init__(self, owner: Deadlines, timeout: float) -> None:
        self._owner = owner
        self.timeout = timeout
        self.pending: dict[Ask[Any], float] = {}
        self.armed = False
        self.handle: TimerHandle | None = None

    def arm(self) -> None:
        """Set the timer for the oldest. Loop thread only."""
        first = self._first()
        if first is None:
            # First give the timer up, then look again: an ask that comes from
            # another thread in between finds `armed` False, or is found here.
            self.armed = False
            self._owner.forget(self)
            first = self._first()
            if first is None:
                return
            self.armed = True
        clock = self._owner.system.clock
        self.handle = clock.call_later(max(0.0, first[1] - clock.monotonic()), self._fire)

    def _fire(self) -> None:
        now = self._owner.system.clock.monotonic()
        while (first := self._first()) is not None and first[1] <= now:
            first[0].expire()
        self.arm()

    def _first(self) -> tuple[Ask[Any], float] | None:
        while True:
            try:
                return next(iter(self.pending.items()), None)
            except RuntimeError:
                # Another thread added an ask between the two steps: look again.
                continue


class Deadlines:
    """All pending asks of one system."""

    __slots__ = ("_buckets", "default", "system")

    def __init__(self, system: SystemView, timeout: float) -> None:
        self.system = system
        #: The bucket of asks that name no timeout; it is never forgotten.
        self.default = _Bucket(self, timeout)
        self._buckets: dict[float, _Bucket] = {timeout: self.default}

    def table(self, timeout: float) -> _Bucket:
        """The bucket of asks that wait `timeout` seconds."""
        try:
            bucket = self._buckets.get(timeout)
        except TypeError:  # not hashable, so not a number
            bucket = None
        if bucket is None:
            bucket = self._buckets.setdefault(
                check_seconds("timeout", timeout), _Bucket(self, timeout)
            )
        return bucket

    def forget(self, bucket: _Bucket) -> None:
        """Drop a bucket in which nothing is pending."""
        if bucket is not self.default:
            self._buckets.pop(bucket.timeout, None)

    def pending(self) -> int:
        """How many asks are pending now."""
        return sum(len(bucket.pending) for bucket in list(self._buckets.values()))

    def close(self) -> None:
        """Take the timers back. Loop thread only."""
        for bucket in list(self._buckets.values()):
            bucket.armed = False
            if bucket.handle is not None:
                bucket.handle.cancel()
