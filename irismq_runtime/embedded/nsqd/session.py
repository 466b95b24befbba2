"""What one client says, carried out on the broker. It knows no socket.

A session reads the magic, decodes commands and carries each one out; answers
go to its outlet in the order of the commands. A fault refuses the client for
good unless its code is one of the three that do not. Each command has a method
of its name.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from irismq_runtime.embedded.nsqd.broker import TooManyConsumers
from irismq_runtime.embedded.nsqd.consumer import Consumer
from irismq_runtime.embedded.nsqd.gate import Gate
from irismq_runtime.embedded.nsqd.negotiation import Grant, negotiate_untrusted
from irismq_runtime.protocols.nsq import frames
from irismq_runtime.protocols.nsq.commands import MAGIC
from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.protocols.nsq.records import (
    Auth,
    Cls,
    Command,
    Dpub,
    Fin,
    Identify,
    Mpub,
    Nop,
    Pub,
    Rdy,
    Req,
    Sub,
    Touch,
)
from irismq_runtime.protocols.nsq.requests import CommandDecoder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from irismq_runtime.embedded.nsqd.channel import Channel
    from irismq_runtime.embedded.nsqd.context import ServerContext
    from irismq_runtime.embedded.nsqd.messages import StoredMessage
    from irismq_runtime.embedded.nsqd.outlet import Outlet

__all__ = ["Session", "SessionPort"]

_log = logging.getLogger("irismq.embedded.nsqd")


class SessionPort(Protocol):
    """The connection that a session speaks through."""

    @property
    def congested(self) -> bool:
        """Whether more is unsent than the high water."""
        ...

    def refuse(self) -> None:
        """Take no more commands, send the answers that wait, then close."""
        ...

    def identified(self, grant: Grant) -> None:
        """The client has said what it wants; what was agreed begins now."""
        ...

    def encryption(self) -> tuple[bool, str]:
        """Whether the connection is encrypted, and the client's common name."""
        ...

    def settled(self) -> None:
        """A publish was made safe or refused; its answer is in the outlet."""
        ...

    def close(self) -> None:
        """Send what is ready and close."""
        ...


