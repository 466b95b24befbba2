"""Many deadlines, one timer: ids in buckets of a few milliseconds.

A deadline is rounded up to the next bucket, never down, so nothing expires too
early; it may expire up to one `grain` late. Adding and removing cost a set
operation each. An id that is removed leaves nothing behind but its bucket,
which goes when its moment passes.

`Deadlines` is the bookkeeping and knows no clock. `Expiry` is one that keeps a
timer of a given clock set to the earliest bucket; it looks at the timer when a
bucket begins, not for every id in it.
"""

from __future__ import annotations

import heapq
import math
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import Clock, TimerHandle

__all__ = ["Deadlines", "Expiry"]

#: Part of a grain by which a timer may fire early through rounding of floats.
_SLACK: Final = 1e-3
_HALF_SLACK: Final = _SLACK / 2


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
        tick = ceil(at / self._grain - _HALF_SLACK)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heapq.heappush(self._ticks, tick)
            self._begun(tick)
        bucket.add(key)
        return bucket

    def _begun(self, tick: int) -> None:
        """A bucket was made."""

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


class Expiry(Deadlines):
    """Calls `on_due` with the ids that have expired, on the clock's loop."""

    __slots__ = ("_armed", "_clock", "_on_due", "_timer")

    def __init__(self, clock: Clock, on_due: Callable[[Iterable[int]], None]) -> None:
        super().__init__()
        self._clock = clock
        self._on_due = on_due
        self._timer: TimerHandle | None = None
        self._armed: float = math.inf

    def stop(self) -> None:
        """Forget every id, and cancel the timer."""
        self._buckets.clear()
        self._ticks.clear()
        self._disarm()

    def _begun(self, tick: int) -> None:
        # No bucket is ever earlier than the timer, so older ones need no look.
        if tick < self._armed:
            self._arm(tick)

    def _arm(self, tick: int) -> None:
        self._disarm()
        self._armed = tick
        delay = max(0.0, tick * self._grain - self._clock.monotonic())
        self._timer = self._clock.call_later(delay, self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = math.inf

    def _fire(self) -> None:
        self._timer = None
        self._armed = math.inf
        expired = self.due(self._clock.monotonic())
        if expired:
            self._on_due(expired)
        if self.next() is not None:
            self._arm(self._ticks[0])
