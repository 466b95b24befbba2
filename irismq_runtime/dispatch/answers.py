"""From the end of a handler to the answer of its asker.

`AskDelivery` serves askers that speak envelopes: a REPLY, or an ERROR that carries
type, text and traceback as text. `ForeignAnswer` serves the others: bare JSON or
bytes, or the plain fault text that Iris carries. Each answers exactly once; what
comes too late is counted. A value that cannot be encoded is an error for the
asker, never a crash of the actor.
"""

from __future__ import annotations

from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors import Context, Delivery
from actors.ask import error_for_caller
from actors.delivery import Scoped
from actors.errors import ActorError, Restarting
from actors.texts import class_name, line_of
from irismq_runtime.dispatch.context import LONGEST_ASK, chain_of
from irismq_runtime.dispatch.delivery import RemoteDelivery
from irismq_runtime.errors import MessageTooLarge, RuntimeFault
from irismq_runtime.messaging import peer_name
from irismq_runtime.messaging.foreign import foreign_reply
from irismq_runtime.observe.logs import shorten
from irismq_runtime.observe.tracing import TRACEPARENT
from irismq_runtime.ports import LEAVING
from irismq_runtime.wire import Envelope, FaultBody, Kind, encode_fault, is_unread

if TYPE_CHECKING:
    import asyncio

    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.messaging.foreign import ForeignRule
    from irismq_runtime.observe.tracing import Tracing
    from irismq_runtime.ports import InboundRequest

__all__ = [
    "AskDelivery",
    "BroadcastRequest",
    "ForeignAnswer",
    "InboundRequests",
    "ScopedAskDelivery",
    "packed_error",
]

A = TypeVar("A", bound="AskDelivery")

_REPLY: Final = Kind.REPLY
#: What a handler that makes a stream returns.
_STREAMS: Final = frozenset({AsyncGeneratorType, GeneratorType})
#: Seconds that an answer to an ask of everybody waits to be acknowledged, at most.
_ACKNOWLEDGED: Final = 2.0
#: The outcome, in numbers, of a request whose asker had given up.
LATE: Final = "late"


class InboundRequests:
    """The requests in hand of one member, by envelope id, for their cancellation."""

    __slots__ = ("address", "called", "codec", "context", "deliveries")

    def __init__(self, context: DispatchContext, address: str, codec: str | None) -> None:
        #: What dispatch shares.
        self.context = context
        self.address = address
        #: How it is called in numbers and spans: a name of which there are few.
        self.called = address
        self.codec = codec
        self.deliveries: dict[bytes, Delivery] = {}

    def cancel(self, envelope_id: bytes) -> None:
        """The asker gave up: its request is not worth handling any more."""
        delivery = self.deliveries.get(envelope_id)
        if delivery is not None:
            self.context.counters.cancelled += 1
            delivery.cancel()

    def ended(self, envelope_id: bytes | None, arrived: float, outcome: str) -> None:
        """A request was answered, or its answer came too late.

        `outcome`: "replied", the class of the error, or `LATE`.
        """
        if envelope_id is not None:
            self.deliveries.pop(envelope_id, None)
        took = self.context.clock.monotonic() - arrived
        self.context.meter.request_ended(self.called, took, outcome)
        if outcome is not LATE:
            self.context.counters.answered += 1
            return
        self.context.counters.late += 1
        if self.context.events.active:
            name = envelope_id.hex() if envelope_id is not None else ""
            self.context.events.emit("dispatch.late", id=name, address=self.address)


def packed_error(
    context: DispatchContext,
    envelope_id: bytes,
    error: BaseException,
    headers: dict[str, object],
    name: str,
    *,
    crashed: bool = False,
) -> bytes:
    """Pack an error for an asker, who takes it at the cluster `name`.

    `crashed`: it left a handler.
    """
    context.counters.failed += 1
    body = encode_fault(FaultBody.of(error, crashed=crashed))
    return context.packer.raw(Envelope(Kind.ERROR, envelope_id, "", body, headers), "reply", name)


