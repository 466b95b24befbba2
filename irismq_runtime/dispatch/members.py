"""A member of a cluster: requests, broadcasts and tunnels for one actor.

Fills `MemberHandler`. A request is answered exactly once: with the handler's
value, or with an error that says what happened; one whose deadline has passed is
not handled and not answered, since nobody waits. Its deadline is the shorter of
what the relay and what the asker say. Broadcasts are best effort; one that an
actor has no room for is counted and becomes a dead letter. No task is made per
message, only per tunnel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Context
from actors.errors import ActorDeadError, ActorError
from irismq_runtime.dispatch.answers import (
    AskDelivery,
    BroadcastRequest,
    ForeignAnswer,
    InboundRequests,
)
from irismq_runtime.dispatch.best_effort import best_effort_delivery, deliver_best_effort
from irismq_runtime.dispatch.calls import as_call
from irismq_runtime.dispatch.context import LONGEST_ASK
from irismq_runtime.dispatch.tunnels import TunnelDispatch
from irismq_runtime.errors import DecodeError, RuntimeFault
from irismq_runtime.messaging import peer_name, private_cluster
from irismq_runtime.messaging.foreign import foreign_value_untrusted
from irismq_runtime.wire import Envelope, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.messaging.foreign import ForeignRule
    from irismq_runtime.ports import InboundRequest, InboundTunnel

__all__ = ["MemberDispatch"]

_ASK: Final = Kind.ASK


class MemberDispatch:
    """The living end of `address`: one actor's membership of its cluster.

    `ref` is None for a cluster that does not belong to one actor (see node.membership.peers).
    """

    __slots__ = (
        "_context",
        "_foreign",
        "_ref",
        "_signatures",
        "address",
        "requests",
        "stands",
        "tunnels",
    )

    def __init__(
        self,
        context: DispatchContext,
        ref: ActorRef[Any] | None,
        address: str,
        *,
        foreign: ForeignRule = "json",
        codec: str | None = None,
    ) -> None:
        self._context = context
        self._ref = ref
        self._foreign: ForeignRule = foreign
        self._signatures = context.packer.signature_memory()
        self.address = address
        self.requests = InboundRequests(context, address, codec)
        self.tunnels = TunnelDispatch(context, address)
        #: Called with whether the membership stands when that changes.
        self.stands: Callable[[bool], None] | None = None

    def target(self, envelope: Envelope) -> ActorRef[Any]:  # noqa: ARG002  # node.membership.peers needs it
        """Return the actor that `envelope` is for. Raises `ActorDeadError`."""
        if self._ref is None:
            raise ActorDeadError(self.address)
        return self._ref

    # Requests -----------------------------------------------------------------

    def on_request(self, request: InboundRequest) -> None:
        """Take a request. Raises nothing."""
        context = self._context
        context.counters.requests += 1
        try:
            envelope = context.packer.open_untrusted(
                request.body, "request", self.address, self._signatures
            )
        except DecodeError as error:
            context.refused(self.address, error)
            request.fail(str(error))
            return
        if type(envelope) is Envelope:
            self.take_request(request, envelope)
        else:
            self._take_foreign(request, envelope.data)

    def take_request(
        self, request: InboundRequest, envelope: Envelope, sender: str | None = None
    ) -> None:
        """Handle an envelope that waits for an answer. Raises nothing.

        `sender`: the peer's name of who answers, where the asker cannot tell.
        """
        answer = AskDelivery(self.requests, request, envelope, sender)
        try:
            ref = answer.ref = self.target(envelope)
            message = as_call(self._context.packer.load_untrusted(envelope), ref)
            if envelope.kind is _ASK:
                answer.deliver(ref, message)
            elif envelope.kind is Kind.TELL:
                self._told(ref, message, envelope, answer.deadline)
                answer.answer(None)
            else:
                wrong = DecodeError(f"a {envelope.kind.name} envelope is not a request")
                self._not_read(answer, wrong)
        except DecodeError as error:
            self._not_read(answer, error)
        except (RuntimeFault, ActorError) as error:
            answer.refuse(error)

    def _told(
        self, ref: ActorRef[Any], message: object, envelope: Envelope, deadline: float
    ) -> None:
        called = self.requests.called
        ref.put(
            best_effort_delivery(
                self._context, "tell", called, message, envelope, deadline=deadline
            )
        )

    def _not_read(self, answer: AskDelivery, error: DecodeError) -> None:
        self._context.refused(self.address, error)
        answer.refuse(error)

    def _take_foreign(self, request: InboundRequest, data: bytes) -> None:
        answer = ForeignAnswer(self.requests, request, self._foreign)
        try:
            message = foreign_value_untrusted(data, self._foreign)
            if self._ref is None:
                raise ActorDeadError(self.address)
            deadline = self._context.clock.monotonic() + min(request.timeout, LONGEST_ASK)
            context = Context(kind="ask", deadline=deadline)
            self._ref.deliver(message, context=context, on_done=answer.done)
        except (RuntimeFault, ActorError) as error:
            answer.fail(error)

    # Broadcasts ---------------------------------------------------------------

    def on_broadcast(self, body: bytes) -> None:
        """Take a broadcast. Raises nothing."""
        self._context.counters.broadcasts += 1
        try:
            envelope = self._context.packer.open_untrusted(
                body, "broadcast", self.address, self._signatures
            )
            if isinstance(envelope, Envelope):
                self.take_broadcast(envelope)
            elif self._ref is not None:
                message = foreign_value_untrusted(envelope.data, self._foreign)
                self._deliver(self._ref, message, None)
        except DecodeError as error:
            self._context.refused(self.address, error)

    def take_broadcast(self, envelope: Envelope) -> None:
        """Handle an envelope that came to every member. Raises `DecodeError`."""
        match envelope.kind:
            case Kind.TELL:
                self._told_all(envelope)
            case Kind.ASK:
                self._asked_all(envelope)
            case Kind.CANCEL:
                self.requests.cancel(envelope.id)
            case _:
                raise DecodeError(f"a {envelope.kind.name} envelope is not a broadcast")

    def _told_all(self, envelope: Envelope) -> None:
        if self._ref is None:
            return
        message = self._context.packer.load_untrusted(envelope)
        self._deliver(self._ref, message, envelope)

    def _deliver(self, ref: ActorRef[Any], message: object, envelope: Envelope | None) -> None:
        delivery = best_effort_delivery(
            self._context, "tell_all", self.requests.called, message, envelope
        )
        deliver_best_effort(self._context, ref, self.address, delivery)

    def _asked_all(self, envelope: Envelope) -> None:
        node = envelope.headers.get("n")
        if node is None:
            raise DecodeError("an ask of everybody names the node that asks")
        if self._ref is None:
            return
        self._context.counters.requests += 1
        timeout = envelope.headers.get("d", 5000) / 1000
        request = BroadcastRequest(self._context, private_cluster(node), timeout)
        name = peer_name(self._context.packer.node_id, self._ref.actor_urn)
        self.take_request(request, envelope, name)

    # Tunnels and the membership -----------------------------------------------

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        """Take an inbound tunnel."""
        self._context.counters.tunnels += 1
        if self._ref is not None:
            self.tunnels.take(tunnel, self._ref)

    def on_lost(self, reason: str) -> None:  # noqa: ARG002  # the port's signature
        """The membership was cut; the transport joins again, and says so of its health."""
        if self.stands is not None:
            self.stands(False)

    def on_joined(self) -> None:
        """The membership stands (again)."""
        if self.stands is not None:
            self.stands(True)

    def cut(self, reason: str) -> None:
        """End the tunnels: the actor is down. It answers the requests in hand by its end."""
        self.tunnels.cut(reason)

    async def leave(self, reason: str) -> None:
        """End the tunnels, and take no more of them. Bounded in time."""
        await self.tunnels.leave(reason)
