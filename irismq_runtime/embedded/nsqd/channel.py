"""A channel: a queue whose messages go to one of its subscribers each.

It knows subscribers by their credit and nothing of sockets; time comes from the
clock it was given. Messages leave in the order they came, and those that come
back (timeout, REQ, due) go to the end, as in nsqd. Every change that must
survive a restart is told to the journal at the moment it is decided.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from irismq_runtime.protocols.nsq.names import EPHEMERAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.embedded.nsqd.journal import Journal
    from irismq_runtime.embedded.nsqd.messages import BrokerMessage
    from irismq_runtime.embedded.nsqd.subscriber import Subscriber

__all__ = ["Channel"]

#: Bytes of bodies handed to one connection before the others get their turn.
_SLICE = 128 * 1024


class Channel:
    """One channel of one topic. Loop thread only."""

    def __init__(
        self,
        name: str,
        place: int,
        *,
        clock: Clock,
        rng: Random,
        journal: Journal,
        mem_queue_size: int,
    ) -> None:
        self.name = name
        self.place = place
        self.ephemeral = name.endswith(EPHEMERAL)
        self.paused = False
        self.queue: deque[BrokerMessage] = deque()
        self.subscribers: dict[int, Subscriber] = {}
        self.message_count = 0
        self.requeue_count = 0
        self.timeout_count = 0
        self.dropped_count = 0
        self._departed: dict[int, Subscriber] = {}
        self._deferred: list[tuple[float, int, BrokerMessage]] = []
        self._sequence = 0
        self._timer: TimerHandle | None = None
        self._clock = clock
        self._rng = rng
        #: What it is told of a delivery comes before the bytes.
        self._journal = journal
        self._limit = mem_queue_size if self.ephemeral else 0

    @property
    def depth(self) -> int:
        """Messages ready to be delivered."""
        return len(self.queue)

    @property
    def deferred_count(self) -> int:
        """Messages that are not yet due."""
        return len(self._deferred)

    @property
    def in_flight_count(self) -> int:
        """Messages that some subscriber holds, those of departed ones included."""
        holders = (*self.subscribers.values(), *self._departed.values())
        return sum(len(subscriber.in_flight) for subscriber in holders)

    def put(self, messages: Iterable[BrokerMessage]) -> None:
        """Take published messages; those that are not due wait."""
        count = 0
        now: float | None = None
        for message in messages:
            count += 1
            if message.due:
                now = self._clock.monotonic() if now is None else now
                if message.due > now:
                    self._defer(message, message.due)
                    continue
                message.due = 0.0
            self.queue.append(message)
        self.message_count += count
        self._shed()
        self.pump()

    def restore(self, message: BrokerMessage) -> None:
        """Take a message back from the store, at start."""
        self.message_count += 1
        if message.due:
            self._defer(message, message.due)
        else:
            self.queue.append(message)

    def _shed(self) -> None:
        """An ephemeral channel holds no more than its limit; the newest go."""
        while self._limit and len(self.queue) > self._limit:
            self._journal.forget(self.queue.pop().row)
            self.dropped_count += 1

    # -- delivery ---------------------------------------------------------

    def pump(self) -> None:
        """Give waiting messages to subscribers with room, each in turn.

        Who is first is drawn, as in nsqd: with a fixed turn, a steady flow and a lease
        can fall into step, and a message goes to the same stopped subscriber for ever.
        """
        if not self.queue or self.paused:
            return
        if len(self.subscribers) == 1:
            self.pump_one(next(iter(self.subscribers.values())))
            return
        ready = [subscriber for subscriber in self.subscribers.values() if subscriber.room > 0]
        while ready and self.queue:
            first = self._rng.randrange(len(ready))
            share = max(1, len(self.queue) // len(ready))
            for subscriber in (*ready[first:], *ready[:first]):
                if subscriber.room > 0:
                    self._give(subscriber, share)
            ready = [subscriber for subscriber in ready if subscriber.room > 0]

    def pump_one(self, subscriber: Subscriber) -> None:
        """Give waiting messages to this subscriber, which has got room."""
        if self.paused:
            return
        while self.queue and subscriber.room > 0:
            self._give(subscriber, subscriber.room)

    def _give(self, subscriber: Subscriber, most: int) -> None:
        queue, now = self.queue, self._clock.monotonic()
        popleft, lease = queue.popleft, subscriber.lease
        batch: list[BrokerMessage] = []
        size = 0
        for _ in range(min(most, subscriber.room, len(queue))):
            message = popleft()
            if subscriber.sample_rate and self._rng.randrange(100) > subscriber.sample_rate:
                self._journal.forget(message.row)
                continue
            lease(message, now)
            batch.append(message)
            size += len(message.body)
            if size > _SLICE:
                break
        if not batch:
            return
        subscriber.message_count += len(batch)
        if subscriber.timer is None:
            self._arm(subscriber, now)
        stored = [(m.row, m.attempts) for m in batch if m.row] if self._journal.durable else []
        if stored:
            attempts = [message.attempts for message in batch]
            self._journal.deliver(stored, lambda: self._send(subscriber, batch, attempts))
        else:
            subscriber.session.deliver(batch)

    def _send(
        self, subscriber: Subscriber, batch: list[BrokerMessage], attempts: list[int]
    ) -> None:
        """The attempts are noted: send what is still this subscriber's, with a whole lease."""
        held, now = subscriber.in_flight, self._clock.monotonic()
        going = [
            message
            for message, attempt in zip(batch, attempts, strict=True)
            if held.get(message.id) is message and message.attempts == attempt
        ]
        for message in going:
            message.delivered = now
            message.deadline = now + subscriber.timeout
        if going and subscriber.client_id in self.subscribers:
            subscriber.session.deliver(going)

    # -- settlement -------------------------------------------------------

    def finish(self, subscriber: Subscriber, message_id: bytes) -> bool:
        """FIN. False: not in flight to this subscriber."""
        message = subscriber.in_flight.pop(message_id, None)
        if message is None:
            return False
        subscriber.finish_count += 1
        if message.row:
            self._journal.forget(message.row)
        return True

    def requeue(self, subscriber: Subscriber, message_id: bytes, delay: float) -> bool:
        """REQ with a delay within the limits. False: not in flight to this subscriber."""
        message = subscriber.in_flight.pop(message_id, None)
        if message is None:
            return False
        subscriber.requeue_count += 1
        self.requeue_count += 1
        if message.row:  # first: what the queue has no room for is forgotten below
            due = int((self._clock.time() + delay) * 1e9) if delay > 0 else 0
            self._journal.update(message.row, message.attempts, due)
        if delay > 0:
            self._defer(message, self._clock.monotonic() + delay)
        else:
            self.queue.append(message)
            self._shed()
        return True

    def touch(self, subscriber: Subscriber, message_id: bytes) -> bool:
        """TOUCH. False: not in flight to this subscriber."""
        now = self._clock.monotonic()
        if not subscriber.touch(message_id, now):
            return False
        if subscriber.in_flight[message_id].capped:
            self._arm(subscriber, now)
        return True

    def why_not(self, message_id: bytes) -> str:
        """Nsqd's words for an id that its sender does not hold."""
        holders = (*self.subscribers.values(), *self._departed.values())
        held = any(message_id in subscriber.in_flight for subscriber in holders)
        return "client does not own message" if held else "ID not in flight"

    # -- time -------------------------------------------------------------

    def _arm(self, subscriber: Subscriber, now: float) -> None:
        if subscriber.timer is not None:
            subscriber.timer.cancel()
            subscriber.timer = None
        deadline = subscriber.next_deadline()
        if deadline is not None:
            subscriber.timer = self._clock.call_later(
                max(0.0, deadline - now), self._expire, subscriber
            )

    def _expire(self, subscriber: Subscriber) -> None:
        subscriber.timer = None
        now = self._clock.monotonic()
        over = subscriber.expired(now)
        self._arm(subscriber, now)
        if not subscriber.in_flight:
            self._departed.pop(subscriber.client_id, None)
        if not over:
            return
        self.timeout_count += len(over)
        for message in over:
            if message.row:
                self._journal.update(message.row, message.attempts, 0)
        self.queue.extend(over)
        self._shed()
        self.pump()

    def _defer(self, message: BrokerMessage, due: float) -> None:
        message.due = due
        self._sequence += 1
        heappush(self._deferred, (due, self._sequence, message))
        if self._deferred[0][2] is message:
            self._arm_deferred()

    def _arm_deferred(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deferred:
            delay = max(0.0, self._deferred[0][0] - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._deferred and self._deferred[0][0] <= now:
            message = heappop(self._deferred)[2]
            message.due = 0.0
            self.queue.append(message)
        self._arm_deferred()
        self._shed()
        self.pump()

    # -- subscribers and administration --------------------------------------

    def add(self, subscriber: Subscriber) -> None:
        """A subscriber subscribed."""
        self.subscribers[subscriber.client_id] = subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """A subscriber has gone; what it held comes back when it times out."""
        if self.subscribers.pop(subscriber.client_id, None) is not None and subscriber.in_flight:
            self._departed[subscriber.client_id] = subscriber

    def set_paused(self, *, paused: bool) -> None:
        """Stop or go on delivering."""
        self.paused = paused
        self.pump()

    def empty(self) -> None:
        """Throw away what waits, is deferred and is in flight."""
        for message in self.held():
            self._journal.forget(message.row)
        holders = (*self.subscribers.values(), *self._departed.values())
        self.queue.clear()
        self._deferred.clear()
        self._arm_deferred()
        for subscriber in holders:
            subscriber.drop_all()
            if subscriber.timer is not None:
                subscriber.timer.cancel()
                subscriber.timer = None
        self._departed.clear()
        for subscriber in self.subscribers.values():
            self.pump_one(subscriber)

    def close(self) -> None:
        """Stop every timer: nothing happens here any more."""
        for subscriber in (*self.subscribers.values(), *self._departed.values()):
            if subscriber.timer is not None:
                subscriber.timer.cancel()
                subscriber.timer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def held(self) -> Iterator[BrokerMessage]:
        """All that is here, for inspection: what waits, what is not due, what is in flight."""
        yield from self.queue
        yield from (message for _, _, message in self._deferred)
        for subscriber in (*self.subscribers.values(), *self._departed.values()):
            yield from subscriber.in_flight.values()
