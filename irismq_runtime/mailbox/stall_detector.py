"""Notices that the loop has stood still, and dates what comes after it back. Pure.

One beat per period drives every lease and every silence check of a mailbox. A
late beat means that the loop (or the whole process: SIGSTOP) stood still. What
is read right after such a stall was pushed by the broker at some time during
it, and its lease has been running since: it is dated back to the last beat
before the stall, so that an old message is not taken for a fresh one.
"""

from __future__ import annotations

__all__ = ["StallDetector"]


class StallDetector:
    """Beats, and what they say about arrivals."""

    __slots__ = ("_before", "_last", "_stale_until", "period")

    def __init__(self, now: float, period: float = 1.0) -> None:
        #: Seconds between beats; may be shortened while running.
        self.period = period
        self._last = now
        self._before = now
        self._stale_until = float("-inf")

    def beat(self, now: float) -> bool:
        """Count a beat; False when it came late."""
        late = self._stalled(now)
        if late:
            self._before = self._last
            self._stale_until = now + self.period
        self._last = now
        return not late

    def earliest_push(self, now: float) -> float:
        """The earliest time at which the broker may have pushed what is read now."""
        if self._stalled(now):
            return self._last
        return self._before if now < self._stale_until else now

    def _stalled(self, now: float) -> bool:
        return now - self._last > 2 * self.period + 0.25
