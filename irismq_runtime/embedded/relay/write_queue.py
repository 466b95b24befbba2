"""What waits to be written to one client, by kind of traffic.

While the client reads, bytes pass straight through in the order they came. Once
its socket is full they are kept in one lane a kind, and when room comes back the
lanes take turns, each the same number of bytes, so that a flood of events does
not hold replies back. The order within a lane is kept. Pure bookkeeping: who
writes, and what to do past the limit, is the connection's affair.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final

__all__ = ["Traffic", "WriteQueue"]

#: Bytes that a lane may send before the next one's turn.
_QUANTUM: Final = 16 * 1024


class Traffic(IntEnum):
    """The kinds of traffic that must not starve each other."""

    CONTROL = 0
    REPLY = 1
    REQUEST = 2
    BROADCAST = 3
    EVENT = 4
    TUNNEL = 5


class WriteQueue:
    """Bytes for one client.

    Attributes:
        ready: what goes out with the next write, in order.
        congested: bytes are kept in lanes now.
        waiting: bytes kept in lanes.
    """

    __slots__ = ("_credit", "_lanes", "_turn", "congested", "ready", "waiting")

    def __init__(self) -> None:
        self.ready: list[bytes] = []
        self.congested = False
        self.waiting = 0
        self._lanes: list[deque[bytes]] = [deque() for _ in Traffic]
        self._turn = 0
        self._credit = [0] * len(Traffic)

    def push(self, lane: Traffic, data: bytes) -> None:
        """Add one packet's bytes."""
        if self.congested:
            self._lanes[lane].append(data)
            self.waiting += len(data)
        else:
            self.ready.append(data)

    def pull(self, budget: int) -> list[bytes]:
        """Take about `budget` bytes out of the lanes, in turns.

        At least one packet when any waits. Ends the congestion when the last
        packet is taken.
        """
        taken: list[bytes] = []
        while self.waiting and budget > 0:
            lane = self._lanes[self._turn]
            credit = self._credit[self._turn] + _QUANTUM
            while lane and len(lane[0]) <= credit and budget > 0:
                data = lane.popleft()
                credit -= len(data)
                budget -= len(data)
                self.waiting -= len(data)
                taken.append(data)
            self._credit[self._turn] = credit if lane else 0
            self._turn = (self._turn + 1) % len(self._lanes)
        if not self.waiting:
            self.congested = False
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self.ready.clear()
        for lane in self._lanes:
            lane.clear()
        self.waiting = 0
