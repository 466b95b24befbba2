"""The node's own cluster, `irismq.node.<id>`: what is meant for it alone.

The header "to" names the target: the urn of an actor, or "@node" for the node
itself, which answers control messages. The replies to this node's asks of
everybody arrive here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Exit
from actors.errors import ActorDeadError, ActorError
from irismq_runtime.dispatch import AskDelivery, MemberDispatch
from irismq_runtime.errors import DecodeError, RuntimeFault
from irismq_runtime.messaging import NODE_TARGET, private_cluster
from irismq_runtime.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef
    from irismq_runtime.dispatch import DispatchContext
    from irismq_runtime.ports import InboundRequest
    from irismq_runtime.refs import Outbound
    from irismq_runtime.wire import Envelope

__all__ = ["PeerDispatch"]

#: Acknowledges a reply to an ask of everybody; nobody reads it.
TAKEN: Final = b"taken"


class PeerDispatch(MemberDispatch):
    """Takes what comes to the private cluster.

    `find`: a local actor by urn. `control`: answers to control messages, by their
    class; what one raises is answered as an error. `announced`: takes what another node
    says of itself to this one alone.
    """

    __slots__ = ("_announced", "_control", "_find", "_out")

    def __init__(
        self,
        context: DispatchContext,
        outbound: Outbound,
        find: Callable[[str], ActorRef[Any] | None],
        control: dict[type, Callable[[Any], object]],
        announced: Callable[[Envelope], None],
    ) -> None:
        super().__init__(context, None, private_cluster(context.packer.node_id), foreign="reject")
        self._out = outbound
        self._find = find
        self._control = control
        self._announced = announced
        self.requests.called = "peer"

    def target(self, envelope: Envelope) -> ActorRef[Any]:
        """Return the actor that "to" names."""
        urn = envelope.headers.get("to")
        ref = self._find(urn) if isinstance(urn, str) else None
        if ref is None:
            raise ActorDeadError(urn, Exit("noproc"))
        return ref

    def take_request(
        self, request: InboundRequest, envelope: Envelope, sender: str | None = None
    ) -> None:
        """Take replies and control messages here; give the others to their actor."""
        if envelope.kind in {Kind.REPLY, Kind.ERROR}:
            self._gathered(envelope)
            request.reply(TAKEN)
            return
        if envelope.headers.get("to") != NODE_TARGET:
            super().take_request(request, envelope, sender)
            return
        answer = AskDelivery(self.requests, request, envelope)
        try:
            answer.answer(self._controlled(envelope))
        except (RuntimeFault, ActorError) as error:
            answer.refuse(error)

    def take_broadcast(self, envelope: Envelope) -> None:
        """Take replies of a gather, control messages, cancellations and answers of presence."""
        if envelope.kind in {Kind.REPLY, Kind.ERROR}:
            self._gathered(envelope)
        elif envelope.kind == Kind.CANCEL:
            self.requests.cancel(envelope.id)
        elif envelope.kind == Kind.PRESENCE:
            self._announced(envelope)
        elif envelope.kind == Kind.TELL and envelope.headers.get("to") == NODE_TARGET:
            self._controlled(envelope)
        else:
            raise DecodeError(f"a {envelope.kind.name} envelope is not a broadcast to a node")

    def _gathered(self, envelope: Envelope) -> None:
        gather = self._out.gathers.get(envelope.id)
        if gather is None:
            self._out.late += 1
        else:
            gather.answered(envelope)

    def _controlled(self, envelope: Envelope) -> object:
        message = self._context.packer.load_untrusted(envelope)
        handler = self._control.get(type(message))
        if handler is None:
            raise DecodeError(f"a node takes no {envelope.type or 'plain'} message")
        return handler(message)
