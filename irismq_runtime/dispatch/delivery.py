"""What came over the wire, as it stands in an actor's inbox.

`RemoteDelivery` is what all kinds have in common. `BestEffortDelivery` is a broadcast, a
live event or what is told to a peer: nobody waits for its outcome. `DurableDelivery` is
a stored message, whose outcome settles it. An ask is `answers.AskDelivery`.

A stored message may come again while it is here. When the lease of the delivery it came
by is lost, the new one takes its place. When it is not, there are copies: the message is
kept by several brokers, and each of them gave it out. All copies are claimed with the
first and end as it does, so that none is held for ever. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Context, Delivery
from actors.delivery import Scoped
from irismq_runtime.dispatch.context import chain_of
from irismq_runtime.wire import Kind

if TYPE_CHECKING:
    from actors import Outcome
    from actors.context import Kind as ContextKind
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.dispatch.stored import StoredDispatch
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = [
    "BestEffortDelivery",
    "DurableDelivery",
    "RemoteDelivery",
    "ScopedBestEffortDelivery",
    "ScopedDurableDelivery",
]


class RemoteDelivery(Delivery):
    """A delivery whose context is made when its handler looks at it: most never do."""

    __slots__ = ("_context",)

    #: None until a handler has looked.
    _context: Context | None
    #: None where the message came in none.
    envelope: Envelope | None

    def context(self) -> Context:
        """What the handler sees as `self.context`."""
        context = self._context
        if context is None:
            context = self._context = self._made()
        return context

    def _made(self) -> Context:
        raise NotImplementedError

    def header(self, name: str) -> object:
        """One header of the envelope, without the context that a handler would see."""
        envelope = self.envelope
        return None if envelope is None else envelope.headers.get(name)


class BestEffortDelivery(RemoteDelivery):
    """A broadcast, a live event, or a tell to a peer. `envelope`: None when it came in none."""

    __slots__ = ("_dispatch_context", "envelope", "kind")

    def __init__(
        self,
        dispatch_context: DispatchContext,
        kind: ContextKind,
        message: object,
        envelope: Envelope | None,
        deadline: float | None = None,
    ) -> None:
        self._state = "waiting"
        self._context = None
        self.envelope = envelope
        self._dispatch_context = dispatch_context
        self.kind: ContextKind = kind
        self.message = message
        self.deadline = deadline

    def _made(self) -> Context:
        envelope = self.envelope
        if envelope is None:
            return Context(kind=self.kind, deadline=self.deadline)
        headers = envelope.headers
        return Context(
            kind=self.kind,
            id=envelope.id,
            sender=self._dispatch_context.sender(headers),
            deadline=self.deadline,
            headers=headers,
            chain=chain_of(headers),
        )

    def chain(self) -> tuple[str, ...]:
        """The asks in hand that the message names."""
        return () if self.envelope is None else chain_of(self.envelope.headers)

    def returned(self, value: object) -> None:
        """Nobody waits for it."""

    def ended(self, outcome: Outcome) -> None:
        """Nobody waits for it."""


class ScopedBestEffortDelivery(Scoped, BestEffortDelivery):
    """A best-effort delivery that belongs to a trace."""

    __slots__ = ("scope",)


class DurableDelivery(RemoteDelivery):
    """A stored message. `allowed`: deliveries after which a failure is the last.

    One is made for every durable message: it is at once the item in the inbox and
    dispatch's record.
    """

    __slots__ = ("allowed", "begun", "copies", "dispatch", "envelope", "gone", "stored")

    guarded = True
    #: The broker has it back after a crash, with a growing delay, up to its last attempt, and
    #: a consumer whose messages fail slows down.
    charged = True

    def __init__(  # one is made for every message: keywords cost
        self,
        dispatch: StoredDispatch,
        stored: StoredMessage,
        envelope: Envelope | None,
        message: object,
        allowed: int,
    ) -> None:
        self.message = message
        self.deadline = None
        self._state = "waiting"
        self._context = None
        self.dispatch = dispatch
        self.stored = stored
        #: Further deliveries of the same envelope, by other brokers.
        self.copies: tuple[StoredMessage, ...] = ()
        self.envelope = envelope
        self.allowed = allowed
        #: The handler runs, or has run.
        self.begun = False
        #: The claim failed: the broker has the message, the handler did not run.
        self.gone = False

    def _made(self) -> Context:
        dispatch, envelope, attempts = self.dispatch, self.envelope, self.stored.attempts
        if envelope is None:
            return Context(kind=dispatch.kind, attempt=attempts)
        return Context(
            kind="event" if envelope.kind is Kind.EVENT else dispatch.kind,
            id=envelope.id,
            sender=dispatch.sender(envelope.headers),
            attempt=attempts,
            headers=envelope.headers,
        )

    def chain(self) -> tuple[str, ...]:
        """Nobody waits for the answer of a durable message."""
        return ()

    def starting(self) -> bool:
        """Called right before the handler runs; False keeps it from running.

        Called again when its actor passes it on or takes it up again: it is claimed then, and
        nobody begins it whose lease was lost meanwhile, as the broker gives it to another.
        """
        if self.begun:
            return self._is_still_here()
        claim = self.dispatch.claim
        self.begun = claim(self.stored)
        for copy in self.copies:
            if claim(copy) and not self.begun:
                self.stored, self.begun = copy, True
        self.gone = not self.begun
        return self.begun

    def _is_still_here(self) -> bool:
        if self.stored.lease_lost:
            kept = [copy for copy in self.copies if not copy.lease_lost]
            self.gone = not kept
            self.stored = kept[0] if kept else self.stored
        return not self.gone

    def returned(self, value: object) -> None:
        """Called once, when the handler has returned."""
        self.dispatch.handled(self, value)

    def ended(self, outcome: Outcome) -> None:
        """Called once, with the end of it."""
        self.dispatch.settle(self, outcome)

    def not_taken(self, error: BaseException) -> None:  # noqa: ARG002  # it has been logged
        """Settling it failed: the broker gives it out again, up to its last attempt."""
        self.dispatch.give_back(self)

    def again(self, stored: StoredMessage) -> bool:
        """The same message was given out again; True when that is one more copy."""
        copy = not self.stored.lease_lost
        if copy:
            self.copies += (stored,)
        else:
            self.stored = stored
            stored.on_lease_lost = self.lease_lost
        if self.begun:
            self.dispatch.claim(stored)
        return copy

    def described(self) -> dict[str, object]:
        """What a span of its handling says of it."""
        about: dict[str, object] = {"irismq.attempt": self.stored.attempts}
        if self.envelope is not None:
            about["messaging.message.id"] = self.envelope.id.hex()
            about["irismq.message.type"] = self.envelope.type
        return about

    def lease_lost(self) -> None:
        """Tell the handler through its context; one that has not begun needs no word.

        Nor does what is put aside: it will not be begun, unless it has come again before its turn.
        """
        if self.begun and self._state != "waiting":
            self.context().lease_lost = True
            self.dispatch.lease_lost(self)


class ScopedDurableDelivery(Scoped, DurableDelivery):
    """A durable delivery that belongs to a trace."""

    __slots__ = ("scope",)
