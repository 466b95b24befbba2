"""What one client says, carried out on the broker. It knows no socket.

A session reads the magic, decodes commands and carries each one out; answers
go to its reply queue in the order of the commands. A fault refuses the client for
good unless its code is one of the three that do not. Each command has a method
of its name.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from irismq_runtime.embedded.nsqd.broker import TooManyConsumers
from irismq_runtime.embedded.nsqd.client_authorization import ClientAuthorization
from irismq_runtime.embedded.nsqd.negotiation import Grant, negotiate_untrusted
from irismq_runtime.embedded.nsqd.subscriber import Subscriber
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
    from irismq_runtime.embedded.nsqd.messages import BrokerMessage
    from irismq_runtime.embedded.nsqd.reply_queue import ReplyQueue

__all__ = ["ClientSession", "SessionConnection"]

_log = logging.getLogger("irismq.embedded.nsqd")


class SessionConnection(Protocol):
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
        """A publish was made safe or refused; its answer is in the reply queue."""
        ...

    def close(self) -> None:
        """Send what is ready and close."""
        ...


class ClientSession:
    """One client. Loop thread only."""

    def __init__(
        self,
        context: ServerContext,
        client_id: int,
        connection: SessionConnection,
        replies: ReplyQueue,
    ) -> None:
        self.client_id = client_id
        self.grant = Grant.default(context.options, "")
        self.decoder = CommandDecoder(
            context.options.limits, needs_tls=context.options.tls_required
        )
        self.subscriber: Subscriber | None = None
        self.channel: Channel | None = None
        self.topic_name = ""
        self.publish_counts: dict[str, int] = {}
        self.remote_address = ""
        self.refused = False
        self._ended = False
        #: Whether the magic has been read.
        self.opened = False
        self._start = b""
        self._authorization = ClientAuthorization(context, self._who)
        self._asking: asyncio.Task[None] | None = None
        self._held: list[Command] | None = None
        self._held_fault: NsqProtocolError | None = None
        self._context = context
        self._broker = context.broker
        self._connection = connection
        self._replies = replies

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
        authorization = self._authorization if self._authorization.enabled else None
        channel, subscriber = self.channel, self.subscriber
        faultless = self._context.injector is None
        for index, command in enumerate(commands):
            if self.refused:
                return True
            if (
                type(command) is Fin
                and faultless
                and channel is not None
                and subscriber is not None
            ):
                if channel.finish(subscriber, command.id):
                    freed = True
                else:
                    self._not_in_flight("FIN", command.id)
                continue
            try:
                if authorization is not None and not authorization.passes(command):
                    self._hold(commands[index:])
                    complete = False
                    break
                _HANDLERS[type(command)](self, command)
            except NsqProtocolError as fault:
                self.refuse(fault)
                return True
            channel, subscriber = self.channel, self.subscriber
        if freed and channel is not None and subscriber is not None and channel.queue:
            channel.pump_one(subscriber)
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
                answer = await self._authorization.ask()
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
            self._replies.answer(frames.encode_error(fault.code, fault.reason))
        self._connection.refuse()

    def _who(self) -> tuple[str, bool, str]:
        encrypted, common_name = self._connection.encryption()
        return self.remote_address.rpartition(":")[0], encrypted, common_name

    def auth_facts(self) -> dict[str, Any]:
        """What the statistics say of the client's authorization."""
        return self._authorization.facts()

    def end(self) -> None:
        """The client is heard no more; what it held in flight waits for its timeout."""
        self.refused = True
        if self._ended:
            return
        self._ended = True
        if self._asking is not None:
            self._asking.cancel()
        if self.subscriber is not None and self.channel is not None:
            self._broker.unsubscribe(self.topic_name, self.channel, self.subscriber)

    # -- commands ---------------------------------------------------------------

    def identify(self, command: Identify) -> None:
        """IDENTIFY."""
        self.grant = grant = negotiate_untrusted(command.body, self._context.options)
        if grant.negotiated:
            if grant.tls:  # what is decoded from here on has come through it
                self.decoder.needs_tls = False
            self._replies.answer(frames.encode_response(grant.answer(self._context.options)))
        else:
            self._replies.answer(frames.OK_FRAME)
        self._connection.identified(grant)

    def auth(self, command: Auth) -> None:
        """AUTH. The decoder stays paused until the answer is known."""
        self._authorization.open(command.secret)
        self._ask(self._authorized)

    def _authorized(self, answer: bytes) -> None:
        self._replies.answer(frames.encode_response(answer))
        self.resume()

    def sub(self, command: Sub) -> None:
        """SUB."""
        if not self.grant.heartbeat_interval:
            raise NsqProtocolError("cannot SUB with heartbeats disabled")
        subscriber = Subscriber(
            self.client_id,
            self,
            timeout=self.grant.msg_timeout,
            max_timeout=self._context.options.max_msg_timeout,
            sample_rate=self.grant.sample_rate,
        )
        try:
            channel = self._broker.subscribe(command.topic, command.channel, subscriber)
        except TooManyConsumers as error:
            raise NsqProtocolError(f"SUB failed {error}", code="E_SUB_FAILED") from error
        subscriber.blocked = self._connection.congested
        self.topic_name = command.topic
        self.channel = channel
        self.subscriber = subscriber
        self._replies.answer(frames.OK_FRAME)

    def rdy(self, command: Rdy) -> None:
        """RDY. After CLS it is ignored."""
        subscriber, channel = self._subscription()
        # Not by the decoder's state: it has read on, to a CLS that came in the same chunk.
        if not subscriber.leaving:
            subscriber.ready = command.ready
            channel.pump_one(subscriber)

    def fin(self, command: Fin) -> None:
        """FIN."""
        subscriber, channel = self._subscription()
        injector = self._context.injector
        if injector is not None and injector.loses_finish():
            if channel.requeue(subscriber, command.id, 0.0):
                channel.pump()
            return
        if not channel.finish(subscriber, command.id):
            self._not_in_flight("FIN", command.id)

    def req(self, command: Req) -> None:
        """REQ; a delay beyond the limit is cut to it."""
        subscriber, channel = self._subscription()
        delay = min(command.delay_ms / 1000, self._context.options.max_req_timeout)
        if channel.requeue(subscriber, command.id, delay):
            channel.pump()
        else:
            self._not_in_flight("REQ", command.id)

    def touch(self, command: Touch) -> None:
        """TOUCH."""
        subscriber, channel = self._subscription()
        if not channel.touch(subscriber, command.id):
            self._not_in_flight("TOUCH", command.id)

    def cls(self, _: Cls) -> None:
        """CLS: no more messages; what is in flight may still be settled."""
        subscriber, _channel = self._subscription()
        subscriber.leaving = True
        subscriber.ready = 0
        self._replies.answer(frames.encode_response(frames.CLOSE_WAIT))

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
        injector = self._context.injector
        if injector is not None and injector.loses_confirmation():
            self._broker.publish(topic, bodies, delay, _nothing)
            self._connection.close()
            return
        refused = injector is not None and injector.refuses()
        if not self._broker.journal.durable and not refused:
            self._replies.answer(frames.OK_FRAME)
            self._broker.publish(topic, bodies, delay, _nothing)
            return
        pending = self._replies.reserve(sum(map(len, bodies)))

        def done(error: Exception | None) -> None:
            if error is None:
                self._replies.fill(pending, frames.OK_FRAME)
            else:
                code = f"E_{verb}_FAILED"
                self._replies.fill(pending, frames.encode_error(code, f"{verb} failed {error}"))
                self.refused = True
                self._connection.refuse()
            self._connection.settled()

        if refused:
            done(OSError("on purpose"))
        else:
            self._broker.publish(topic, bodies, delay, done)

    def _subscription(self) -> tuple[Subscriber, Channel]:
        if self.subscriber is None or self.channel is None:
            raise NsqProtocolError("not subscribed")
        return self.subscriber, self.channel

    # -- for the channel ----------------------------------------------------------

    def deliver(self, messages: Sequence[BrokerMessage]) -> None:
        """Send messages to the client."""
        send, encode = self._replies.send, frames.encode_message
        for message in messages:
            send(encode(message.timestamp, message.attempts, message.id, message.body))

    def close(self) -> None:
        """The channel was deleted: close the connection, as nsqd does."""
        self._connection.close()

    def _not_in_flight(self, verb: str, message_id: bytes) -> None:
        why = self.channel.why_not(message_id) if self.channel is not None else ""
        shown = message_id.decode("latin-1")
        self._replies.answer(
            frames.encode_error(f"E_{verb}_FAILED", f"{verb} {shown} failed {why}")
        )


def _nothing(_: Exception | None) -> None:
    """In memory a publish is always done at once."""


_HANDLERS: dict[type, Callable[[ClientSession, Any], None]] = {
    Identify: ClientSession.identify,
    Auth: ClientSession.auth,
    Sub: ClientSession.sub,
    Rdy: ClientSession.rdy,
    Fin: ClientSession.fin,
    Req: ClientSession.req,
    Touch: ClientSession.touch,
    Cls: ClientSession.cls,
    Nop: ClientSession.nop,
    Pub: ClientSession.pub,
    Mpub: ClientSession.mpub,
    Dpub: ClientSession.dpub,
}
