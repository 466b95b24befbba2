"""Publishing: accept, batch, write, confirm; each receipt settled exactly once.

What one loop turn publishes is flushed at the end of that turn. With one copy
every broker draws from the same outbox: the first broker in the given order
that is connected gets everything, another takes over when it is lost (so the
order of one sender is usually kept). With several copies each message is given
to that many brokers, and moved to another when one of them is lost.

A batch that was written and not confirmed may or may not be stored. It is
written again, at least once being the promise, until its deadline; then the
error says "unknown". What was never written fails as "not sent".

What cannot be confirmed in its time is refused before it is taken (`admission`),
by what the broker confirms (`throughput`); what is too old by then is not written. Deadlines
cost one timer (`deadline_timer`). Nobody is called back before the bookkeeping is done.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from irismq_runtime.errors import DeliveryError, MessageTooLarge
from irismq_runtime.mailbox.connect.probe import probe_limits
from irismq_runtime.mailbox.limits import BrokerLimits, OutboxFull, limit_in, milliseconds
from irismq_runtime.mailbox.publish.bodies import OF_BROKER, all_fit, as_bytes
from irismq_runtime.mailbox.publish.deadline_timer import DeadlineTimer
from irismq_runtime.mailbox.publish.outbox import Batch, Outbox, OutgoingMessage
from irismq_runtime.mailbox.publish.overload import OverloadGuard
from irismq_runtime.mailbox.publish.publisher_connection import PublisherConnection, why_slow
from irismq_runtime.protocols.nsq import channel_name, topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.errors import SendOutcome
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.protocols.nsq import ErrorFrame

__all__ = ["Publisher"]


#: The broker cannot store now; another, or the same later, may.
_TRY_AGAIN = frozenset({"E_PUB_FAILED", "E_MPUB_FAILED", "E_DPUB_FAILED"})


class Publisher:
    """See the module. Loop thread only."""

    def __init__(self, context: MailboxContext, endpoints: Sequence[Endpoint]) -> None:
        config = context.config
        self.limits = BrokerLimits(config)
        #: Bytes accepted and not settled.
        self.held = 0
        #: Messages accepted and not settled.
        self.count = 0
        self.confirmed_count = 0
        self.failed_count = 0
        self._context = context
        self._now = context.clock.monotonic
        self._timeout = config.publish_timeout
        # Bytes that need no closer look: all that may be held, less for a slow broker.
        self._limit: float = config.outbox_bytes
        self._copies = config.copies
        shared = self._outbox()
        self._outboxes = [shared]
        if self._copies > 1:
            self._outboxes = [self._outbox() for _ in endpoints]
        spread = self._outboxes * len(endpoints) if self._copies == 1 else self._outboxes
        self.brokers = [
            PublisherConnection(context, endpoint, self, outbox)
            for endpoint, outbox in zip(endpoints, spread, strict=False)
        ]
        self._flush_planned = False
        self._overload = OverloadGuard(context, self.brokers)
        self._deadlines = DeadlineTimer(context.clock, self._outboxes, self.brokers, self._expired)
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._first_ready: asyncio.Event = asyncio.Event()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        # The topic and the channel that were named last, and may be named again without a
        # look (`is`, not `==`: callers pass the same texts, and to compare them costs more).
        self._topic: str | None = None
        self._channel = ""

    def _outbox(self) -> Outbox:
        config = self._context.config
        return Outbox(batch_bytes=config.batch_bytes, batch_count=config.batch_count)

    # What users call -------------------------------------------------------

    def publish(  # noqa: PLR0917  # called for every message: keywords cost
        self,
        topic: str,
        body: bytes,
        delay: float,
        timeout: float | None,
        key: str,
        channel: str = "",
    ) -> OutgoingMessage:
        """See `ports.MailboxTransport.publish`."""
        if type(body) is not bytes:
            body = as_bytes(body)
        if timeout is None:
            timeout = self._timeout
        self._admit(topic, len(body), len(body), timeout)
        if channel is not self._channel:
            self._check(channel)
        deadline = self._now() + timeout
        message = OutgoingMessage(topic, body, deadline, key, 0, self._copies, channel)
        if delay > 0.0:
            message.delay_ms = self._delay_ms(delay)
        self._accept(message)
        return message

    def publish_copy(
        self, topic: str, body: bytes, delay: float, channel: str, broker: str
    ) -> OutgoingMessage:
        """Store the one copy that has come from `broker` again: there, or elsewhere if it is away.

        The other copies come from their own brokers: were each stored at as many as a new
        message is, they would double each time.
        """
        if self._copies == 1:
            return self.publish(topic, body, delay, None, "", channel)
        self._admit(topic, len(body), len(body), self._timeout)
        self._check(channel)
        deadline = self._now() + self._timeout
        message = OutgoingMessage(topic, body, deadline, "", self._delay_ms(delay), 1, channel)
        self._accept(message, broker)
        return message

    def publish_all(
        self,
        topic: str,
        bodies: Iterable[bytes],
        timeout: float | None,
        keys: Sequence[str] = (),
        channel: str = "",
    ) -> list[OutgoingMessage]:
        """See `ports.MailboxTransport.publish_all`."""
        taken = all_fit(bodies, self.limits.max_body)
        if not taken:
            return []
        if timeout is None:
            timeout = self._timeout
        self._admit(topic, 1, sum(map(len, taken)), timeout, len(taken))
        if channel is not self._channel:
            self._check(channel)
        deadline = self._now() + timeout
        messages = [
            OutgoingMessage(topic, body, deadline, key, 0, self._copies, channel)
            for body, key in zip(taken, keys or ("",) * len(taken), strict=True)
        ]
        for message in messages:
            self._accept(message)
        return messages

    async def start(self, timeout: float) -> bool:
        """Dial every broker; True when the first is ready and known, False at the timeout."""
        for broker in self.brokers:
            broker.managed.start()
        timer = self._context.clock.call_later(timeout, self._first_ready.set)
        try:
            await self._first_ready.wait()
        finally:
            timer.cancel()
        return any(broker.ready for broker in self.brokers)

    async def close(self, drain: float) -> None:
        """Wait for what is unconfirmed, at most `drain` seconds, and end."""
        self._closed = True
        self._flush()
        if not self._idle.is_set():
            timer = self._context.clock.call_later(drain, self._idle.set)
            await self._idle.wait()
            timer.cancel()
        self._deadlines.cancel()
        for task in self._probes.values():
            task.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)
        await asyncio.gather(*(broker.channel_creator.close() for broker in self.brokers))
        await asyncio.gather(*(broker.managed.close(0.5) for broker in self.brokers))
        for message in self._deadlines.unsettled():
            self._fail(message, "the mailbox was closed")

    def why_not_ready(self) -> str:
        """One line; empty when a broker can be written to."""
        if not self.brokers or any(broker.ready for broker in self.brokers):
            return ""
        return "; ".join(f"nsqd {broker.name}: {broker.managed.reason}" for broker in self.brokers)

    # Accepting -------------------------------------------------------------

    def _admit(self, topic: str, largest: int, total: int, timeout: float, count: int = 1) -> None:
        if largest > self.limits.max_body:
            raise MessageTooLarge(largest, self.limits.max_body, limit_of=OF_BROKER)
        if self.held + total > self._limit or timeout < self._timeout:
            self._look_closer(count, total, timeout)
        if not total:
            raise ValueError("an empty message: NSQ has none")
        if self._closed:
            raise DeliveryError(topic, "not sent", "the mailbox is closed")
        if topic is not self._topic:
            topic_name(topic)
            self._topic = topic

    def _look_closer(self, count: int, total: int, timeout: float) -> None:
        """Raise `OutboxFull`, or `BrokerTooSlow` for what cannot be confirmed in its time."""
        most = self._context.config.outbox_bytes
        if self.held + total > most:
            raise OutboxFull(total, most, self.why_not_ready())
        self._overload.check((self.count, self.held), count, total, timeout)

    def _check(self, channel: str) -> None:
        """Raise `InvalidName` for a channel that nsqd would refuse."""
        if channel:
            channel_name(channel)
        self._channel = channel

    def _delay_ms(self, delay: float) -> int:
        longest = self.limits.max_delay
        if delay > longest:
            raise ValueError(f"a delay of {delay:g} s is over the broker's {longest:g} s")
        return milliseconds(delay, longest)

    def _accept(self, message: OutgoingMessage, first: str = "") -> None:
        self.held += len(message.body)
        self.count += 1
        if self._copies == 1:
            self._outboxes[0].put(message)
        else:
            for broker in self._choose(message, message.copies, first):
                self._assign(message, broker)
        events = self._context.events
        if events.active:
            events.emit(
                "outbox.queued", id=message.key, topic=message.topic, size=len(message.body)
            )
        if not self._flush_planned:
            # At the end of the turn: what is published in one turn shares a batch.
            self._flush_planned = True
            asyncio.get_running_loop().call_soon(self._flush)
        if message.deadline < self._deadlines.at:
            self._deadlines.arm(message.deadline)

    def _choose(
        self, message: OutgoingMessage, count: int, first: str = ""
    ) -> list[PublisherConnection]:
        """The brokers that get a copy: connected ones, of these `first`, then as they are given."""
        free = [broker for broker in self.brokers if broker.name not in message.seen_at]
        free.sort(key=lambda broker: (not broker.ready, broker.name != first))
        return free[:count]

    def _assign(self, message: OutgoingMessage, broker: PublisherConnection) -> None:
        message.seen_at = (*message.seen_at, broker.name)
        broker.outbox.put(message)

    # Writing ---------------------------------------------------------------

    def _flush(self) -> None:
        """Write what waits, as far as the brokers' pipelines have room."""
        self._flush_planned = False
        saturated = False
        for broker in self.brokers:
            if not broker.ready:
                continue
            outbox = broker.outbox
            if not outbox.empty:
                self._write(broker, outbox, self._now())
                saturated = saturated or not outbox.empty
            if self._copies == 1:
                break
        if self.held:
            self._idle.clear()
        if saturated or self._overload.saturated:
            most = self._overload.observe(saturated=saturated)
            self._limit = min(most, self._context.config.outbox_bytes)

    def _write(self, broker: PublisherConnection, outbox: Outbox, now: float) -> None:
        estimator = broker.estimator
        while broker.room:
            batch = outbox.take(estimator.horizon(now, broker.in_count), estimator.batch_count)
            if batch is None:
                break
            if not broker.channel_creator.ensure(batch):
                continue
            broker.send(batch, now)
            if self._copies > 1:
                for message in batch.messages:
                    message.written = True
            if self._context.events.active:
                self._emit("publisher.written", batch, broker)
        if outbox.late:
            late, outbox.late = outbox.late, []
            for message in late:
                self._fail(message, "the broker could not confirm it in the time that was left")

    def connection_up(self, broker: PublisherConnection, terms: Terms) -> None:
        """Learn the broker's limits, and write to it what waits."""
        self.limits.announced(broker.name, terms)
        unsure = broker.managed.refused or self._context.config.tls is None
        if unsure or any(self.limits.unknown(broker.name)):
            self._probe(broker)
        else:
            self._first_ready.set()
        if self._copies > 1:
            for other in self.brokers:
                if not other.ready:
                    self._move_away(other)
        self._flush()

    def _probe(self, broker: PublisherConnection) -> None:
        """Ask the broker for its limits and whether it takes anything: until it does."""
        asked = self._probes.get(broker.name)
        if asked is not None and not (asked.done() and broker.managed.refused):
            return
        self._probes[broker.name] = asyncio.create_task(self._ask_limits(broker))

    async def _ask_limits(self, broker: PublisherConnection) -> None:
        broker.managed.refuse(
            await probe_limits(self._context, broker.managed.endpoint, self.limits)
        )
        if broker.ready:
            self._first_ready.set()
            self._flush()
        else:
            del self._probes[broker.name]

    def room_made(self, broker: PublisherConnection) -> None:  # noqa: ARG002  # any broker may have room now
        """Write on."""
        self._flush()

    # Answers ---------------------------------------------------------------

    def confirmed(self, broker: PublisherConnection, batch: Batch) -> None:
        """Settle the receipts of `batch`."""
        if self._context.events.active:
            self._emit("publisher.confirmed", batch, broker)
        done = []
        for message in batch.messages:
            if message.copies > 1:
                message.copies -= 1
            elif not message.done():
                done.append(message)
        self.confirmed_count += len(done)
        self.count -= len(done)
        self.held -= sum([len(message.body) for message in done])
        for message in done:
            message.body = b""
            message.settle()
        self._look_if_idle()

    def refused(self, broker: PublisherConnection, batch: Batch, error: ErrorFrame) -> None:
        """Find out which message is bad, and fail that one alone."""
        text = f"{error.code} {error.text}".rstrip()
        self._context.log.write(
            logging.WARNING,
            f"refused {error.code}",
            "nsqd %s refused a publish: %s",
            broker.name,
            text,
        )
        max_body, max_delay = limit_in(error.text)
        self.limits.learn(broker.name, max_body=max_body, max_delay=max_delay)
        if error.code in _TRY_AGAIN:
            broker.outbox.give_back([batch])
        elif len(batch.messages) > 1:
            broker.outbox.give_back_singly(batch)
        else:
            message = batch.messages[0]
            fault: Exception = DeliveryError(message.topic, "not sent", text)
            if max_body is not None:
                fault = MessageTooLarge(
                    len(message.body), max_body, limit_of=f"nsqd {broker.name} (max-msg-size)"
                )
            self._settle_error(message, fault)

    def connection_down(
        self, broker: PublisherConnection, unconfirmed: list[Batch], *, suspect: bool, reason: str
    ) -> None:
        """Write what is unconfirmed again: here after a reconnect, or elsewhere now."""
        for batch in unconfirmed:
            for message in batch.messages:
                message.written = True
        if not suspect:
            broker.outbox.give_back(unconfirmed)
        elif not broker.outbox.give_back_suspect(unconfirmed[0]):
            for message in unconfirmed[0].messages:
                self._fail(message, f"the broker drops the connection over it: {reason}")
        if self._copies > 1:
            self._move_away(broker)
        self._flush()

    def _move_away(self, broker: PublisherConnection) -> None:
        """Give the copies that wait for `broker` to brokers that are connected."""
        for message in broker.outbox.drain():
            others = [other for other in self._choose(message, 1) if other.ready]
            if others and not message.done():
                message.seen_at = tuple(name for name in message.seen_at if name != broker.name)
                self._assign(message, others[0])
            elif not message.done():
                broker.outbox.put(message)

    # The end of a message ---------------------------------------------------

    def _expired(self, message: OutgoingMessage) -> None:
        self._fail(message, self.why_not_ready() or why_slow(self.brokers))

    def _fail(self, message: OutgoingMessage, why: str) -> None:
        outcome: SendOutcome = "unknown" if message.written else "not sent"
        self._settle_error(message, DeliveryError(message.topic, outcome, why))

    def _settle_error(self, message: OutgoingMessage, error: Exception) -> None:
        if message.done():
            return
        self.failed_count += 1
        self.count -= 1
        self.held -= len(message.body)
        message.body = b""
        events = self._context.events
        if events.active:
            events.emit("publisher.failed", id=message.key, topic=message.topic, error=str(error))
        message.settle(error)
        self._look_if_idle()

    def _look_if_idle(self) -> None:
        if self.held <= 0:
            self._idle.set()

    def _emit(self, name: str, batch: Batch, broker: PublisherConnection) -> None:
        for message in batch.messages:
            self._context.events.emit(name, id=message.key, topic=message.topic, broker=broker.name)
