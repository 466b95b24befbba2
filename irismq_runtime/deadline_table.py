"""Many deadlines, one timer: a table of what expires when, in buckets of a few milliseconds.

A deadline is rounded up to the next bucket, never down, so nothing expires too
early; it may expire up to one grain late. Adding and removing cost a dictionary
operation each. What is removed leaves nothing behind but its bucket, which goes
when its moment passes, or when empty ones have become as many as the others.

`DeadlineTable` is the bookkeeping and knows no clock. `ExpiryTimer` is one that keeps
a timer of a given clock set to the earliest bucket; it looks at the timer when a
bucket begins, not for everything in it. One loop, one thread.
"""

from __future__ import annotations

import heapq
import math
from math import ceil
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle

__all__ = ["DeadlineTable", "ExpiryTimer"]

T = TypeVar("T")

#: Part of a grain by which a timer may fire early through rounding of floats.
_SLACK: Final = 1e-3
_HALF_SLACK: Final = _SLACK / 2

#: Seconds for which the timer is set at most: a loop's timers know no longer ones.
_LONGEST_WAIT: Final = 86_400.0

#: Buckets from which on a sweep is worth its while.
_SWEEP: Final = 1024


class DeadlineTable(Generic[T]):
    """What expires, by the moment at which it does.

    Args:
        grain: width of a bucket, in seconds.
    """

    __slots__ = ("_buckets", "_grain", "_sweep_at", "_ticks")

    def __init__(self, grain: float = 0.005) -> None:
        self._grain = grain
        self._buckets: dict[int, dict[T, None]] = {}
        #: The numbers of the buckets, as a heap.
        self._ticks: list[int] = []
        self._sweep_at = _SWEEP

    def add(self, item: T, at: float) -> dict[T, None]:
        """Note that `item` expires at `at`, in monotonic seconds.

        Returns the bucket: `bucket.pop(item, None)` takes the note back.
        """
        tick = ceil(at / self._grain - _HALF_SLACK)
        try:
            bucket = self._buckets[tick]
        except KeyError:
            bucket = self._begin(tick)
        bucket[item] = None
        return bucket

    def _begin(self, tick: int) -> dict[T, None]:
        """Make a bucket."""
        bucket = self._buckets[tick] = {}
        heapq.heappush(self._ticks, tick)
        if len(self._ticks) > self._sweep_at:
            self._sweep(tick)
        self._begun(tick)
        return bucket

    def _begun(self, tick: int) -> None:
        """A bucket was made."""

    def _sweep(self, new: int) -> None:
        """Forget the empty buckets, all but the one that is about to be filled."""
        self._buckets = {tick: it for tick, it in self._buckets.items() if it or tick == new}
        self._ticks = sorted(self._buckets)
        self._sweep_at = max(_SWEEP, 2 * len(self._ticks))

    def due(self, now: float) -> list[T]:
        """Remove and return what has expired, oldest bucket first, each in order of adding."""
        expired: list[T] = []
        last = math.floor(now / self._grain + _SLACK)
        while self._ticks and self._ticks[0] <= last:
            expired.extend(self._buckets.pop(heapq.heappop(self._ticks)))
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

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._ticks.clear()

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))


class ExpiryTimer(DeadlineTable[T]):
    """Calls `on_due` with what has expired, on the clock's loop.

    Args:
        clock: tells the time, in monotonic seconds, and has the one timer.
        on_due: gets a list that is not empty. What it adds is seen.
        grain: width of a bucket, in seconds.
    """

    __slots__ = ("_armed", "_clock", "_on_due", "_timer")

    def __init__(
        self, clock: Clock, on_due: Callable[[list[T]], None], *, grain: float = 0.005
    ) -> None:
        super().__init__(grain)
        self._clock = clock
        self._on_due = on_due
        self._timer: TimerHandle | None = None
        self._armed: float = math.inf

    def stop(self) -> None:
        """Forget everything, and cancel the timer."""
        self.clear()
        self._disarm()

    def _begun(self, tick: int) -> None:
        # No bucket is ever earlier than the timer, so older ones need no look.
        if tick < self._armed:
            self._arm(tick)

    def _arm(self, tick: int) -> None:
        self._disarm()
        self._armed = tick
        delay = tick * self._grain - self._clock.monotonic()
        self._timer = self._clock.call_later(min(max(0.0, delay), _LONGEST_WAIT), self._fire)

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
        if self.next() is not None and self._ticks[0] < self._armed:
            self._arm(self._ticks[0])
