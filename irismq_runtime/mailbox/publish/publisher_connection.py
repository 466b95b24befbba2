"""The publishing side of one nsqd: batches written, answers paired. One per broker.

nsqd answers PUB, MPUB and DPUB in order and without ids, so the oldest
unanswered batch owns the next answer. Batches are pipelined up to a number of
unconfirmed bytes, and of messages that the broker can confirm soon (`throughput`);
there is never one round trip per message. An answer that
nobody waits for means that the pairing is broken: the connection is dropped
before it can confirm the wrong message. A broker that has come to require
TLS took nothing: what was written waits, and the connection is not ready.

After a connection that confirmed nothing the next one starts with one batch at
a time and doubles with each answer: a broker that falls over again and again
gets through what it can, and a batch that it falls over is seen to be the one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from irismq_runtime.mailbox.connect.handshake import TLS_REQUIRED
from irismq_runtime.mailbox.connect.managed_connection import ManagedConnection
from irismq_runtime.mailbox.publish.channel_creator import ChannelCreator
from irismq_runtime.mailbox.publish.throughput import ThroughputEstimator
from irismq_runtime.protocols.nsq import OK, ErrorFrame, Heartbeat, Response, nop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.mailbox.publish.outbox import Batch, Outbox
    from irismq_runtime.mailbox.publish.publisher import Publisher
    from irismq_runtime.mailbox.publish.throughput import Throughput
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["PublisherConnection", "why_slow"]

_NOP = nop()
_WIDE = 4096


class PublisherConnection:
    """See the module."""

    __slots__ = (
        "_clock",
        "_in_bytes",
        "_limit",
        "_nothing_confirmed",
        "_publisher",
        "_unconfirmed",
        "_window",
        "channel_creator",
        "estimator",
        "in_count",
        "managed",
        "outbox",
    )

    def __init__(
        self, context: MailboxContext, endpoint: Endpoint, publisher: Publisher, outbox: Outbox
    ) -> None:
        self.managed = ManagedConnection(context, endpoint, self)
        #: What waits for this broker (shared, unless messages go to several).
        self.outbox = outbox
        #: The channels that messages are meant for.
        self.channel_creator = ChannelCreator(context, endpoint, self._channel_made)
        self.estimator = ThroughputEstimator(context.config.pipeline_bytes)
        #: Messages on their way.
        self.in_count = 0
        self._publisher = publisher
        self._clock = context.clock
        self._limit = context.config.pipeline_bytes
        self._unconfirmed: deque[Batch] = deque()
        self._in_bytes = 0
        self._nothing_confirmed = True
        # Batches that may be on their way at once.
        self._window = _WIDE

    @property
    def name(self) -> str:
        """The broker's address."""
        return str(self.managed.endpoint)

    @property
    def ready(self) -> bool:
        """Whether the broker can be written to."""
        return self.managed.ready

    @property
    def room(self) -> bool:
        """Whether a batch may be written now."""
        connection = self.managed.connection
        if connection is None or not connection.writable:
            return False
        return (
            self._in_bytes < self._limit
            and self.in_count < self.estimator.window
            and len(self._unconfirmed) < self._window
        )

    @property
    def unconfirmed(self) -> deque[Batch]:
        """Written and not answered yet, oldest first."""
        return self._unconfirmed

    def _channel_made(self, batches: list[Batch]) -> None:
        """Let go what waited for the channel."""
        self.outbox.give_back(batches)
        self._publisher.room_made(self)

    def throughput(self, now: float, silence: float) -> Throughput | None:
        """What it confirms; None: it is not known to be slow, or has nothing that waits.

        A broker that has not answered for `silence` seconds is as slow as that.
        """
        if not self.ready or self.outbox.empty:
            return None
        oldest = self._unconfirmed[0] if self._unconfirmed else None
        return self.estimator.at_most(oldest, now, silence)

    def send(self, batch: Batch, now: float) -> None:
        """Write `batch` at `now`; the caller has asked `room`."""
        self._unconfirmed.append(batch)
        batch.sent_at = now
        batch.ahead = self.in_count = self.in_count + len(batch.messages)
        batch.ahead_bytes = self._in_bytes = self._in_bytes + batch.size
        batch.saturated = not self.outbox.empty
        self.managed.write(batch.encode())

    # What the managed connection reports -----------------------------------

    def connection_up(self, managed: ManagedConnection, terms: Terms) -> None:  # noqa: ARG002  # the role's signature
        """Start afresh."""
        self._nothing_confirmed = True
        self._publisher.connection_up(self, terms)

    def frames(self, frames: list[Frame]) -> None:
        """Pair answers with batches."""
        answered = False
        for frame in frames:
            if isinstance(frame, Heartbeat):
                self.managed.write(_NOP)
            elif isinstance(frame, ErrorFrame) and TLS_REQUIRED in frame.text:
                self.managed.refuse(f"{frame.code} {frame.text}")
                self.outbox.give_back(list(self._unconfirmed))
                self._unconfirmed.clear()
                return  # it closes the connection now
            elif not self._unconfirmed:
                text = (
                    f"{frame.code} {frame.text}" if isinstance(frame, ErrorFrame) else "an answer"
                )
                self.managed.drop(f"{text} came that no publish waits for")
                return
            elif isinstance(frame, Response) and frame.data == OK:
                answered = True
                self._nothing_confirmed = False
                self._window = min(2 * self._window, _WIDE)
                batch = self._unconfirmed.popleft()
                self._in_bytes -= batch.size
                self.in_count -= len(batch.messages)
                self.estimator.answered(batch, self._clock.monotonic())
                self._publisher.confirmed(self, batch)
            elif isinstance(frame, ErrorFrame):
                batch = self._unconfirmed.popleft()
                self._in_bytes -= batch.size
                self.in_count -= len(batch.messages)
                self._nothing_confirmed = (
                    False  # the error is explained: the next in line is not a suspect
                )
                self._publisher.refused(self, batch, frame)
            else:
                self.managed.drop(f"unexpected {type(frame).__name__} on a publishing connection")
                return
        if answered:
            self._publisher.room_made(self)

    def connection_down(self, managed: ManagedConnection, reason: str) -> None:  # noqa: ARG002  # the role's signature
        """Give back what is unconfirmed, and what waits for its channel."""
        self.outbox.give_back(self.channel_creator.forget())
        unconfirmed = list(self._unconfirmed)
        self._unconfirmed.clear()
        self.estimator.lost(self.in_count)
        self._in_bytes = self.in_count = 0
        suspect = self._nothing_confirmed and len(unconfirmed) == 1
        if self._nothing_confirmed and unconfirmed:
            self._window = 1
        self._publisher.connection_down(self, unconfirmed, suspect=suspect, reason=reason)


def why_slow(brokers: Iterable[PublisherConnection]) -> str:
    """Why brokers that are reached have not confirmed in time."""
    missing = [broker.channel_creator.why for broker in brokers if broker.channel_creator.why]
    return "; ".join(missing) or "no confirmation in time"
