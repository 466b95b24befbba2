"""From the end of a handler to the answer of its asker.

`Answer` serves askers that speak envelopes: a REPLY, or an ERROR that carries
type, text and traceback as text. `ForeignAnswer` serves the others: bare JSON or
bytes, or the plain fault text that Iris carries. Each answers exactly once; what
comes too late is counted. A value that cannot be encoded is an error for the
asker, never a crash of the actor.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from actors.ask import error_for_caller
from actors.errors import ActorError, Restarting
from irismq_runtime.dispatch.foreign import foreign_reply
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.observe.logs import shorten
from irismq_runtime.wire import Envelope, Fault, Kind, encode_fault

if TYPE_CHECKING:
    import asyncio

    from actors import ActorRef, Context, Delivery, Outcome
    from irismq_runtime.dispatch.foreign import ForeignRule
    from irismq_runtime.dispatch.incoming import Incoming
    from irismq_runtime.ports import InboundRequest

__all__ = ["Answer", "Asked", "BroadcastRequest", "ForeignAnswer", "packed_error"]


class Asked:
    """The requests in hand of one member, by envelope id, for their cancellation."""

    __slots__ = ("_in", "address", "called", "codec", "deliveries")

    def __init__(self, incoming: Incoming, address: str, codec: str | None) -> None:
        self._in = incoming
        self.address = address
        #: How it is called in numbers and spans: a name of which there are few.
        self.called = address
        self.codec = codec
        self.deliveries: dict[bytes, Delivery] = {}

    @property
    def incoming(self) -> Incoming:
        """What dispatch shares."""
        return self._in

    def cancel(self, envelope_id: bytes) -> None:
        """The asker gave up: its request is not worth handling any more."""
        delivery = self.deliveries.get(envelope_id)
        if delivery is not None:
            self._in.counters.cancelled += 1
            delivery.cancel()

    def ended(
        self, envelope_id: bytes | None, arrived: float, outcome: str, *, in_time: bool
    ) -> None:
        """A request was answered, or its answer came too late.

        `outcome`: "replied", or the class of the error.
        """
        if envelope_id is not None:
            self.deliveries.pop(envelope_id, None)
        took = self._in.clock.monotonic() - arrived
        self._in.meter.request_ended(self.called, took, outcome if in_time else "late")
        if in_time:
            self._in.counters.answered += 1
            return
        self._in.counters.late += 1
        if self._in.events.active:
            name = envelope_id.hex() if envelope_id is not None else ""
            self._in.events.emit("dispatch.late", id=name, address=self.address)


def packed_error(
    incoming: Incoming,
    envelope_id: bytes,
    error: BaseException,
    headers: dict[str, object],
    *,
    crashed: bool = False,
) -> bytes:
    """Pack an error for an asker. `crashed`: it left a handler."""
    incoming.counters.failed += 1
    body = encode_fault(Fault.of(error, crashed=crashed))
    return incoming.packer.raw(Envelope(Kind.ERROR, envelope_id, "", body, headers))


class Answer:
    """Answers one request of an asker that speaks envelopes.

    `sender`: the peer's name of who answers, where the asker cannot tell.
    """

    __slots__ = (
        "_arrived",
        "_asked",
        "_context",
        "_id",
        "_message",
        "_ref",
        "_request",
        "_sender",
    )

    def __init__(
        self, asked: Asked, request: InboundRequest, envelope_id: bytes, sender: str | None = None
    ) -> None:
        self._asked = asked
        self._arrived = asked.incoming.clock.monotonic()
        self._request = request
        self._id = envelope_id
        self._sender = sender
        self._ref: ActorRef[Any] | None = None
        self._message: object = None
        self._context: Context | None = None

    def deliver(self, ref: ActorRef[Any], message: object, context: Context) -> None:
        """Have `ref` handle the request. Raises as `ActorRef.deliver`."""
        self._ref, self._message, self._context = ref, message, context
        asked = self._asked
        incoming = asked.incoming
        scope = None
        if incoming.tracing is not None:
            scope = incoming.asked(context, asked.called, message)
        delivery = ref.deliver(message, context=context, on_done=self.done, scope=scope)
        asked.deliveries[self._id] = delivery

    def _again(self, after: float) -> None:
        """The handler raised `Retry`: it is handled again, if that is in time."""
        ref, context = self._ref, self._context
        clock = self._asked.incoming.clock
        if ref is None or context is None:
            return
        if context.deadline is not None and clock.monotonic() + after >= context.deadline:
            self.fail(Restarting(self._asked.address, after))
            return
        clock.call_later(after, self._deliver_again, ref, context)

    def _deliver_again(self, ref: ActorRef[Any], context: Context) -> None:
        context.attempt += 1
        try:
            self.deliver(ref, self._message, context)
        except ActorError as error:
            self.fail(error)

    def done(self, outcome: Outcome) -> None:
        """Called with the end of the handler; once, unless it is handled again."""
        kind = outcome.kind
        if kind == "replied":
            if inspect.isasyncgen(outcome.value):
                self.fail(TypeError("this handler makes a stream: read it with ref.stream(...)"))
            else:
                self.reply(outcome.value)
        elif kind == "retry":
            self._again(outcome.retry_after or 0.0)
        elif kind == "expired":
            # Nobody waits any more, and the relay has dropped it by itself.
            self._asked.ended(self._id, self._arrived, "expired", in_time=False)
        elif kind == "cancelled":
            self._given_up(error_for_caller(self._asked.address, outcome))
        elif kind == "crashed" and outcome.error is not None:
            self.fail(outcome.error, crashed=True)
        else:
            self.fail(error_for_caller(self._asked.address, outcome))

    def reply(self, value: object) -> None:
        """Send a value."""
        asked = self._asked
        try:
            data = asked.incoming.packer.answer(
                Kind.REPLY, self._id, value, self._headers(), codec=asked.codec
            )
        except RuntimeFault as error:
            self.fail(error)
            return
        in_time = self._request.reply(data)
        asked.ended(self._id, self._arrived, "replied", in_time=in_time)

    def fail(self, error: BaseException, *, crashed: bool = False) -> None:
        """Send an error. `crashed`: it left a handler."""
        asked = self._asked
        data = packed_error(asked.incoming, self._id, error, self._headers(), crashed=crashed)
        in_time = self._request.reply(data)
        asked.ended(self._id, self._arrived, type(error).__name__, in_time=in_time)

    def _given_up(self, error: BaseException) -> None:
        """Answer an asker that has gone: it frees a place.

        A relay hands a member only so many requests that are not answered, and a
        leaving member waits for those in hand.
        """
        asked = self._asked
        body = encode_fault(Fault.of(error))
        envelope = Envelope(Kind.ERROR, self._id, "", body, self._headers())
        self._request.reply(asked.incoming.packer.raw(envelope))
        asked.ended(self._id, self._arrived, "cancelled", in_time=False)

    def _headers(self) -> dict[str, object]:
        return {} if self._sender is None else {"s": self._sender}


class ForeignAnswer:
    """Answers a request that came without an envelope."""

    __slots__ = ("_arrived", "_asked", "_request", "_rule")

    def __init__(self, asked: Asked, request: InboundRequest, rule: ForeignRule) -> None:
        self._arrived = asked.incoming.clock.monotonic()
        self._asked = asked
        self._request = request
        self._rule: ForeignRule = rule

    def done(self, outcome: Outcome) -> None:
        """Called once with the end of the handler."""
        if outcome.kind == "replied":
            try:
                data = foreign_reply(outcome.value, self._rule)
            except RuntimeFault as error:
                self.fail(error)
            else:
                in_time = self._request.reply(data)
                self._asked.ended(None, self._arrived, "replied", in_time=in_time)
        elif outcome.kind == "expired":
            self._asked.ended(None, self._arrived, "expired", in_time=False)
        else:
            self.fail(error_for_caller(self._asked.address, outcome))

    def fail(self, error: BaseException) -> None:
        """Answer with the fault as Iris carries it: a text."""
        self._asked.incoming.counters.failed += 1
        text = shorten(f"{type(error).__name__}: {error}")
        in_time = self._request.fail(text)
        self._asked.ended(None, self._arrived, type(error).__name__, in_time=in_time)


class BroadcastRequest:
    """An ask of everybody, seen as a request that is answered on another way.

    `cluster`: the private cluster of the node that asks. The answer goes there as
    a request, which that node acknowledges, and once more as a broadcast when it
    does not: a real Iris node that hears of a cluster for the first time may lose
    what it is sent first.
    """

    __slots__ = ("_cluster", "_in", "body", "timeout")

    def __init__(self, incoming: Incoming, cluster: str, timeout: float) -> None:
        self._in = incoming
        self._cluster = cluster
        self.body = b""
        self.timeout = timeout

    def reply(self, body: bytes) -> bool:
        """Send the answer to the node that asked; False when the relay is away."""
        try:
            sent = self._in.addresses.request(self._cluster, body, self.timeout / 3)
        except (RuntimeFault, ActorError):
            return False

        def acknowledged(request: asyncio.Future[bytes]) -> None:
            if request.cancelled() or request.exception() is not None:
                self._again(body)

        sent.add_done_callback(acknowledged)
        return True

    def _again(self, body: bytes) -> None:
        try:
            self._in.addresses.broadcast(self._cluster, body)
        except RuntimeFault as error:
            self._in.log.note("gather", f"an answer to {self._cluster} was not sent: {error}")

    def fail(self, fault: str) -> bool:
        """A gather takes envelopes alone; its deadline ends the wait."""
        return not fault
