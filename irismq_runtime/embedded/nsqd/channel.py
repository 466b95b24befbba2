"""A channel: a queue whose messages go to one of its consumers each.

It knows consumers by their credit and nothing of sockets; time comes from the
clock it was given. Messages leave in the order they came, and those that come
back (timeout, REQ, due) go to the end, as in nsqd. Every change that must
survive a restart is told to the journal at the moment it is decided.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from irismq_runtime.protocols.nsq.names import EPHEMERAL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.embedded.nsqd.consumer import Consumer
    from irismq_runtime.embedded.nsqd.journal import Journal
    from irismq_runtime.embedded.nsqd.messages import StoredMessage

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
        self.queue: deque[StoredMessage] = deque()
        self.consumers: dict[int, Consumer] = {}
        self.message_count = 0
        self.requeue_count = 0
        self.timeout_count = 0
        self.dropped_count = 0
        self._departed: dict[int, Consumer] = {}
        self._deferred: list[tuple[float, int, StoredMessage]] = []
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
        """Messages that some consumer holds, those of departed ones included."""
        holders = (*self.consumers.values(), *self._departed.values())
        return sum(len(consumer.in_flight) for consumer in holders)

    def put(self, messages: Iterable[StoredMessage]) -> None:
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

    def restore(self, message: StoredMessage) -> None:
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
        """Give waiting messages to consumers with room, each in turn.

        Who is first is drawn, as in nsqd: with a fixed turn, a steady flow and a lease
        can fall into step, and a message goes to the same stopped consumer for ever.
        """
        if not self.queue or self.paused:
            return
        if len(self.consumers) == 1:
            self.pump_one(next(iter(self.consumers.values())))
            return
        ready = [consumer for consumer in self.consumers.values() if consumer.room > 0]
        while ready and self.queue:
            first = self._rng.randrange(len(ready))
            share = max(1, len(self.queue) // len(ready))
            for consumer in (*ready[first:], *ready[:first]):
                if consumer.room > 0:
                    self._give(consumer, share)
            ready = [consumer for consumer in ready if consumer.room > 0]

    def pump_one(self, consumer: Consumer) -> None:
        """Give waiting messages to this consumer, which has got room."""
        if self.paused:
            return
        while self.queue and consumer.room > 0:
            self._give(consumer, consumer.room)

    def _give(self, consumer: Consumer, most: int) -> None:
        queue, now = self.queue, self._clock.monotonic()
        popleft, lease = queue.popleft, consumer.lease
        batch: list[StoredMessage] = []
        size = 0
        for _ in range(min(most, consumer.room, len(queue))):
            message = popleft()
            if consumer.sample_rate and self._rng.randrange(100) > consumer.sample_rate:
                self._journal.forget(message.row)
                continue
            lease(message, now)
            batch.append(message)
            size += len(message.body)
            if size > _SLICE:
                break
        if not batch:
            return
        consumer.message_count += len(batch)
        if consumer.timer is None:
            self._arm(consumer, now)
        stored = [(m.row, m.attempts) for m in batch if m.row] if self._journal.durable else []
        if stored:
            attempts = [message.attempts for message in batch]
            self._journal.deliver(stored, lambda: self._send(consumer, batch, attempts))
        else:
            consumer.port.deliver(batch)

    def _send(self, consumer: Consumer, batch: list[StoredMessage], attempts: list[int]) -> None:
        """The attempts are noted: send what is still this consumer's, with a whole lease."""
        held, now = consumer.in_flight, self._clock.monotonic()
        going = [
            message
            for message, attempt in zip(batch, attempts, strict=True)
            if held.get(message.id) is message and message.attempts == attempt
        ]
        for message in going:
            message.delivered = now
            message.deadline = now + consumer.timeout
        if going and consumer.client_id in self.consumers:
            consumer.port.deliver(going)

    # -- settlement -------------------------------------------------------

    def finish(self, consumer: Consumer, message_id: bytes) -> bool:
        """FIN. False: not in flight to this consumer."""
        message = consumer.in_flight.pop(message_id, None)
        if message is None:
            return False
        consumer.finish_count += 1
        if message.row:
            self._journal.forget(message.row)
        return True

    def requeue(self, consumer: Consumer, message_id: bytes, delay: float) -> bool:
        """REQ with a delay within the limits. False: not in flight to this consumer."""
        message = consumer.in_flight.pop(message_id, None)
        if message is None:
            return False
        consumer.requeue_count += 1
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

    def touch(self, consumer: Consumer, message_id: bytes) -> bool:
        """TOUCH. False: not in flight to this consumer."""
        now = self._clock.monotonic()
        if not consumer.touch(message_id, now):
            return False
        if consumer.in_flight[message_id].capped:
            self._arm(consumer, now)
        return True

    def why_not(self, message_id: bytes) -> str:
        """Nsqd's words for an id that its sender does not hold."""
        holders = (*self.consumers.values(), *self._departed.values())
        held = any(message_id in consumer.in_flight for consumer in holders)
        return "client does not own message" if held else "ID not in flight"

    # -- time -------------------------------------------------------------

    def _arm(self, consumer: Consumer, now: float) -> None:
        if consumer.timer is not None:
            consumer.timer.cancel()
            consumer.timer = None
        deadline = consumer.next_deadline()
        if deadline is not None:
            consumer.timer = self._clock.call_later(
                max(0.0, deadline - now), self._expire, consumer
            )

    def _expire(self, consumer: Consumer) -> None:
        consumer.timer = None
        now = self._clock.monotonic()
        over = consumer.expired(now)
        self._arm(consumer, now)
        if not consumer.in_flight:
            self._departed.pop(consumer.client_id, None)
        if not over:
            return
        self.timeout_count += len(over)
        for message in over:
            if message.row:
                self._journal.update(message.row, message.attempts, 0)
        self.queue.extend(over)
        self._shed()
        self.pump()

    def _defer(self, message: StoredMessage, due: float) -> None:
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

    # -- consumers and administration --------------------------------------

    def add(self, consumer: Consumer) -> None:
        """A consumer subscribed."""
        self.consumers[consumer.client_id] = consumer

    def leave(self, consumer: Consumer) -> None:
        """A consumer has gone; what it held comes back when it times out."""
        if self.consumers.pop(consumer.client_id, None) is not None and consumer.in_flight:
            self._departed[consumer.client_id] = consumer

    def set_paused(self, *, paused: bool) -> None:
        """Stop or go on delivering."""
        self.paused = paused
        self.pump()

    def empty(self) -> None:
        """Throw away what waits, is deferred and is in flight."""
        holders = (*self.consumers.values(), *self._departed.values())
        held = [message for consumer in holders for message in consumer.in_flight.values()]
        held.extend(message for _, _, message in self._deferred)
        held.extend(self.queue)
        for message in held:
            self._journal.forget(message.row)
        self.queue.clear()
        self._deferred.clear()
        self._arm_deferred()
        for consumer in holders:
            consumer.drop_all()
            if consumer.timer is not None:
                consumer.timer.cancel()
                consumer.timer = None
        self._departed.clear()
        for consumer in self.consumers.values():
            self.pump_one(consumer)

    def close(self) -> None:
        """Stop every timer: nothing happens here any more."""
        for consumer in (*self.consumers.values(), *self._departed.values()):
            if consumer.timer is not None:
                consumer.timer.cancel()
                consumer.timer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def waiting(self) -> Iterable[StoredMessage]:
        """What waits for delivery, in order, for inspection."""
        return islice(self.queue, len(self.queue))
