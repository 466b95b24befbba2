"""`NsqMailbox`: the mailbox transport on NSQ. Puts the parts together, decides nothing.

Order of a life: `start` dials every nsqd for publishing and waits for the first;
consumers come and go; `close` first stops the consumers (their dead letters may
still need the publisher), then flushes the outbox, then ends the connections.
One timer, the beat, drives leases and silence checks of all of them. A consumer that rests
is not among those that a beat looks at, so thousands at rest cost a beat nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actors.chance import default_random
from actors.clock import default_clock
from actors.events import Events
from irismq_runtime.deadline_table import DeadlineTable
from irismq_runtime.endpoints import (
    DEFAULT_LOOKUPD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    parse_endpoints,
)
from irismq_runtime.errors import ConfigError, DeliveryError, NotConnected
from irismq_runtime.mailbox.config import MailboxConfig
from irismq_runtime.mailbox.connect.network import AsyncioNetwork
from irismq_runtime.mailbox.consume.consumer import Consumer
from irismq_runtime.mailbox.consume.requeue_delays import RequeueDelays
from irismq_runtime.mailbox.context import MailboxContext
from irismq_runtime.mailbox.publish.publisher import Publisher
from irismq_runtime.mailbox.receipts import GroupReceipt
from irismq_runtime.ports import WELL, TransportHealth
from irismq_runtime.protocols.nsq import channel_name, topic_name

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.mailbox.connect.network import Network
    from irismq_runtime.mailbox.receipts import PublishReceipt
    from irismq_runtime.namespace import Namespace
    from irismq_runtime.ports import StoredMessage

__all__ = ["NsqMailbox"]

#: Seconds by which a consumer may be looked at later than its rest ends.
_REST_GRAIN = 0.25
_REMEDY = "start one with `irismq dev`, or give the right address as nsqd"


class NsqMailbox:
    """The mailbox transport on NSQ (`ports.MailboxTransport`).

    Made inside a running event loop, and used on its thread alone.

    Args:
        nsqds: "host:port" of brokers to publish to, in order of preference, and to
            consume from. At least one.
        lookupds: "host:port" (HTTP) of nsqlookupds that know more brokers to consume from.
        clock: Where time comes from; None: the running loop's.
        rng: Where the chance in delays comes from; None: a new one.
        events: Where events are reported; None: nowhere.
        config: Options; None: the defaults.
        network: How connections come about; None: TCP by the running loop.
        namespace: In which all topics are, those of consumers and dead letters too.

    Raises:
        ConfigError: An address cannot be read, none is given, or there are fewer brokers
            than `config.copies`.
    """

    def __init__(
        self,
        nsqds: Sequence[str],
        lookupds: Sequence[str] = (),
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        events: Events | None = None,
        config: MailboxConfig | None = None,
        network: Network | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self._config = config or MailboxConfig()
        self._endpoints = list(
            parse_endpoints(nsqds, option="nsqd", default_port=DEFAULT_NSQD_PORT)
        )
        self._lookupds = list(
            parse_endpoints(lookupds, option="lookupd", default_port=DEFAULT_LOOKUPD_HTTP_PORT)
        )
        if not self._endpoints:
            raise ConfigError("nsqd", "no broker is given", 'give at least one "host:port"')
        if self._config.copies > len(self._endpoints):
            raise ConfigError(
                "copies",
                f"{self._config.copies} copies need as many brokers, {len(self._endpoints)} given",
            )
        self._context = MailboxContext(
            self._config,
            clock=clock or default_clock(),
            rng=rng or default_random(),
            events=events or Events(),
            network=network or AsyncioNetwork(),
            namespace=namespace,
        )
        # How a topic is called on the wire; None: as it is called here.
        self._topic_of = namespace.topic if namespace else None
        self._delays = RequeueDelays(
            self._context.rng, base=self._config.requeue_base, cap=self._config.requeue_max
        )
        self._publisher = Publisher(self._context, self._endpoints)
        self._consumers: dict[Consumer, None] = {}
        # Those that a beat looks at, and until when the others rest.
        self._watched: dict[Consumer, None] = {}
        self._resting: DeadlineTable[Consumer] = DeadlineTable(_REST_GRAIN)
        self._beat: TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    # Life ------------------------------------------------------------------

    async def start(self) -> None:
        """Dial every nsqd; returns when the first is ready.

        Raises:
            NotConnected: None was within `config.start_timeout` seconds. The error says
                what answered at each address, and the mailbox is closed.
        """
        self._context.on_quicker = self._plan_beat
        self._plan_beat()
        if not await self._publisher.start(self._config.start_timeout):
            reason = self._publisher.why_not_ready()
            said = [broker.managed.remedy for broker in self._publisher.brokers]
            remedy = "; ".join(dict.fromkeys(filter(None, said))) or _REMEDY
            await self.close(0.0)
            peer = "nsqd " + ", ".join(map(str, self._endpoints))
            raise NotConnected(peer, reason, remedy=remedy)

    async def close(self, drain: float) -> None:
        """Stop the consumers, wait for what is unconfirmed, end the connections. Idempotent.

        Args:
            drain: Seconds for handlers to finish and brokers to confirm, both together.
                What runs then is requeued, what is unconfirmed fails. Brokers that do
                not answer cost up to 2.5 seconds more.
        """
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        self._closed = asyncio.get_running_loop().create_future()
        try:
            started = self._context.clock.monotonic()
            await asyncio.gather(*(consumer.stop(drain) for consumer in list(self._consumers)))
            left = drain - (self._context.clock.monotonic() - started)
            await self._publisher.close(max(left, 0.0))
        finally:
            self._context.on_quicker = lambda: None
            if self._beat is not None:
                self._beat.cancel()
            self._context.log.close()
            self._closed.set_result(None)

    def _stopped(self, consumer: Consumer) -> None:
        del self._consumers[consumer]
        self._watched.pop(consumer, None)
        self._context.consumers = len(self._consumers)

    def _plan_beat(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        stalls = self._context.stalls
        self._beat = self._context.clock.call_later(stalls.period, self._on_beat)

    def _on_beat(self) -> None:
        now = self._context.clock.monotonic()
        if self._context.stalls.beat(now):
            for broker in self._publisher.brokers:
                broker.managed.tick(now)
        for consumer in self._resting.due(now):
            self._stirs(consumer)
        for consumer in tuple(self._watched):
            until = consumer.tick(now)
            if until > now:
                self._watched.pop(consumer, None)
                self._resting.add(consumer, until)
        self._plan_beat()

    def _stirs(self, consumer: Consumer) -> None:
        """From now on each beat looks at it, until it rests again."""
        if consumer in self._consumers:
            self._watched[consumer] = None

    # Publishing ------------------------------------------------------------

    def publish(
        self,
        topic: str,
        body: bytes,
        *,
        delay: float = 0.0,
        timeout: float | None = None,
        key: str = "",
        channel: str = "",
    ) -> PublishReceipt:
        """Store a message; it leaves with all others of this turn of the loop.

        Args:
            topic: A topic of nsqd.
            body: The message, not empty, at most `max_body` bytes.
            delay: Seconds until it is delivered, at most `max_delay`; 0: at once.
            timeout: Seconds until it is confirmed or has failed; None:
                `config.publish_timeout`.
            key: How events name it, an envelope's id for example.
            channel: A channel that must exist before it is stored; empty: none.

        Returns:
            A receipt that is done when `config.copies` brokers have it. It fails with
            `DeliveryError` ("not sent" or "unknown") or `MessageTooLarge`.

        Raises:
            InvalidName: nsqd would refuse the topic or the channel.
            MessageTooLarge: The body is over `max_body`.
            Overloaded: No room in the outbox, or the broker could not confirm it in time.
            DeliveryError: The mailbox is closed.
            ValueError: The body is empty, or `delay` above `max_delay`.
            TypeError: The body is not bytes, bytearray or memoryview.
        """
        if self._topic_of is not None:
            topic = self._topic_of(topic)
        return self._publisher.publish(topic, body, delay, timeout, key, channel)

    def publish_all(
        self,
        topic: str,
        bodies: Iterable[bytes],
        *,
        timeout: float | None = None,
        keys: Sequence[str] = (),
        channel: str = "",
    ) -> Sequence[PublishReceipt]:
        """Store several messages of one topic, all or none of which are taken.

        Args:
            topic: A topic of nsqd.
            bodies: The messages.
            timeout: As with `publish`, for each of them.
            keys: How events name them, one for each body; empty: without names.
            channel: As with `publish`.

        Returns:
            One receipt for each, in their order.

        Raises:
            Exception: As `publish`, with the index of the body at fault; then nothing
                of it was taken.
        """
        if self._topic_of is not None:
            topic = self._topic_of(topic)
        return self._publisher.publish_all(topic, bodies, timeout, keys, channel)

    def publish_many(
        self, topic: str, bodies: Iterable[bytes], *, timeout: float | None = None
    ) -> PublishReceipt:
        """Store several messages of one topic under one receipt.

        Args:
            topic: A topic of nsqd.
            bodies: The messages.
            timeout: As with `publish`, for each of them.

        Returns:
            A receipt that is done when the last is confirmed. It fails with the first
            error; the others may be stored nevertheless.

        Raises:
            Exception: As `publish_all`.
        """
        return GroupReceipt.of(self.publish_all(topic, bodies, timeout=timeout))

    @property
    def max_body(self) -> int:
        """Bytes of the largest message that every broker takes, as far as they have said so."""
        return self._publisher.limits.max_body

    @property
    def max_delay(self) -> float:
        """Seconds of the longest delay that every broker keeps by itself."""
        return self._publisher.limits.max_delay

    @property
    def max_attempts(self) -> int:
        """How many deliveries a message gets before its receiver should give it up."""
        return self._config.max_attempts

    @property
    def connects(self) -> int:
        """How many publishing connections were made so far: 1 per broker if all is well."""
        return sum(broker.managed.connects for broker in self._publisher.brokers)

    # Consuming -------------------------------------------------------------

    async def consume(
        self,
        topic: str,
        channel: str,
        on_message: Callable[[StoredMessage], None],
        *,
        window: int,
    ) -> Consumer:
        """Consume a channel of a topic from every broker that has it.

        Args:
            topic: A topic of nsqd.
            channel: Its channel; consumers of one channel share its messages.
            on_message: Called on the loop for each message. It settles the message, now
                or later; one that it raises over is requeued.
            window: Messages that may be held at the same time, over all brokers.

        Returns:
            The consumption, at once; its `health()` says when it is connected.

        Raises:
            InvalidName: nsqd would refuse the topic or the channel.
            DeliveryError: The mailbox is closed.
        """
        if self._closed is not None:
            raise DeliveryError(topic, "not sent", "the mailbox is closed")
        topic = self._context.namespace.topic(topic)
        topic_name(topic)
        channel_name(channel)
        consumer = Consumer(
            self._context,
            topic,
            channel,
            on_message,
            window=window,
            store=self._store,
            delays=self._delays,
            limits=self._publisher.limits,
            on_stirring=self._stirs,
            on_stopped=self._stopped,
        )
        self._consumers[consumer] = self._watched[consumer] = None
        self._context.consumers = len(self._consumers)
        if self._beat is None:
            self._plan_beat()
        consumer.discover(self._lookupds, self._endpoints)
        return consumer

    def _store(
        self, topic: str, record: bytes, delay: float, channel: str, copy_of: str
    ) -> PublishReceipt:
        if copy_of:
            return self._publisher.publish_copy(topic, record, delay, channel, copy_of)
        return self._publisher.publish(topic, record, delay, None, "", channel)

    # Health ----------------------------------------------------------------

    def health(self) -> TransportHealth:
        """Whether a broker can be published to, or the reason why not."""
        if self._closed is not None:
            return TransportHealth(ok=False, reason="the mailbox is closed")
        reason = self._publisher.why_not_ready()
        return TransportHealth(ok=False, reason=reason) if reason else WELL
