"""Virtual time: what happens next, and when.

One queue for a whole simulation. Whatever will happen (a host takes a turn, bytes
arrive, a thread has done its work) is in it with its time; the time is that of the
last thing taken out. Nothing waits for real, and nothing here is random: two things of
the same time happen in the order in which they were ordered.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EventQueue"]


class EventQueue:
    """The future of a simulation, in order. Times are virtual seconds since its start.

    Attributes:
        now: The time of what happens at this moment.
        past: How many things have happened.
    """

    __slots__ = ("_heap", "_order", "_stopped", "now", "past")

    def __init__(self) -> None:
        self.now = 0.0
        self.past = 0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count().__next__
        self._stopped = False

    def __len__(self) -> int:
        return len(self._heap)

    def time(self) -> float:
        """Return `now`."""
        return self.now

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Have `call(*args)` happen at `when`; what is due already happens next."""
        heapq.heappush(self._heap, (when, self._order(), call, args))

    def run(self, most: int) -> None:
        """Let things happen, each at its time, until one of them calls `stop`, or so many did."""
        heap, pop = self._heap, heapq.heappop
        self._stopped = False
        for _ in range(most):
            if self._stopped or not heap:
                return
            when, _, call, args = pop(heap)
            if when > self.now:  # noqa: PLR1730  # asked for each thing that happens
                self.now = when
            self.past += 1
            call(*args)

    def next_due(self) -> float:
        """Return the time of the next thing: now, once `stop` was called; never is infinity."""
        if self._stopped:
            return self.now
        return self._heap[0][0] if self._heap else math.inf

    def stop(self) -> None:
        """Have `run` return when what happens now is over."""
        self._stopped = True

    def clear(self) -> None:
        """Forget the future."""
        self._heap.clear()
