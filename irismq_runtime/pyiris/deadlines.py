"""Many deadlines, one timer: ids in buckets of a few milliseconds.

A deadline is rounded up to the next bucket, never down, so nothing expires too
early; it may expire up to one `grain` late. Adding and removing cost a set
operation each. An id that is removed leaves nothing behind but its bucket,
which goes when its moment passes.

`Deadlines` is the bookkeeping and knows no clock. `Expiry` keeps one timer of
a given clock set to the earliest bucket.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import Clock, TimerHandle

__all__ = ["Deadlines", "Expiry"]

#: Part of a grain by which a timer may fire early through rounding of floats.
_SLACK: Final = 1e-3


class Deadlines:
    """Ids by the moment at which they expire. Times are monotonic seconds."""

    __slots__ = ("_buckets", "_grain", "_ticks")

    def __init__(self, grain: float = 0.005) -> None:
        self._grain = grain
        self._buckets: dict[int, set[int]] = {}
        self._ticks: list[int] = []

    def add(self, key: int, at: float) -> set[int]:
        """Note that `key` expires at `at`.

        Returns the bucket: `bucket.discard(key)` takes the note back.
        """
        tick = math.ceil(at / self._grain - _SLACK / 2)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heapq.heappush(self._ticks, tick)
        bucket.add(key)
        return bucket

    def due(self, now: float) -> list[int]:
        """Remove and return every id whose bucket has passed, oldest bucket first."""
        expired: list[int] = []
        last = math.floor(now / self._grain + _SLACK)
        while self._ticks and self._ticks[0] <= last:
            expired.extend(sorted(self._buckets.pop(heapq.heappop(self._ticks))))
        return expired

    def next(self) -> float | None:
        """When the earliest bucket that still holds something passes; None if none does."""
        while self._ticks:
            tick = self._ticks[0]
            if self._buckets[tick]:
                return tick * self._grain
            heapq.heappop(self._ticks)
            del self._buckets[tick]
        return None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))


class Expiry:
    """Calls `on_due` with the ids that have expired, on the clock's loop."""

    __slots__ = ("_armed", "_clock", "_deadlines", "_on_due", "_timer")

    def __init__(self, clock: Clock, on_due: Callable[[Iterable[int]], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._deadlines = Deadlines()
        self._timer: TimerHandle | None = None
        self._armed = math.inf

    def add(self, key: int, at: float) -> set[int]:
        """As `Deadlines.add`; the id is handed to `on_due` unless discarded before."""
        if at < self._armed:
            bucket = self._deadlines.add(key, at)
            self._arm()
            return bucket
        return self._deadlines.add(key, at)

    def stop(self) -> None:
        """Cancel the timer. What was added stays, and expires with a later `add`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = math.inf

    def _arm(self) -> None:
        self.stop()
        at = self._deadlines.next()
        if at is not None:
            self._armed = at
            delay = max(0.0, at - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._armed = math.inf
        expired = self._deadlines.due(self._clock.monotonic())
        if expired:
            self._on_due(expired)
        self._arm()
