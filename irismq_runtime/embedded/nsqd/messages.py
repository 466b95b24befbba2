"""A message as a channel holds it, and where its id comes from.

An id is 16 hex digits, as clients of nsqd expect. Ids only go up: the wall
clock chooses the first one of a run, after that they are counted, so that a
clock that steps back can neither repeat one nor stop the broker (nsqd waits
until the time has caught up).
"""

from __future__ import annotations

__all__ = ["BrokerMessage", "IdSource"]

#: As in nsqd: 22 bits below the (pseudo) millisecond.
_TIME_SHIFT = 22
_EPOCH = 1_288_834_974_288
#: A wall clock that is centuries off must not make the digits overflow.
_LATEST = 1 << 62


class BrokerMessage:
    """One copy of a published message, held by a topic or by one channel.

    `deadline` (monotonic) is when its lease ends while it is in flight and when
    it is due while it is deferred. `row` is its place in the store, 0 in memory.
    """

    __slots__ = (
        "attempts",
        "body",
        "capped",
        "deadline",
        "delivered",
        "due",
        "id",
        "row",
        "timestamp",
    )

    def __init__(
        self, message_id: bytes, timestamp: int, body: bytes, due: float = 0.0, row: int = 0
    ) -> None:
        self.id = message_id
        self.timestamp = timestamp
        self.body = body
        self.attempts = 0
        self.deadline = 0.0
        self.delivered = 0.0
        #: Monotonic time before which it is not delivered; 0 for none.
        self.due = due
        #: Whether TOUCH has met the longest lease that is given.
        self.capped = False
        self.row = row

    def copy(self, row: int) -> BrokerMessage:
        """The same message for another channel."""
        return BrokerMessage(self.id, self.timestamp, self.body, self.due, row)


class IdSource:
    """Gives ids that only go up."""

    __slots__ = ("_next",)

    def __init__(self, wall_time: float, above: int = 0) -> None:
        first = ((int(wall_time * 1e9) >> 20) - _EPOCH) << _TIME_SHIFT
        self._next = max(min(first, _LATEST), above + 1)

    @property
    def next_id(self) -> int:
        """The number of the next id."""
        return self._next

    def take(self, count: int) -> list[bytes]:
        """The next `count` ids."""
        first = self._next
        self._next = first + count
        return [b"%016x" % number for number in range(first, first + count)]
