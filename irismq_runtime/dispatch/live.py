"""Live events to one actor: best effort, for who listens now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.dispatch.foreign import foreign_value_untrusted
from irismq_runtime.dispatch.heard import hear, parcel
from irismq_runtime.errors import DecodeError
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from actors import ActorRef
    from irismq_runtime.dispatch.foreign import ForeignRule
    from irismq_runtime.dispatch.incoming import Incoming

__all__ = ["LiveDispatch"]


class LiveDispatch:
    """Feeds one actor from one live topic."""

    __slots__ = ("_foreign", "_heard", "_in", "_ref", "topic")

    def __init__(
        self, incoming: Incoming, ref: ActorRef[Any], topic: str, *, foreign: ForeignRule = "json"
    ) -> None:
        self._in = incoming
        self._heard = incoming.packer.memory()
        self._ref = ref
        self._foreign: ForeignRule = foreign
        self.topic = topic

    def on_event(self, data: bytes) -> None:
        """Take one event. Raises nothing; what has no room is a dead letter."""
        incoming = self._in
        incoming.counters.events += 1
        try:
            envelope = incoming.packer.open_untrusted(data, "publish", self.topic, self._heard)
            if type(envelope) is Envelope:
                message = incoming.packer.load_untrusted(envelope)
                heard = parcel(incoming, "event", self.topic, message, envelope)
            else:
                message = foreign_value_untrusted(envelope.data, self._foreign)
                heard = parcel(incoming, "event", self.topic, message, None)
        except DecodeError as error:
            incoming.refused(self.topic, error)
        else:
            hear(incoming, self._ref, self.topic, heard)
