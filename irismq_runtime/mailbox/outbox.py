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

from irismq_runtime.mailbox.receipts import Receipt
from irismq_runtime.protocols.nsq import dpub, mpub, pub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FRAMING", "Batch", "Outbox", "Parcel"]

#: Bytes of an MPUB for each message besides its body.
FRAMING = 4
#: A message that was alone on this many connections that confirmed nothing is given up.
MAX_LOSSES = 5


class Parcel(Receipt):
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
        # Receipt's own fields, without the cost of a second call.
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
    """Parcels that one command carries and one answer settles."""

    __slots__ = (
        "ahead",
        "ahead_bytes",
        "deadline",
        "losses",
        "parcels",
        "pressed",
        "sent_at",
        "size",
    )

    def __init__(self, parcels: list[Parcel], size: int, losses: int = 0) -> None:
        self.parcels = parcels
        #: Bytes on the wire, about.
        self.size = size
        #: Connections that were lost over it alone.
        self.losses = losses
        #: The first of its deadlines.
        self.deadline = min([parcel.deadline for parcel in parcels])
        # What `pace` measures by, set when it is written.
        self.sent_at = 0.0
        #: Messages and bytes on their way then, its own among them.
        self.ahead = 0
        self.ahead_bytes = 0
        #: More waited behind it.
        self.pressed = False

    def encode(self) -> bytes:
        """The command: MPUB, or PUB or DPUB for one."""
        first = self.parcels[0]
        if first.delay_ms:
            return dpub(first.topic, first.delay_ms, first.body)
        if len(self.parcels) == 1:
            return pub(first.topic, first.body)
        return mpub(first.topic, [parcel.body for parcel in self.parcels])

    def halves(self) -> list[Batch]:
        """The same parcels in two batches without a past, or itself."""
        count = len(self.parcels) // 2
        if count == 0:
            return [self]
        return [
            Batch(part, sum(len(parcel.body) + FRAMING for parcel in part))
            for part in (self.parcels[:count], self.parcels[count:])
        ]


class Outbox:
    """The queues in front of one broker, or of several that stand in for each other."""

    __slots__ = ("_batch_bytes", "_batch_count", "_queues", "_returned", "_turns", "late")

    def __init__(self, *, batch_bytes: int, batch_count: int) -> None:
        self._batch_bytes = batch_bytes
        self._batch_count = batch_count
        self._queues: dict[str, deque[Parcel]] = {}
        self._turns: deque[str] = deque()
        self._returned: deque[Batch] = deque()
        #: What `take` found too old to be written; whoever takes fails and removes it.
        self.late: list[Parcel] = []

    @property
    def empty(self) -> bool:
        """Nothing waits to be written (something may wait to be confirmed)."""
        return not self._turns and not self._returned

    def put(self, parcel: Parcel) -> None:
        """Queue one message behind the others of its topic."""
        queue = self._queues.get(parcel.topic)
        if queue is None:
            queue = self._queues[parcel.topic] = deque()
        if not queue:
            self._turns.append(parcel.topic)
        queue.append(parcel)

    def take(self, horizon: float, count: int) -> Batch | None:
        """The next batch to write, of at most `count` messages.

        Without what is settled already, and without what has a deadline before
        `horizon` or at it.
        """
        while self._returned:
            batch = self._returned.popleft()
            alive = [parcel for parcel in batch.parcels if not parcel.done()]
            if batch.deadline <= horizon:
                self.late += [parcel for parcel in alive if parcel.deadline <= horizon]
                alive = [parcel for parcel in alive if parcel.deadline > horizon]
            if len(alive) == len(batch.parcels):
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

    def _cut(self, queue: deque[Parcel], horizon: float, room: int) -> Batch | None:
        parcels: list[Parcel] = []
        size, largest, channel = 0, self._batch_bytes, ""
        while queue:
            parcel = queue[0]
            if parcel.done():
                queue.popleft()
                continue
            if parcel.deadline <= horizon:
                self.late.append(queue.popleft())
                continue
            wire = len(parcel.body) + FRAMING
            if not parcels:
                channel = parcel.channel
            elif (
                size + wire > largest
                or len(parcels) >= room
                or parcel.delay_ms
                or parcel.channel is not channel  # an equal one costs another batch, no more
            ):
                break
            parcels.append(queue.popleft())
            size += wire
            if parcel.delay_ms:
                break
        return Batch(parcels, size) if parcels else None

    def give_back(self, batches: Iterable[Batch]) -> None:
        """Take unconfirmed batches back, to be written again first, in order."""
        self._returned.extendleft(reversed(list(batches)))

    def give_back_suspect(self, batch: Batch) -> bool:
        """Take back a batch that may have cost the connection; False: give it up."""
        batch.losses += 1
        if len(batch.parcels) == 1 and batch.losses >= MAX_LOSSES:
            return False
        self._returned.extend(batch.halves() if batch.losses > 1 else [batch])
        return True

    def apart(self, batch: Batch) -> None:
        """Take back a refused batch message by message, to find the bad one."""
        self._returned.extend(
            Batch([parcel], len(parcel.body) + FRAMING) for parcel in batch.parcels
        )

    def drain(self) -> list[Parcel]:
        """Everything that waits to be written; nothing is kept."""
        waiting = list(self.waiting())
        self._returned.clear()
        self._queues.clear()
        self._turns.clear()
        return waiting

    def waiting(self) -> Iterator[Parcel]:
        """Everything that waits to be written, in no order across topics."""
        for batch in self._returned:
            yield from batch.parcels
        for queue in self._queues.values():
            yield from queue
