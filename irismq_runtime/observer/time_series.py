"""Time series of the last seconds: growth, rates, crash loops. Pure.

A time series keeps what was seen, when (seconds on any clock that only grows; the time
is always an argument), and forgets what is old. The questions asked of it decide
what an observer calls wrong, so their thresholds stand here, side by side.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

__all__ = ["RestartHistory", "TimeSeries"]

#: How far back a series goes, in seconds, and how many values it holds at most.
KEPT: Final = 30.0
MOST: Final = 200
#: Rates are taken over the latest so many seconds.
RATE_SPAN: Final = 3.0
#: A queue grows when it has done so for so long and by so much, and does not fall.
GROWTH_SPAN: Final = 5.0
GROWTH_LEAST_SPAN: Final = 0.9
GROWTH_STEPS: Final = 2
GROWTH_LEAST: Final = 10
GROWTH_SHARE: Final = 0.05
#: Restarts within seconds that make a crash loop: either is enough.
LOOPS: Final = ((2, 3.0), (3, 15.0))


class TimeSeries:
    """One number over time. Values that only grow may start again at 0."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=MOST)

    def add(self, now: float, value: float) -> None:
        """The number is `value` at `now`."""
        values = self._values
        values.append((now, value))
        while values[0][0] < now - KEPT:
            values.popleft()

    def grown(self, now: float, span: float) -> float:
        """By how much a count has grown in the last `span` seconds.

        A fall by half is a new start of the counter, a smaller one is not counted:
        a broker's numbers are not taken at one moment.
        """
        total = 0.0
        before: float | None = None
        for time, value in self._values:
            if before is not None and time > now - span:
                total += value if value < before / 2 else max(0.0, value - before)
            before = value
        return total

    def rate(self, now: float, gap: float = 0.0) -> float | None:
        """The growth of a count per second, lately; None when it was seen once.

        `gap`: seconds between two looks at it, where these are not few.
        """
        since = now - RATE_SPAN - 2 * gap
        within = [time for time, _ in self._values if time >= since]
        if len(within) < 2:
            return None
        seconds = within[-1] - within[0]
        if seconds <= 0:
            return None
        return self.grown(now, now - within[0]) / seconds

    def grows(self, now: float, gap: float = 0.0) -> bool:
        """Whether a queue's length grows, steadily: more comes than is taken.

        One jump does not count: much that came at once may be done with soon. `gap`: as
        of `rate`.
        """
        since = now - GROWTH_SPAN - 2 * gap
        window = [entry for entry in self._values if entry[0] >= since]
        if len(window) < 3 or window[-1][0] - window[0][0] < GROWTH_LEAST_SPAN:
            return False
        values = [value for _, value in window]
        first, last, most = values[0], values[-1], max(values)
        if sum(b > a for a, b in pairwise(values)) < GROWTH_STEPS:
            return False
        return last - first >= max(GROWTH_LEAST, first * GROWTH_SHARE) and last >= 0.95 * most


class RestartHistory:
    """The restarts of one place: a count that was seen to grow, and when."""

    __slots__ = ("_count", "_times")

    def __init__(self) -> None:
        self._count: int | None = None
        self._times: deque[float] = deque(maxlen=32)

    def add(self, now: float, count: int) -> None:
        """There were `count` restarts until `now`; a smaller number is a new start."""
        before = self._count
        self._count = count
        if before is not None:
            new = count - before if count >= before else count
            self._times.extend([now] * min(new, 32))

    def within(self, now: float, span: float) -> int:
        """How many restarts were seen in the last `span` seconds."""
        return sum(1 for time in self._times if time > now - span)

    def loops(self, now: float) -> bool:
        """Whether it crashes again and again."""
        return any(self.within(now, span) >= least for least, span in LOOPS)
