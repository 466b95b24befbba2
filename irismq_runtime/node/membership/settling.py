"""The moment after a start in which the others introduce themselves: how long it lasts.

It begins when the node hears itself for the first time, so that the way is known to work,
and lasts `SETTLE`; and so long again while more nodes have come and fewer are known than
the others say that there are, up to `SETTLE_LONGEST`. When nothing is heard at all it is
over after `SETTLE_AT_MOST`: nobody waits for ever for announcements. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, TimerHandle

__all__ = ["Settling"]

#: After hearing oneself, how long the others have to introduce themselves; again and again
#: while more of them come, and fewer are known than they say there are,
SETTLE: Final = 0.2
#: up to so long.
SETTLE_LONGEST: Final = 5.0
#: When the cluster stays silent, how long refs wait before they do without.
SETTLE_AT_MOST: Final = 1.0


class Settling:
    """Whether it lasts, and who waits for its end.

    Args:
        clock: For its end.
        known: How many nodes are known.
        over: Called at its end, after those who waited.
    """

    def __init__(self, clock: Clock, known: Callable[[], int], over: Callable[[], None]) -> None:
        self._clock = clock
        self._known = known
        self._over = over
        self._timer: TimerHandle | None = None
        self._began: float | None = None
        #: Nodes that there are, as the answers of others say, and that were known before.
        self._claimed = 0
        self._known_before = 0
        self._waiting: list[Callable[[], None]] = []
        self.lasts = True

    def start(self) -> None:
        """The node has introduced itself."""
        self._timer = self._clock.call_later(SETTLE_AT_MOST, self.end)

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end, at once when it is over already."""
        if self.lasts:
            self._waiting.append(callback)
        else:
            callback()

    def heard_self(self) -> None:
        """The node has heard itself."""
        if self.lasts and self._began is None:
            self._began = self._clock.monotonic()
            self._again()

    def claimed(self, nodes: int) -> None:
        """Another node says that there are so many."""
        self._claimed = max(self._claimed, nodes)

    def _again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(SETTLE, self._look)

    def _look(self) -> None:
        known = self._known()
        more = self._known_before < known < self._claimed
        self._known_before = known
        if more and self._clock.monotonic() < (self._began or 0.0) + SETTLE_LONGEST:
            self._again()
        else:
            self.end()

    def end(self) -> None:
        """It is over. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.lasts = False
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        self._over()