class AskDelivery(RemoteDelivery):
    """Answers one request of an asker that speaks envelopes, and is its item in the inbox.

    `sender`: the peer's name of who answers, where the asker cannot tell.
    """

    __slots__ = (
        "_arrived",
        "_attempt",
        "_request",
        "_requests",
        "_sender",
        "envelope",
        "ref",
    )

    envelope: Envelope
    #: Who is asked; None until that is known.
    ref: ActorRef[Any] | None

    def __init__(
        self,
        requests: InboundRequests,
        request: InboundRequest,
        envelope: Envelope,
        sender: str | None = None,
    ) -> None:
        self._state = "waiting"
        self._requests = requests
        self._request = request
        self.envelope = envelope
        self._sender = sender
        self._attempt = 1
        self._context = None
        self.ref = None
        self._arrived = now = requests.context.clock.monotonic()
        left = request.timeout
        headers = envelope.headers
        if "d" in headers and headers["d"] / 1000 < left:
            left = headers["d"] / 1000
        self.deadline: float = now + min(left, LONGEST_ASK)

    def deliver(self, ref: ActorRef[Any], message: object) -> None:
        """Have `ref` handle the request. Raises as `ActorRef.put_ask`."""
        self.ref, self.message = ref, message
        requests, envelope = self._requests, self.envelope
        tracing = requests.context.tracing
        delivery = self if tracing is None else self._traced(tracing)
        headers = envelope.headers
        chain = chain_of(headers) if "a" in headers else ()
        # Before it is put: it may have been answered when that returns. Refused, it is
        # answered as well, and so forgotten.
        requests.deliveries[envelope.id] = delivery
        ref.put_ask(delivery, chain, at_once=self._request.alone)

    def _traced(self, tracing: Tracing) -> AskDelivery:
        """This, or if it is traced one with its span."""
        headers = self.envelope.headers
        if TRACEPARENT not in headers:
            return self
        scope = tracing.server(headers, self._requests.called, self.message, self._described)
        if scope is None:
            return self
        scoped = self._copied(ScopedAskDelivery)
        scoped.scope = scope
        return scoped

    def _described(self) -> dict[str, object]:
        """What a span of its handling says of it."""
        return {"irismq.attempt": self._attempt}

    def _copied(self, kind: type[A]) -> A:
        copy = kind(self._requests, self._request, self.envelope, self._sender)
        copy.ref, copy.message = self.ref, self.message  # one of its own kind
        copy._arrived, copy.deadline = self._arrived, self.deadline  # noqa: SLF001  # as above
        copy._attempt = self._attempt  # noqa: SLF001  # as above
        return copy

    def _made(self) -> Context:
        headers = self.envelope.headers
        return Context(
            kind="ask",
            id=self.envelope.id,
            sender=self._requests.context.sender(headers),
            deadline=self.deadline,
            attempt=self._attempt,
            headers=headers,
            chain=self.chain(),
        )

    def chain(self) -> tuple[str, ...]:
        """The asks in hand that the request names."""
        return chain_of(self.envelope.headers)

    @property
    def question(self) -> tuple[str, Envelope] | None:
        """The id that the asker gave the ask, and its envelope; None: it gave none."""
        ask_id = self.envelope.headers.get("i")
        return None if ask_id is None else (ask_id, self.envelope)

    def cancel(self) -> bool:
        """As `Delivery.cancel`; what has an id and has begun goes on: it may be asked again."""
        if self._state != "waiting" and "i" in self.envelope.headers:
            return False
        return super().cancel()

    def _again(self, after: float) -> None:
        """The handler raised `Retry`: it is handled again, if that is in time."""
        clock = self._requests.context.clock
        if clock.monotonic() + after >= self.deadline:
            self.refuse(Restarting(self._requests.address, after))
            return
        clock.call_later(after, self._deliver_again)

    def _deliver_again(self) -> None:
        ref = self.ref
        if ref is None:
            return  # never: it has been delivered once
        again = self._copied(AskDelivery)
        again._attempt += 1  # noqa: SLF001  # one of its own kind
        try:
            again.deliver(ref, self.message)
        except ActorError as error:
            again.refuse(error)

    def returned(self, value: object) -> None:
        """Called with what the handler returned."""
        if type(value) in _STREAMS:
            self.refuse(TypeError("this handler makes a stream: read it with ref.stream(...)"))
        else:
            self.answer(value)

    def ended(self, outcome: Outcome) -> None:
        """Called with the end of the handler; once, unless it is handled again."""
        kind = outcome.kind
        if kind == "replied":
            AskDelivery.returned(self, outcome.value)  # not a scope's, which has called this
        elif kind == "retry":
            self._again(outcome.retry_after or 0.0)
        elif kind == "expired":
            # Nobody waits any more, and the relay has dropped it by itself.
            self._requests.ended(self.envelope.id, self._arrived, LATE)
        elif kind == "cancelled":
            self._given_up(error_for_caller(self._requests.address, outcome))
        elif kind == "crashed" and outcome.error is not None:
            self.refuse(outcome.error, crashed=True)
        else:
            self.refuse(error_for_caller(self._requests.address, outcome))

    def not_taken(self, error: BaseException) -> None:
        """A value that exits or the like when it is encoded: its asker learns that."""
        self.refuse(error, crashed=True)

    def answer(self, value: object) -> None:
        """Send a value."""
        requests = self._requests
        envelope_id = self.envelope.id
        try:
            headers = None if self._sender is None else self._headers()
            data = requests.context.packer.answer(
                _REPLY, envelope_id, value, headers, requests.codec, "reply", self._cluster
            )
        except RuntimeFault as error:
            self.refuse(error)
            return
        try:
            in_time = self._request.reply(data)
        except RuntimeFault as error:  # larger than what the relay carries
            self.refuse(error)
            return
        requests.ended(envelope_id, self._arrived, "replied" if in_time else LATE)

    def turn_away(self) -> None:
        """Nobody has begun with it, and nobody here will: another member is to be asked."""
        if self._state == "waiting":
            self._state = "done"
            in_time = self._request.fail(LEAVING)
            outcome = LEAVING if in_time else LATE
            self._requests.ended(self.envelope.id, self._arrived, outcome)

    def refuse(self, error: BaseException, *, crashed: bool = False) -> None:
        """Send an error. `crashed`: it left a handler."""
        requests = self._requests
        headers = self._headers()
        if not crashed and self.ref is not None and is_unread(error):
            # So that the asker does not come back to this member.
            headers["s"] = peer_name(requests.context.packer.node_id, self.ref.actor_urn)
        data = packed_error(
            requests.context, self.envelope.id, error, headers, self._cluster, crashed=crashed
        )
        outcome = class_name(error) if self._request.reply(data) else LATE
        requests.ended(self.envelope.id, self._arrived, outcome)

    def _given_up(self, error: BaseException) -> None:
        """Answer an asker that has gone: it frees a place.

        A relay hands a member only so many requests that are not answered, and a
        leaving member waits for those in hand.
        """
        requests = self._requests
        body = encode_fault(FaultBody.of(error))
        envelope = Envelope(Kind.ERROR, self.envelope.id, "", body, self._headers())
        self._request.reply(requests.context.packer.raw(envelope, "reply", self._cluster))
        requests.ended(self.envelope.id, self._arrived, LATE)

    @property
    def _cluster(self) -> str:
        """Where the answer is for: what was asked, or where an ask of everybody takes answers."""
        request = self._request
        return request.cluster if type(request) is BroadcastRequest else self._requests.address

    def _headers(self) -> dict[str, object]:
        return {} if self._sender is None else {"s": self._sender}


