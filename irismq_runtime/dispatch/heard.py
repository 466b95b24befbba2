"""What comes to who is there now and is not answered with a value, for one actor.

Broadcasts, live events, and what is told to a peer. No outcome is kept: the
actor's own report is enough. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Context
from actors.delivery import Scoped
from actors.errors import ActorError
from actors.texts import text_of
from irismq_runtime.dispatch.carried import Carried
from irismq_runtime.dispatch.incoming import chain_of
from irismq_runtime.observe.logs import shorten
from irismq_runtime.observe.tracing import TRACEPARENT

if TYPE_CHECKING:
    from actors import ActorRef, Outcome
    from actors.context import Kind as ContextKind
    from actors.delivery import Scope
    from irismq_runtime.dispatch.incoming import Incoming
    from irismq_runtime.observe.tracing import Tracing
    from irismq_runtime.wire import Envelope

__all__ = ["Heard", "hear", "parcel"]

_WHAT: Final = {"tell_all": "broadcast", "event": "live event"}


class Heard(Carried):
    """One message, and its parcel in the inbox. `envelope`: None when it came in none."""

    __slots__ = ("_envelope", "_incoming", "kind")

    def __init__(
        self,
        incoming: Incoming,
        kind: ContextKind,
        message: object,
        envelope: Envelope | None,
        deadline: float | None = None,
    ) -> None:
        self._state = "waiting"
        self._context = None
        self._envelope = envelope
        self._incoming = incoming
        self.kind: ContextKind = kind
        self.message = message
        self.deadline = deadline

    def _made(self) -> Context:
        envelope = self._envelope
        if envelope is None:
            return Context(kind=self.kind, deadline=self.deadline)
        headers = envelope.headers
        return Context(
            kind=self.kind,
            id=envelope.id,
            sender=self._incoming.sender(headers),
            deadline=self.deadline,
            headers=headers,
            chain=chain_of(headers),
        )

    def chain(self) -> tuple[str, ...]:
        """The asks in hand that the message names."""
        return () if self._envelope is None else chain_of(self._envelope.headers)

    def returned(self, value: object) -> None:
        """Nobody waits for it."""

    def ended(self, outcome: Outcome) -> None:
        """Nobody waits for it."""


class _ScopedHeard(Scoped, Heard):
    __slots__ = ("scope",)


def parcel(
    incoming: Incoming,
    kind: ContextKind,
    address: str,
    message: object,
    envelope: Envelope | None,
    *,
    deadline: float | None = None,
) -> Heard:
    """The parcel of a message that came for `address` (or topic), with its span if traced."""
    if incoming.tracing is not None and envelope is not None:
        scope = _scope(incoming.tracing, address, message, envelope)
        if scope is not None:
            scoped = _ScopedHeard(incoming, kind, message, envelope, deadline)
            scoped.scope = scope
            return scoped
    return Heard(incoming, kind, message, envelope, deadline)


def hear(incoming: Incoming, ref: ActorRef[Any], address: str, heard: Heard) -> None:
    """Put a broadcast or an event in the inbox of `ref`. Raises nothing.

    What there is no room for is counted, reported, and becomes a dead letter.
    """
    try:
        ref.put(heard)
    except ActorError as error:
        incoming.counters.refused += 1
        incoming.lost(heard.message, ref, shorten(error))
        what = _WHAT[heard.kind]
        kind = type(heard.message).__name__
        why = shorten(text_of(error))
        text = "%s: a %s of type %s was not taken: %s"
        incoming.log.note("heard", text, address, what, kind, why, like=(address, kind, why))


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
