"""Live events to one actor: best effort, for who listens now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import Context
from actors.errors import ActorError
from irismq_runtime.dispatch.foreign import foreign_value_untrusted
from irismq_runtime.errors import DecodeError
from irismq_runtime.observe.logs import shorten
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.foreign import ForeignRule
    from irismq_runtime.dispatch.incoming import Incoming

__all__ = ["LiveDispatch"]


class LiveDispatch:
    """Feeds one actor from one live topic."""

    __slots__ = ("_foreign", "_in", "_ref", "topic")

    def __init__(
        self, incoming: Incoming, ref: ActorRef[Any], topic: str, *, foreign: ForeignRule = "json"
    ) -> None:
        self._in = incoming
        self._ref = ref
        self._foreign: ForeignRule = foreign
        self.topic = topic

    def on_event(self, data: bytes) -> None:
        """Take one event. Raises nothing; what has no room is a dead letter."""
        incoming = self._in
        incoming.counters.events += 1
        try:
            envelope = incoming.packer.open_untrusted(data)
            if isinstance(envelope, Envelope):
                message = incoming.packer.load_untrusted(envelope)
                headers = envelope.headers
                context = Context(
                    kind="event",
                    id=envelope.id,
                    sender=incoming.sender(headers),
                    headers=headers,
                )
            else:
                message = foreign_value_untrusted(envelope.data, self._foreign)
                context = Context(kind="event")
        except DecodeError as error:
            incoming.refused(self.topic, error)
            return
        try:
            scope = None
            if incoming.tracing is not None:
                scope = incoming.heard(context, self.topic, message)
            self._ref.deliver(message, context=context, on_done=_told, scope=scope)
        except ActorError as error:
            incoming.counters.refused += 1
            incoming.lost(message, self._ref, shorten(error))


def _told(outcome: Outcome) -> None:
    """Nobody waits for the end of an event: the actor's own report is enough."""