class Session:
    """One client. Loop thread only."""

    def __init__(
        self, context: ServerContext, client_id: int, port: SessionPort, outlet: Outlet
    ) -> None:
        self.client_id = client_id
        self.grant = Grant.default(context.options, "")
        self.decoder = CommandDecoder(
            context.options.limits, needs_tls=context.options.tls_required
        )
        self.consumer: Consumer | None = None
        self.channel: Channel | None = None
        self.topic_name = ""
        self.publish_counts: dict[str, int] = {}
        self.remote_address = ""
        self.refused = False
        self._ended = False
        #: Whether the magic has been read.
        self.opened = False
        self._start = b""
        self._gate = Gate(context, self._who)
        self._asking: asyncio.Task[None] | None = None
        self._held: list[Command] | None = None
        self._held_fault: NsqProtocolError | None = None
        self._context = context
        self._broker = context.broker
        self._port = port
        self._outlet = outlet

    # -- in -----------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if not self.opened:
            data = self._read_magic(self._start + data)
            if not data:
                return
        try:
            commands = self.decoder.feed(data)
        except NsqProtocolError as fault:
            self._take(fault.records, fault)
        else:
            self._take(commands, None)

    def resume(self) -> None:
        """Go on with what was read behind a command that paused the decoder."""
        try:
            commands = self.decoder.resume()
        except NsqProtocolError as fault:
            self._take(fault.records, fault)
        else:
            self._take(commands, None)

    def _take(self, commands: Sequence[Command], fault: NsqProtocolError | None) -> None:
        if self._held is not None:
            self._held.extend(commands)
            self._held_fault = self._held_fault or fault
        elif self._run(commands) and fault is not None:
            self.refuse(fault)
        else:
            self._held_fault = fault

    def _read_magic(self, data: bytes) -> bytes:
        if len(data) < len(MAGIC):
            self._start = data
            return b""
        if data.startswith(MAGIC):
            self.opened = True
            return data[len(MAGIC) :]
        if data.startswith((b"GET ", b"POST", b"PUT ", b"HEAD")):
            _log.warning(
                "an HTTP request came from %s to the NSQ port; HTTP is on port %d",
                self.remote_address,
                self._context.http_port,
            )
        self.refuse(NsqProtocolError("", code="E_BAD_PROTOCOL"))
        return b""

    def _run(self, commands: Sequence[Command]) -> bool:
        """Carry commands out; False when the rest waits for an authorization."""
        freed, complete = False, True
        gate = self._gate if self._gate.enabled else None
        channel, consumer = self.channel, self.consumer
        for index, command in enumerate(commands):
            if self.refused:
                return True
            if type(command) is Fin and channel is not None and consumer is not None:
                if channel.finish(consumer, command.id):
                    freed = True
                else:
                    self._not_in_flight("FIN", command.id)
                continue
            try:
                if gate is not None and not gate.passes(command):
                    self._hold(commands[index:])
                    complete = False
                    break
                _HANDLERS[type(command)](self, command)
            except NsqProtocolError as fault:
                self.refuse(fault)
                return True
            channel, consumer = self.channel, self.consumer
        if freed and channel is not None and consumer is not None and channel.queue:
            channel.pump_one(consumer)
        return complete

    def _hold(self, commands: Sequence[Command]) -> None:
        """Keep these until the authorization has been renewed."""
        self._held = list(commands)
        self._ask(self._renewed)

    def _renewed(self, _: bytes) -> None:
        held, self._held = self._held or [], None
        fault, self._held_fault = self._held_fault, None
        self._take(held, fault)

    def _ask(self, then: Callable[[bytes], None]) -> None:
        async def ask() -> None:
            try:
                answer = await self._gate.ask()
            except NsqProtocolError as fault:
                self.refuse(fault)
            else:
                if not self.refused:
                    then(answer)

        self._asking = self._context.loop.create_task(ask())

    def refuse(self, fault: NsqProtocolError) -> None:
        """Answer with the fault; the client is heard no more."""
        if self.refused:
            return
        self.refused = True
        if fault.code:
            self._outlet.answer(frames.encode_error(fault.code, fault.reason))
        self._port.refuse()

    def _who(self) -> tuple[str, bool, str]:
        encrypted, common_name = self._port.encryption()
        return self.remote_address.rpartition(":")[0], encrypted, common_name

    def auth_facts(self) -> dict[str, Any]:
        """What the statistics say of the client's authorization."""
        return self._gate.facts()

    def end(self) -> None:
        """The client is heard no more; what it held in flight waits for its timeout."""
        self.refused = True
        if self._ended:
            return
        self._ended = True
        if self._asking is not None:
            self._asking.cancel()
        if self.consumer is not None and self.channel is not None:
            self._broker.unsubscribe(self.topic_name, self.channel, self.consumer)

    # -- commands ---------------------------------------------------------------

    def identify(self, command: Identify) -> None:
        """IDENTIFY."""
        self.grant = grant = negotiate_untrusted(command.body, self._context.options)
        if grant.negotiated:
            if grant.tls:  # what is decoded from here on has come through it
                self.decoder.needs_tls = False
            self._outlet.answer(frames.encode_response(grant.answer(self._context.options)))
        else:
            self._outlet.answer(frames.OK_FRAME)
        self._port.identified(grant)

    def auth(self, command: Auth) -> None:
        """AUTH. The decoder stays paused until the answer is known."""
        self._gate.open(command.secret)
        self._ask(self._authorized)

    def _authorized(self, answer: bytes) -> None:
        self._outlet.answer(frames.encode_response(answer))
        self.resume()

    def sub(self, command: Sub) -> None:
        """SUB."""
        if not self.grant.heartbeat_interval:
            raise NsqProtocolError("cannot SUB with heartbeats disabled")
        consumer = Consumer(
            self.client_id,
            self,
            timeout=self.grant.msg_timeout,
            max_timeout=self._context.options.max_msg_timeout,
            sample_rate=self.grant.sample_rate,
        )
        try:
            channel = self._broker.subscribe(command.topic, command.channel, consumer)
        except TooManyConsumers as error:
            raise NsqProtocolError(f"SUB failed {error}", code="E_SUB_FAILED") from error
        consumer.blocked = self._port.congested
        self.topic_name = command.topic
        self.channel = channel
        self.consumer = consumer
        self._outlet.answer(frames.OK_FRAME)

    def rdy(self, command: Rdy) -> None:
        """RDY. After CLS it is ignored."""
        consumer, channel = self._subscription()
        # Not by the decoder's state: it has read on, to a CLS that came in the same chunk.
        if not consumer.leaving:
            consumer.ready = command.ready
            channel.pump_one(consumer)

    def fin(self, command: Fin) -> None:
        """FIN."""
        consumer, channel = self._subscription()
        if not channel.finish(consumer, command.id):
            self._not_in_flight("FIN", command.id)

    def req(self, command: Req) -> None:
        """REQ; a delay beyond the limit is cut to it."""
        consumer, channel = self._subscription()
        delay = min(command.delay_ms / 1000, self._context.options.max_req_timeout)
        if channel.requeue(consumer, command.id, delay):
            channel.pump()
        else:
            self._not_in_flight("REQ", command.id)

    def touch(self, command: Touch) -> None:
        """TOUCH."""
        consumer, channel = self._subscription()
        if not channel.touch(consumer, command.id):
            self._not_in_flight("TOUCH", command.id)

    def cls(self, _: Cls) -> None:
        """CLS: no more messages; what is in flight may still be settled."""
        consumer, _channel = self._subscription()
        consumer.leaving = True
        consumer.ready = 0
        self._outlet.answer(frames.encode_response(frames.CLOSE_WAIT))

    def nop(self, _: Nop) -> None:
        """NOP: it was read, that is all."""

    def pub(self, command: Pub) -> None:
        """PUB."""
        self._publish("PUB", command.topic, (command.body,), 0.0)

    def mpub(self, command: Mpub) -> None:
        """MPUB."""
        self._publish("MPUB", command.topic, command.bodies, 0.0)

    def dpub(self, command: Dpub) -> None:
        """DPUB."""
        self._publish("DPUB", command.topic, (command.body,), command.delay_ms / 1000)

    def _publish(self, verb: str, topic: str, bodies: Sequence[bytes], delay: float) -> None:
        counts = self.publish_counts
        counts[topic] = counts.get(topic, 0) + len(bodies)
        if not self._broker.journal.durable:
            self._outlet.answer(frames.OK_FRAME)
            self._broker.publish(topic, bodies, delay, _nothing)
            return
        slot = self._outlet.reserve(sum(map(len, bodies)))

        def done(error: Exception | None) -> None:
            if error is None:
                self._outlet.fill(slot, frames.OK_FRAME)
            else:
                code = f"E_{verb}_FAILED"
                self._outlet.fill(slot, frames.encode_error(code, f"{verb} failed {error}"))
                self.refused = True
                self._port.refuse()
            self._port.settled()

        self._broker.publish(topic, bodies, delay, done)

    def _subscription(self) -> tuple[Consumer, Channel]:
        if self.consumer is None or self.channel is None:
            raise NsqProtocolError("not subscribed")
        return self.consumer, self.channel

    # -- for the channel ----------------------------------------------------------

    def deliver(self, messages: Sequence[StoredMessage]) -> None:
        """Send messages to the client."""
        send, encode = self._outlet.send, frames.encode_message
        for message in messages:
            send(encode(message.timestamp, message.attempts, message.id, message.body))

    def close(self) -> None:
        """The channel was deleted: close the connection, as nsqd does."""
        self._port.close()

    def _not_in_flight(self, verb: str, message_id: bytes) -> None:
        why = self.channel.why_not(message_id) if self.channel is not None else ""
        shown = message_id.decode("latin-1")
        self._outlet.answer(frames.encode_error(f"E_{verb}_FAILED", f"{verb} {shown} failed {why}"))


def _nothing(_: Exception | None) -> None:
    """In memory a publish is always done at once."""


_HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    Identify: Session.identify,
    Auth: Session.auth,
    Sub: Session.sub,
    Rdy: Session.rdy,
    Fin: Session.fin,
    Req: Session.req,
    Touch: Session.touch,
    Cls: Session.cls,
    Nop: Session.nop,
    Pub: Session.pub,
    Mpub: Session.mpub,
    Dpub: Session.dpub,
}
