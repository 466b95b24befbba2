"""What waits to be published, and how it is cut into batches. Pure.

Messages wait per topic, in order, until a connection takes a batch: as many of
one topic as fit `batch_bytes` and `batch_count`, and are meant for one channel.
Topics take turns. A deferred message (DPUB) cannot share a batch and travels alone.

What could not be confirmed in its time any more is not written: `take` leaves it
out, and `late` has it.

A batch whose connection was lost comes back whole, before anything newer. One
that was alone on a connection that confirmed nothing is a suspect (a broker
drops the connection over one bad message): it comes back behind the others, and
in halves, until the message that is to blame is alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from irismq_runtime.mailbox.receipts import PublishReceipt
from irismq_runtime.protocols.nsq import dpub, mpub, pub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FRAMING", "Batch", "Outbox", "OutgoingMessage"]

#: Bytes of an MPUB for each message besides its body.
FRAMING = 4
#: A message that was alone on this many connections that confirmed nothing is given up.
MAX_LOSSES = 5


class OutgoingMessage(PublishReceipt):
    """One message on its way; at the same time the receipt of who sent it."""

    __slots__ = (
        "body", "channel", "copies", "deadline", "delay_ms", "key", "seen_at", "topic", "written",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  # one is made for every message: keywords cost
        self,
        topic: str,
        body: bytes,
        deadline: float,
        key: str,
        delay_ms: int,
        copies: int,
        channel: str = "",
    ) -> None:
        # PublishReceipt's own fields, without the cost of a second call.
        self._settled = False
        self._error = None
        self._callbacks = None
        self.topic = topic
        self.body = body
        self.deadline = deadline
        self.key = key
        self.delay_ms = delay_ms
        #: Must exist at the broker before this is written; empty: none is meant.
        self.channel = channel
        #: Confirmations still missing.
        self.copies = copies
        #: Brokers that have it or are about to; only used for several copies.
        self.seen_at: tuple[str, ...] = ()
        #: It was written once and not confirmed: a broker may have it.
        self.written = False


class Batch:
    """Messages that one command carries and one answer settles."""

    __slots__ = (
        "ahead",
        "ahead_bytes",
        "deadline",
        "losses",
        "messages",
        "saturated",
        "sent_at",
        "size",
    )

    def __init__(self, messages: list[OutgoingMessage], size: int, losses: int = 0) -> None:
        self.messages = messages
        #: Bytes on the wire, about.
        self.size = size
        #: Connections that were lost over it alone.
        self.losses = losses
        #: The first of its deadlines.
        self.deadline = min([message.deadline for message in messages])
        # What `throughput` measures by, set when it is written.
        self.sent_at = 0.0
        #: Messages and bytes on their way then, its own among them.
        self.ahead = 0
        self.ahead_bytes = 0
        #: More waited behind it.
        self.saturated = False

    def encode(self) -> bytes:
        """The command: MPUB, or PUB or DPUB for one."""
        first = self.messages[0]
        if first.delay_ms:
            return dpub(first.topic, first.delay_ms, first.body)
        if len(self.messages) == 1:
            return pub(first.topic, first.body)
        return mpub(first.topic, [message.body for message in self.messages])

    def halves(self) -> list[Batch]:
        """The same messages in two batches without a past, or itself."""
        count = len(self.messages) // 2
        if count == 0:
            return [self]
        return [
            Batch(part, sum(len(message.body) + FRAMING for message in part))
            for part in (self.messages[:count], self.messages[count:])
        ]


class Outbox:
    """The queues in front of one broker, or of several that stand in for each other."""

    __slots__ = ("_batch_bytes", "_batch_count", "_queues", "_returned", "_turns", "late")

    def __init__(self, *, batch_bytes: int, batch_count: int) -> None:
        self._batch_bytes = batch_bytes
        self._batch_count = batch_count
        self._queues: dict[str, deque[OutgoingMessage]] = {}
        self._turns: deque[str] = deque()
        self._returned: deque[Batch] = deque()
        #: What `take` found too old to be written; whoever takes fails and removes it.
        self.late: list[OutgoingMessage] = []

    @property
    def empty(self) -> bool:
        """Nothing waits to be written (something may wait to be confirmed)."""
        return not self._turns and not self._returned

    def put(self, message: OutgoingMessage) -> None:
        """Queue one message behind the others of its topic."""
        queue = self._queues.get(message.topic)
        if queue is None:
            queue = self._queues[message.topic] = deque()
        if not queue:
            self._turns.append(message.topic)
        queue.append(message)

    def take(self, horizon: float, count: int) -> Batch | None:
        """The next batch to write, of at most `count` messages.

        Without what is settled already, and without what has a deadline before
        `horizon` or at it.
        """
        while self._returned:
            batch = self._returned.popleft()
            alive = [message for message in batch.messages if not message.done()]
            if batch.deadline <= horizon:
                self.late += [message for message in alive if message.deadline <= horizon]
                alive = [message for message in alive if message.deadline > horizon]
            if len(alive) == len(batch.messages):
                return batch
            if alive:
                return Batch(alive, batch.size, batch.losses)
        while self._turns:
            topic = self._turns.popleft()
            queue = self._queues[topic]
            batch_or_none = self._cut(queue, horizon, min(count, self._batch_count))
            if queue:
                self._turns.append(topic)
            else:
                del self._queues[topic]
            if batch_or_none is not None:
                return batch_or_none
        return None

    def _cut(self, queue: deque[OutgoingMessage], horizon: float, room: int) -> Batch | None:
        messages: list[OutgoingMessage] = []
        size, largest, channel = 0, self._batch_bytes, ""
        while queue:
            message = queue[0]
            if message.done():
                queue.popleft()
                continue
            if message.deadline <= horizon:
                self.late.append(queue.popleft())
                continue
            wire = len(message.body) + FRAMING
            if not messages:
                channel = message.channel
            elif (
                size + wire > largest
                or len(messages) >= room
                or message.delay_ms
                or message.channel is not channel  # an equal one costs another batch, no more
            ):
                break
            messages.append(queue.popleft())
            size += wire
            if message.delay_ms:
                break
        return Batch(messages, size) if messages else None

    def give_back(self, batches: Iterable[Batch]) -> None:
        """Take unconfirmed batches back, to be written again first, in order."""
        self._returned.extendleft(reversed(list(batches)))

    def give_back_suspect(self, batch: Batch) -> bool:
        """Take back a batch that may have cost the connection; False: give it up."""
        batch.losses += 1
        if len(batch.messages) == 1 and batch.losses >= MAX_LOSSES:
            return False
        self._returned.extend(batch.halves() if batch.losses > 1 else [batch])
        return True

    def give_back_singly(self, batch: Batch) -> None:
        """Take back a refused batch message by message, to find the bad one."""
        self._returned.extend(
            Batch([message], len(message.body) + FRAMING) for message in batch.messages
        )

    def drain(self) -> list[OutgoingMessage]:
        """Everything that waits to be written; nothing is kept."""
        waiting = list(self.waiting())
        self._returned.clear()
        self._queues.clear()
        self._turns.clear()
        return waiting

    def waiting(self) -> Iterator[OutgoingMessage]:
        """Everything that waits to be written, in no order across topics."""
        for batch in self._returned:
            yield from batch.messages
        for queue in self._queues.values():
            yield from queue
