"""One consumer's traffic with one nsqd: messages in, FIN, REQ and TOUCH out.

It outlives its TCP connections, which `ManagedConnection` dials. What is written in
one loop turn is joined into one write. Messages pass through `frames` in a loop over
local variables: this is the hot path of the whole runtime.

A redelivery (attempts above 1) is looked up before it is handed on:
- held now by this connection: our lease ran out unnoticed; the holder takes it over;
- its handler runs, lease lost: the handler takes the new lease over, no second run begins;
- finished here, but the FIN may not have arrived: it is finished again, unseen;
- else it is new, and deliveries that began no handler are no attempts (`attempts`).
The name of a message is the broker's id with the broker's time stamp, because
ids repeat after a broker has lost its data.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from irismq_runtime.mailbox.connect.managed_connection import ManagedConnection
from irismq_runtime.mailbox.consume.adaptive_rdy import HELD, AdaptiveRdy
from irismq_runtime.mailbox.consume.in_flight import InFlightMessage, InFlightState
from irismq_runtime.mailbox.consume.lease import Leases
from irismq_runtime.mailbox.limits import milliseconds
from irismq_runtime.protocols.nsq import (
    CLOSE_WAIT,
    ErrorFrame,
    Heartbeat,
    Message,
    cls,
    fin,
    nop,
    rdy,
    req,
    touch,
)
from irismq_runtime.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import TimerHandle
    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.attempts import Name
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.consume.consumer import Consumer
    from irismq_runtime.mailbox.consume.rdy_distribution import RdyShare
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.mailbox.limits import BrokerLimits
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["ConsumerConnection"]

#: FINs remembered per connection, at least.
FINISHED_SIZE = 4096
#: Without a message for so long a connection asks for one more only.
IDLE = 5.0


class ConsumerConnection:
    """See the module. Loop thread only."""

    __slots__ = (
        "_adaptive_rdy",
        "_closed",
        "_consumer",
        "_context",
        "_finished",
        "_held_timer",
        "_limits",
        "_out",
        "_overheld",
        "_requeue_after",
        "leases",
        "lost",
        "managed",
        "share",
        "topic",
        "topic_of",
    )  # fmt: skip

    def __init__(
        self,
        context: MailboxContext,
        endpoint: Endpoint,
        consumer: Consumer,
        *,
        limits: BrokerLimits,
        requeue_after: Callable[[int], float],
    ) -> None:
        self.topic = consumer.topic
        #: Gives the topic on the wire of another one, that of dead letters.
        self.topic_of = context.namespace.topic
        self.managed = ManagedConnection(
            context, endpoint, self, (consumer.topic, consumer.channel)
        )
        self.leases: Leases[InFlightMessage] = Leases(1.0, 1.0)
        #: Handlers run for these; the lease is gone.
        self.lost: dict[bytes, InFlightMessage] = {}
        self.share: RdyShare | None = None
        self._context = context
        self._consumer = consumer
        self._limits = limits
        self._requeue_after = requeue_after
        self._out: list[bytes] = []
        self._adaptive_rdy: AdaptiveRdy | None = None
        self._held_timer: TimerHandle | None = None
        self._finished: Recent[bytes, int] = Recent(FINISHED_SIZE)
        # Lost while their connection stands: a late FIN may still be in time.
        self._overheld: set[bytes] = set()
        self._closed: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the broker can be written to."""
        return self.managed.ready

    # From the broker -------------------------------------------------------

    def connection_up(self, managed: ManagedConnection, terms: Terms) -> None:  # noqa: ARG002  # the role's signature
        """Start with an empty table; what was held before was lost with its connection."""
        self.leases = Leases(terms.msg_timeout, terms.max_msg_timeout)
        self._overheld.clear()
        self._context.quicken(self.leases.period)
        self._consumer.connection_up(self, terms.max_rdy)
        if self._context.config.adaptive_rdy and self.share is not None:
            self._adaptive_rdy = AdaptiveRdy(1)
            self.share.wanted = 1

    def frames(self, frames: list[Frame]) -> None:
        """Take what came."""
        consumer, share = self._consumer, self.share
        now = self._context.clock.monotonic()
        received_at = self._context.stalls.earliest_push(now)
        if share is not None:
            self._heard(share, now, len(frames))
        held, on_message = self.leases.held, consumer.on_message
        events = self._context.events
        for frame in frames:
            if type(frame) is not Message:
                self._other(frame)
                if not self.managed.ready:
                    return
                continue
            attempts, raw_id = frame.attempts, frame.id
            # First deliveries, nearly all, are looked up nowhere.
            if attempts > 1 or consumer.stopping or share is None:
                if self._known(frame, received_at):
                    continue
                attempts = self._attempt(frame)
            message = InFlightMessage(
                self, frame.timestamp, attempts, raw_id, frame.body, received_at
            )
            # Counted before it is handed on: the receiver may finish it at once.
            held[raw_id] = message
            consumer.in_flight += 1
            share.in_flight += 1  # type: ignore[union-attr]  # _known took care of None
            if events.active:
                self._emit("consumer.received", message)
            try:
                on_message(message)
            except Exception as error:  # whatever the receiver does, the others come
                consumer.handler_failed(message, error)

    def _heard(self, share: RdyShare, now: float, coming: int) -> None:
        share.last_message = now
        consumer = self._consumer
        if consumer.rests_until:  # from the next beat on its leases are looked after
            consumer.on_stirring(consumer)
        if self._adaptive_rdy is not None:
            self._adapt(share, now, coming)

    def _adapt(self, share: RdyShare, now: float, coming: int) -> None:
        """Let RDY follow the traffic."""
        adaptive = self._adaptive_rdy
        if adaptive is None:
            return
        in_flight = share.in_flight + coming
        if adaptive.received(now, share.ready, in_flight):
            share.wanted = adaptive.value
            self._consumer.plan_soon()
        elif in_flight >= share.ready and self._held_timer is None:
            self._held_timer = self._context.clock.call_later(HELD, self._still_held)

    def _still_held(self) -> None:
        self._held_timer = None
        share, adaptive = self.share, self._adaptive_rdy
        if share is None or adaptive is None or share.in_flight < share.ready:
            return
        if adaptive.held(share.ready):
            share.wanted = adaptive.value
            self._consumer.plan_soon()
            self._held_timer = self._context.clock.call_later(HELD, self._still_held)

    def _ask_for_one_more(self, share: RdyShare, adaptive: AdaptiveRdy) -> None:
        """Nothing has come for long: what is asked for follows what is held."""
        if adaptive.idle(share.ready, share.in_flight):
            share.wanted = adaptive.value
            self._consumer.plan_soon()

    def _stop_adapting(self) -> None:
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None

    def _known(self, frame: Message, received_at: float) -> bool:
        """Deal with a redelivery of what is known, or with what comes too late."""
        raw_id = frame.id
        held = self.leases.find(raw_id)
        if held is not None and held.stamp == frame.timestamp:
            self._take_over(held, frame, received_at)
            return True
        running = self.lost.get(raw_id)
        # The stamp as well: a broker that has lost its data gives its ids out anew.
        if running is not None and running.stamp == frame.timestamp and self.share is not None:
            del self.lost[raw_id]
            self._overheld.discard(raw_id)
            self._take_over(running, frame, received_at)
            self.share.in_flight += 1
            self._consumer.plan_soon()
            return True
        if self._finished.get(raw_id) == frame.timestamp:
            self._send(fin(raw_id))
            return True
        if self._consumer.stopping or self.share is None:
            self._context.attempts.discount(self._name(frame.id, frame.timestamp))
            self._send(req(frame.id, 0))
            return True
        return False

    def _take_over(self, holder: InFlightMessage, frame: Message, received_at: float) -> None:
        """Give `holder` the new lease. What it began, or will begin, is one attempt."""
        self.discount(holder)
        holder.take_over(self._attempt(frame), received_at)
        self.leases.renew(frame.id, holder)

    def _attempt(self, frame: Message) -> int:
        """Which attempt this delivery is; see `attempts`."""
        name = self._name(frame.id, frame.timestamp)
        return self._context.attempts.attempt(name, frame.attempts)

    def _name(self, raw_id: bytes, stamp: int) -> Name:
        return (self.topic, self._consumer.channel, raw_id, stamp)

    def _other(self, frame: Frame) -> None:
        if isinstance(frame, Heartbeat):
            self._send(nop())
        elif isinstance(frame, ErrorFrame):
            if frame.fatal:
                self.managed.drop(f"nsqd refused: {frame.code} {frame.text}")
            else:
                # The lease had run out at the broker; the message comes again.
                self._context.log.write(
                    logging.WARNING,
                    frame.code,
                    "nsqd %s: %s %s (the message was not ours any more)",
                    self.managed.endpoint,
                    frame.code,
                    frame.text,
                )
        elif frame == (CLOSE_WAIT,) and self._closed is not None:
            self._closed()

    def connection_down(self, managed: ManagedConnection, reason: str) -> None:  # noqa: ARG002  # the role's signature
        """Every lease is gone with the connection: nothing can be renewed or finished."""
        self._out.clear()
        self._stop_adapting()
        self._consumer.connection_down(self)
        if self._closed is not None:
            self._closed()
        self._lose(self.leases.clear())

    def _lose(self, messages: list[InFlightMessage]) -> None:
        for message in messages:
            if self.share is not None:
                self.share.in_flight -= 1
            if message.state is InFlightState.HELD:
                self.discount(message)
            else:
                self.lost[message.raw_id] = message  # it runs, or is being moved
            if message.state is not InFlightState.SETTLED and not message.lose():
                self._consumer.given_up(message, failure=False)
        if messages:
            self._consumer.plan_soon()

    # From the holder of a message ------------------------------------------

    def finish(self, message: InFlightMessage, *, lost: bool) -> bool:
        """FIN. Also for a lost lease, in case the broker has not noticed."""
        raw_id = message.raw_id
        # Whether the FIN arrives is not known (NSQ does not answer it): if the message
        # comes again, it is finished again and not run again.
        self._finished.put(raw_id, message.stamp)
        if self._context.events.active:
            self._emit("consumer.finished", message)
        in_time = not lost or raw_id in self._overheld
        share = self.share
        # In place of `_release`, whose two calls would cost on the hot path.
        if share is None or self.leases.held.pop(raw_id, None) is None:
            self._release(message, lost=lost)
        else:  # nearly always
            share.in_flight -= 1
        if in_time:
            out = self._out
            if not out:
                self._consumer.flush_soon(self)
            out.append(b"FIN " + raw_id + b"\n")
        self._consumer.finished(message)
        return not lost

    def requeue(
        self, message: InFlightMessage, delay: float | None, *, penalty: bool, lost: bool
    ) -> bool:
        """REQ, with the policy's delay when None."""
        if delay is None:
            delay = self._requeue_after(message.attempts)
        self._release(message, lost=lost)
        if not lost:
            self._send(req(message.raw_id, milliseconds(delay, self._limits.max_delay)))
        self._consumer.given_up(message, failure=penalty)
        return not lost

    def discount(self, message: InFlightMessage) -> None:
        """One delivery of this message began no handler; it costs no attempt."""
        self._context.attempts.discount(self._name(message.raw_id, message.stamp))

    def move(
        self,
        message: InFlightMessage,
        topic: str,
        record: bytes,
        delay: float,
        channel: str,
        *,
        lost: bool,
    ) -> None:
        """Keep the lease until the record is stored."""
        if lost:
            self.lost[message.raw_id] = message
        self._consumer.move(message, topic, record, min(delay, self._limits.max_delay), channel)

    @property
    def channel(self) -> str:
        """The channel that is consumed."""
        return self._consumer.channel

    def moved(self, message: InFlightMessage, error: BaseException | None) -> None:
        """The record is stored: finish. It is not: give the message back."""
        lost = message.raw_id in self.lost and self.lost[message.raw_id] is message
        if error is None:
            self.finish(message, lost=lost)
        else:
            self.requeue(message, None, penalty=False, lost=lost)

    def _release(self, message: InFlightMessage, *, lost: bool) -> None:
        if lost:
            self.lost.pop(message.raw_id, None)
            self._overheld.discard(message.raw_id)
            return
        self.leases.remove(message.raw_id)
        if self.share is not None:
            self.share.in_flight -= 1

    def held(self) -> list[InFlightMessage]:
        """Every message that somebody here still holds."""
        return [*self.leases.all(), *self.lost.values()]

    # From the consumer -----------------------------------------------------

    def tell_ready(self, count: int) -> None:
        """RDY."""
        self._send(rdy(count))
        share = self.share
        # What is lowered to what is held brings no message that would have it looked at.
        full = share is not None and share.in_flight >= count > 0
        if full and self._adaptive_rdy is not None and self._held_timer is None:
            self._held_timer = self._context.clock.call_later(HELD, self._still_held)

    def tick(self, now: float) -> None:
        """Touch what is due, notice what is lost."""
        self.managed.tick(now)
        if not self.managed.ready:
            return
        share, adaptive = self.share, self._adaptive_rdy
        if share is not None and adaptive is not None and now - share.last_message > IDLE:
            self._ask_for_one_more(share, adaptive)
        ids, lost = self.leases.due(now)
        for raw_id in ids:
            self._send(touch(raw_id))
        if lost:
            self._context.log.write(
                logging.WARNING,
                f"lease {self.topic}",
                "%d messages of %s were held longer than nsqd %s allows and may run elsewhere",
                len(lost),
                self.topic,
                self.managed.endpoint,
            )
            self._overheld.update(m.raw_id for m in lost if m.state is not InFlightState.HELD)
            self._lose(lost)

    def say_goodbye(self, on_closed: Callable[[], None]) -> None:
        """CLS; `on_closed` is called when the broker has read all that was written."""
        if not self.managed.ready:
            on_closed()
            return
        self._closed = on_closed
        self._stop_adapting()
        self._send(cls())

    def flush(self) -> None:
        """Write what this loop turn has gathered."""
        out = self._out
        if out:
            # From here on the broker has room: what comes at once was waiting for it.
            if self._adaptive_rdy is not None:
                self._adaptive_rdy.freed_at = self._context.clock.monotonic()
            self.managed.write(b"".join(out))
            out.clear()

    def _send(self, command: bytes) -> None:
        if not self._out:
            self._consumer.flush_soon(self)
        self._out.append(command)

    def _emit(self, name: str, message: InFlightMessage) -> None:
        self._context.events.emit(
            name,
            id="",
            message=message.id,
            topic=self.topic,
            channel=self._consumer.channel,
            attempts=message.attempts,
            broker=str(self.managed.endpoint),
        )
