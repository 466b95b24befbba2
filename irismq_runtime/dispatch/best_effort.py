"""Best-effort deliveries: broadcasts, live events, and tells to a peer.

They reach who is there now, and nobody waits for their outcome: the actor's own report
is enough. What there is no room for is counted, reported, and becomes a local dead
letter. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.errors import ActorError
from actors.texts import text_of
from irismq_runtime.dispatch.delivery import BestEffortDelivery, ScopedBestEffortDelivery
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging.foreign import foreign_value_untrusted
from irismq_runtime.observe.logs import shorten
from irismq_runtime.observe.tracing import TRACEPARENT
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from actors import ActorRef
    from actors.context import Kind as ContextKind
    from actors.delivery import Scope
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.messaging.foreign import ForeignRule
    from irismq_runtime.observe.tracing import Tracing

__all__ = ["LiveDispatch", "best_effort_delivery", "deliver_best_effort"]

_WHAT: Final = {"tell_all": "broadcast", "event": "live event"}


class LiveDispatch:
    """Feeds one actor from one live topic."""

    __slots__ = ("_context", "_foreign", "_ref", "_signatures", "topic")

    def __init__(
        self,
        context: DispatchContext,
        ref: ActorRef[Any],
        topic: str,
        *,
        foreign: ForeignRule = "json",
    ) -> None:
        self._context = context
        self._signatures = context.packer.signature_memory()
        self._ref = ref
        self._foreign: ForeignRule = foreign
        self.topic = topic

    def on_event(self, data: bytes) -> None:
        """Take one event. Raises nothing; what has no room is a dead letter."""
        context = self._context
        context.counters.events += 1
        try:
            envelope = context.packer.open_untrusted(data, "publish", self.topic, self._signatures)
            if type(envelope) is Envelope:
                message = context.packer.load_untrusted(envelope)
                delivery = best_effort_delivery(context, "event", self.topic, message, envelope)
            else:
                message = foreign_value_untrusted(envelope.data, self._foreign)
                delivery = best_effort_delivery(context, "event", self.topic, message, None)
        except DecodeError as error:
            context.refused(self.topic, error)
        else:
            deliver_best_effort(context, self._ref, self.topic, delivery)


def best_effort_delivery(
    context: DispatchContext,
    kind: ContextKind,
    address: str,
    message: object,
    envelope: Envelope | None,
    *,
    deadline: float | None = None,
) -> BestEffortDelivery:
    """Return the delivery of what came for `address` (or a topic), with its span if traced."""
    if context.tracing is not None and envelope is not None:
        scope = _scope(context.tracing, address, message, envelope)
        if scope is not None:
            scoped = ScopedBestEffortDelivery(context, kind, message, envelope, deadline)
            scoped.scope = scope
            return scoped
    return BestEffortDelivery(context, kind, message, envelope, deadline)


def deliver_best_effort(
    context: DispatchContext, ref: ActorRef[Any], address: str, delivery: BestEffortDelivery
) -> None:
    """Put a broadcast or an event in the inbox of `ref`. Raises nothing.

    What there is no room for is counted, reported, and becomes a dead letter.
    """
    try:
        ref.put(delivery)
    except ActorError as error:
        context.counters.refused += 1
        context.lost(delivery.message, ref, shorten(error))
        what = _WHAT[delivery.kind]
        kind = type(delivery.message).__name__
        why = shorten(text_of(error))
        text = "%s: a %s of type %s was not taken: %s"
        context.log.note("heard", text, address, what, kind, why, like=(address, kind, why))


def _scope(tracing: Tracing, address: str, message: object, envelope: Envelope) -> Scope | None:
    """What is in force while it is handled."""
    if TRACEPARENT not in envelope.headers:
        return None

    def about() -> dict[str, object]:
        return {
            "messaging.message.id": envelope.id.hex(),
            "irismq.message.type": type(message).__name__,
        }

    return tracing.consumer(envelope.headers, address, system="iris", about=about)
