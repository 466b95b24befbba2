"""What waits for a relay that reads slower than we write, and what is too much for it. Pure.

Used only while the socket is full. What waits is written in the order in which it
came, a quarter of a second's worth at a time, so that the rest is still here when it
is too late for it: that is skipped, since nobody waits for it any more.

How fast the relay reads is what the socket took from one moment with room to the next,
while something waited all the time. A moment with no room for a second says that it is
no faster than that. The first second counts as a burst, and nothing is refused in it.
Later what waits may be half of the time that a request has, and less the longer it has
been waiting for, down to a second's worth (RFC 8289 has the thought: not the length of
a queue tells a burst from an overload, but how long it stands). What comes longer after
the one before of its kind than both take is not part of what is too much: it may always
wait for half of its time. Requests are one kind, and so are the broadcasts of each name:
a flood of asks does not keep a node from saying that it is there.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from actors.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backlog", "RelayTooSlow", "Waiting"]

#: Seconds of a standing backlog in which nothing is refused, and which it may always hold.
_BURST: Final = 1.0
#: After so many seconds with nothing to wait for, what was measured is old.
_REST: Final = 0.1
#: Seconds' worth of bytes that are written at a time, and the fewest bytes.
_PIECE: Final = 0.25
_LEAST: Final = 16 * 1024
#: Seconds between two looks for what is too late among all that waits. In between it is looked
#: for behind so many that are not: what a node says of itself stands between asks, and is
#: worth writing however late.
_SWEEP: Final = 0.5
_PASSED: Final = 8
#: Kinds that are remembered at a time.
_KINDS: Final = 256
#: Seconds that are measured at least, since the kernel takes bytes in bursts, and those
#: for which what was measured before counts.
_MEASURED: Final = 0.1
_MEMORY: Final = 1.0


class RelayTooSlow(Overloaded):
    """It was not sent: the relay reads too slowly for it to arrive in its time.

    Attributes:
        peer: The relay.
        waiting: Bytes that are ahead of it.
        wait: Seconds that the relay takes to read them, about.
        rate: Bytes that it reads in a second, about.
        timeout: Seconds that there were.
    """

    def __init__(self, peer: str, waiting: int, wait: float, rate: float, timeout: float) -> None:
        self.peer = peer
        self.waiting = waiting
        self.wait = wait
        self.rate = rate
        self.timeout = timeout
        super().__init__(
            f"{peer} is too slow for what is sent: it reads about {rate:,.0f} bytes a second, and "
            f"{waiting:,} wait for it, which would take {wait:.1f} s (of {timeout:g}); nothing was "
            "sent; send less at a time, and try again later"
        )


class Waiting:
    """Something that waits to be written.

    Args:
        size: its bytes.
        encode: gives the bytes when their turn has come.
        deadline: from then on it is not worth writing (monotonic seconds).
        drop: called if it is not written.
        ended: whether nobody waits for it any more; None: that cannot be.
    """

    __slots__ = ("deadline", "drop", "encode", "ended", "size")

    def __init__(
        self,
        size: int,
        encode: Callable[[], bytes],
        deadline: float = math.inf,
        *,
        drop: Callable[[], None] | None = None,
        ended: Callable[[], bool] | None = None,
    ) -> None:
        self.size = size
        self.encode = encode
        self.deadline = deadline
        self.drop = drop
        self.ended = ended

    def too_late(self, now: float) -> bool:
        """Whether it is not worth writing any more; it is told so then."""
        late = self.deadline <= now or (self.ended is not None and self.ended())
        if late and self.drop is not None:
            self.drop()
        return late


class Backlog:
    """The queue of one connection. Times are given, none is read (monotonic seconds)."""

    __slots__ = (
        "_asked_at",
        "_mark",
        "_peer",
        "_queue",
        "_rate",
        "_since",
        "_stands_since",
        "_swept_at",
        "_taken",
        "_until",
    )

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._queue: deque[Waiting] = deque()
        # Bytes a second, as measured; None: not known.
        self._rate: float | None = None
        # When the present measurement began, and the bytes that the socket had taken
        # by then, and when there was room last.
        self._since = 0.0
        self._mark = self._taken = 0
        # When it began, and when it ended last.
        self._stands_since = 0.0
        self._until = -math.inf
        self._asked_at: dict[str, float] = {}
        self._swept_at = -math.inf

    def __len__(self) -> int:
        return len(self._queue)

    def begin(self, now: float, taken: int) -> None:
        """The socket is full; it has taken so many bytes since the connection was made."""
        if now - self._until > _REST:
            self._rate = None
            self._since = self._stands_since = now
            self._mark = self._taken = taken

    def end(self, now: float) -> None:
        """All is written, and the socket has room."""
        self._until = now

    def room(self, now: float, taken: int) -> None:
        """The socket has room, and has taken so many bytes since the connection was made."""
        self._taken = taken
        took = now - self._since
        if took < _MEASURED:
            return
        self._rate = (taken - self._mark) / took if self._rate is None else self._average(now)
        self._since = now
        self._mark = taken

    def add(self, waiting: Waiting) -> None:
        """Put it behind all others."""
        self._queue.append(waiting)

    def piece(self, now: float) -> tuple[bytes, int]:
        """What is to be written next, and the bytes of all that waits no longer."""
        most = max(_LEAST, (self._rate or 0) * _PIECE)
        queue = self._queue
        parts: list[bytes] = []
        size = gone = 0
        while queue and size < most:
            waiting = queue.popleft()
            gone += waiting.size
            if not waiting.too_late(now):
                data = waiting.encode()
                parts.append(data)
                size += len(data)
        return b"".join(parts), gone

    def sweep(self, now: float) -> int:
        """Let go of what is too late: the oldest, and from time to time all; the bytes of it."""
        gone = 0
        passed: list[Waiting] = []
        while self._queue and len(passed) < _PASSED:
            waiting = self._queue.popleft()
            if waiting.too_late(now):
                gone += waiting.size
            else:
                passed.append(waiting)
        self._queue.extendleft(reversed(passed))
        if now - self._swept_at < _SWEEP:
            return gone
        self._swept_at = now
        queue, self._queue = self._queue, deque()
        for waiting in queue:
            if waiting.too_late(now):
                gone += waiting.size
            else:
                self._queue.append(waiting)
        return gone

    def drop_all(self) -> None:
        """The connection is gone: nothing is written any more."""
        queue, self._queue = self._queue, deque()
        for waiting in queue:
            if waiting.drop is not None:
                waiting.drop()

    def refusal(
        self, now: float, *, ahead: int, handed: int, size: int, timeout: float, kind: str = ""
    ) -> RelayTooSlow | None:
        """Why `size` bytes with `timeout` seconds may not wait behind `ahead` others.

        `handed`: bytes handed to the socket since the connection was made, taken or not.
        `kind`: those of one are taken for one flood.
        """
        gap = now - self._asked_at.pop(kind, -math.inf)
        if len(self._asked_at) >= _KINDS:
            self._asked_at.clear()
        self._asked_at[kind] = now
        stood = now - self._stands_since
        if stood < _BURST:
            return None
        rate = self._at_most(now, handed)
        if rate is None:
            return None
        half = timeout / 2
        longest = half if gap * rate >= 2 * size else min(half, max(_BURST, half - stood / 2))
        wait = ahead / rate
        return RelayTooSlow(self._peer, ahead, wait, rate, timeout) if wait > longest else None

    def _at_most(self, now: float, handed: int) -> float | None:
        """The rate, or less: what the socket would have done if there were room now."""
        known = None if self._rate is None else self._average(now)
        if (silent := now - self._since) < _BURST:
            return known
        bound = max(handed - self._mark, 1) / silent
        return bound if known is None else min(known, bound)

    def _average(self, now: float) -> float:
        """Of what was measured before and what was taken since."""
        before = (self._rate or 0.0) * _MEMORY
        return max(before + self._taken - self._mark, 1.0) / (_MEMORY + now - self._since)
