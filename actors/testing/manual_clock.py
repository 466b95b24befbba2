"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ManualClock"]


class _ManualTimer:
    __slots__ = ("args", "callback", "cancelled", "due")

    def __init__(self, due: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.due = due
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Take the call back."""
        self.cancelled = True


class ManualClock:
    """`actors.Clock` under the control of a test.

    `advance(seconds)` moves both clocks and makes the calls that fall due, in
    the order of their times, each at its own time; a call may order more.
    `wall` may be set, to make the wall clock jump.
    """

    def __init__(self, start: float = 0.0, *, wall: float = 1_700_000_000.0) -> None:
        self._now = start
        self.wall = wall
        self._timers: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """The time, which only `advance` moves."""
        return self._now

    def time(self) -> float:
        """The wall clock, which `advance` and the test move."""
        return self.wall

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> _ManualTimer:
        """Order a call; `advance` makes it.

        Args:
            delay: Seconds from the clock's present time.
            callback: What is called.
            args: What it is given.

        Returns:
            A handle with which the call can be taken back.
        """
        timer = _ManualTimer(self._now + delay, callback, args)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass: the calls that are due are made in their order, and their actors settle.

        Args:
            seconds: How much.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._move(max(due, self._now))
            if not timer.cancelled:
                timer.callback(*timer.args)
        self._move(end)

    @property
    def pending(self) -> int:
        """How many calls are ordered and not taken back."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def next_due(self) -> float | None:
        """Seconds until the next ordered call, None when there is none."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] - self._now if self._timers else None

    def _move(self, to: float) -> None:
        self.wall += to - self._now
        self._now = to