class ScopedAskDelivery(Scoped, AskDelivery):
    """An answer of whose request tracing knows."""

    __slots__ = ("scope",)


class ForeignAnswer:
    """Answers a request that came without an envelope."""

    __slots__ = ("_arrived", "_request", "_requests", "_rule")

    def __init__(
        self, requests: InboundRequests, request: InboundRequest, rule: ForeignRule
    ) -> None:
        self._arrived = requests.context.clock.monotonic()
        self._requests = requests
        self._request = request
        self._rule: ForeignRule = rule

    def done(self, outcome: Outcome) -> None:
        """Called once with the end of the handler."""
        if outcome.kind == "replied":
            try:
                data = foreign_reply(outcome.value, self._rule)
            except BaseException as error:  # of the value, which is a user's
                self.fail(error)
            else:
                in_time = self._request.reply(data)
                self._requests.ended(None, self._arrived, "replied" if in_time else LATE)
        elif outcome.kind == "expired":
            self._requests.ended(None, self._arrived, LATE)
        else:
            self.fail(error_for_caller(self._requests.address, outcome))

    def fail(self, error: BaseException) -> None:
        """Answer with the fault as Iris carries it: a text."""
        self._requests.context.counters.failed += 1
        text = shorten(line_of(error))
        outcome = class_name(error) if self._request.fail(text) else LATE
        self._requests.ended(None, self._arrived, outcome)


class BroadcastRequest:
    """An ask of everybody, seen as a request that is answered on another way.

    `cluster`: the private cluster of the node that asks. The answer goes there as
    a request, which that node acknowledges, and once more as a broadcast when it
    does not: a real Iris node that hears of a cluster for the first time may lose
    what it is sent first.

    Whoever may broadcast may ask, and name an asker who does not exist: so what
    waits to be acknowledged has a share and a time of its own, and the asks of this
    node keep their room. What is over the share is dropped and reported.
    """

    __slots__ = ("_context", "body", "cluster", "timeout")

    #: As one that came with others: so do those who ask everybody.
    alone = False

    def __init__(self, context: DispatchContext, cluster: str, timeout: float) -> None:
        self._context = context
        self.cluster = cluster
        self.body = b""
        self.timeout = timeout

    def reply(self, body: bytes) -> bool:
        """Send the answer to the node that asked; False when it was not sent.

        Raises `MessageTooLarge` over what the relay carries.
        """
        limit = self._context.addresses.max_body
        if len(body) > limit:
            raise MessageTooLarge(len(body), limit, limit_of="the relay")
        waiting = self._context.acknowledging
        if not waiting.take(len(body)):
            text = f"an answer to {self.cluster} was dropped: {waiting.count} others wait"
            self._context.log.note("gather", text)
            return False
        try:
            timeout = min(self.timeout / 3, _ACKNOWLEDGED)
            sent = self._context.addresses.request(self.cluster, body, timeout)
        except (RuntimeFault, ActorError, ValueError):
            waiting.give(len(body))
            return False

        def acknowledged(request: asyncio.Future[bytes]) -> None:
            waiting.give(len(body))
            if request.cancelled() or request.exception() is not None:
                self._again(body)

        sent.add_done_callback(acknowledged)
        return True

    def _again(self, body: bytes) -> None:
        try:
            self._context.addresses.broadcast(self.cluster, body)
        except (RuntimeFault, ActorError) as error:
            self._context.log.note(
                "gather", "an answer to %s was not sent: %s", self.cluster, error
            )

    def fail(self, fault: str) -> bool:
        """A gather takes envelopes alone; its deadline ends the wait."""
        return not fault
