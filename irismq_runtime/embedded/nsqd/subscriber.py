"""One subscriber of a channel: its credit and the messages it holds.

Messages in flight stand in the order of their deadlines, because one subscriber
has one message timeout and TOUCH moves a message to the end; so the next one to
time out is found without a queue of its own. Only a message whose TOUCH met the
longest lease (`capped`) is out of that order, and is kept in a heap beside it.
A subscriber that has gone keeps its messages until they time out, as in nsqd.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.clock import TimerHandle
    from irismq_runtime.embedded.nsqd.messages import BrokerMessage

__all__ = ["Subscriber", "SubscriberSession"]


class SubscriberSession(Protocol):
    """The connection behind a subscriber."""

    def deliver(self, messages: Sequence[BrokerMessage]) -> None:
        """Send these now. May set the subscriber's `blocked`."""
        ...

    def close(self) -> None:
        """The channel is gone: close the connection."""
        ...


class Subscriber:
    """The channel's view of one connection. Loop thread only."""

    __slots__ = (
        "_capped",
        "blocked",
        "client_id",
        "finish_count",
        "in_flight",
        "leaving",
        "max_timeout",
        "message_count",
        "ready",
        "requeue_count",
        "sample_rate",
        "session",
        "timeout",
        "timer",
    )

    def __init__(
        self,
        client_id: int,
        session: SubscriberSession,
        *,
        timeout: float,
        max_timeout: float,
        sample_rate: int = 0,
    ) -> None:
        self.client_id = client_id
        self.session = session
        self.timeout = timeout
        self.max_timeout = max_timeout
        self.sample_rate = sample_rate
        #: RDY: how many messages may be in flight.
        self.ready = 0
        #: CLS was carried out: RDY says nothing any more.
        self.leaving = False
        #: True while the connection has more unsent bytes than its high water.
        self.blocked = False
        self.in_flight: dict[bytes, BrokerMessage] = {}
        self._capped: list[tuple[float, bytes]] = []
        self.timer: TimerHandle | None = None
        self.message_count = 0
        self.finish_count = 0
        self.requeue_count = 0

    @property
    def room(self) -> int:
        """How many more messages it takes now."""
        return 0 if self.blocked else self.ready - len(self.in_flight)

    def lease(self, message: BrokerMessage, now: float) -> None:
        """The message is being sent: its lease starts."""
        message.attempts += 1
        message.delivered = now
        message.deadline = now + self.timeout
        message.capped = False
        self.in_flight[message.id] = message

    def touch(self, message_id: bytes, now: float) -> bool:
        """Restart the lease, up to the longest one given. False: not in flight here."""
        message = self.in_flight.pop(message_id, None)
        if message is None:
            return False
        latest = message.delivered + self.max_timeout
        message.deadline = now + self.timeout
        if message.deadline >= latest:
            message.deadline = latest
            message.capped = True
            heappush(self._capped, (latest, message_id))
        self.in_flight[message_id] = message
        return True

    def next_deadline(self) -> float | None:
        """When the next lease ends, or None when nothing is in flight."""
        capped = self._next_capped()
        for message in self.in_flight.values():
            if not message.capped:
                return message.deadline if capped is None else min(message.deadline, capped)
        return capped

    def _next_capped(self) -> float | None:
        while self._capped:
            deadline, message_id = self._capped[0]
            message = self.in_flight.get(message_id)
            if message is not None and message.capped and message.deadline == deadline:
                return deadline
            heappop(self._capped)
        return None

    def expired(self, now: float) -> list[BrokerMessage]:
        """Take out the messages whose lease is over."""
        over: list[BrokerMessage] = []
        for message in self.in_flight.values():
            if message.deadline <= now:
                over.append(message)
            elif not message.capped:
                break
        if self._capped:
            seen = {message.id for message in over}
            while (deadline := self._next_capped()) is not None and deadline <= now:
                message_id = heappop(self._capped)[1]
                if message_id not in seen:
                    over.append(self.in_flight[message_id])
                    seen.add(message_id)
        for message in over:
            del self.in_flight[message.id]
        return over

    def drop_all(self) -> None:
        """The channel was emptied: nothing is in flight any more."""
        self.in_flight.clear()
        self._capped.clear()
