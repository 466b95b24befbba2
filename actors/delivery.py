"""What came of a message: `Outcome`, and `Delivery`, the handle of a transport.

A transport gives a message to an actor with `ref.deliver(...)` and learns once,
on the loop, what came of it. Everything that wraps a message in an inbox is a
`InboxItem`; a plain local tell is not wrapped at all. A item is asked whether it
is still worth handling when its turn comes (`admit`) and is told the end
(`reply` or `fail`) exactly once.
"""

from __future__ import annotations

import logging
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from actors.errors import Refused, Reject, Retry
from actors.rules import check_seconds
from actors.texts import exc_info_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._slot_view import SlotView
    from actors.context import Context
    from actors.exits import Exit

__all__ = [
    "CallbackDelivery",
    "Delivery",
    "InboxItem",
    "Outcome",
    "OutcomeKind",
    "Scope",
    "Scoped",
    "ScopedDelivery",
    "ScopedItem",
    "is_charged",
    "outcome_of",
    "reason_of",
]

logger = logging.getLogger("actors")

OutcomeKind: TypeAlias = Literal[
    "replied", "refused", "crashed", "retry", "reject", "expired", "dead", "cancelled"
]


class Outcome(NamedTuple):
    """The end of one delivery.

    "replied": the handler returned `value`. "refused": it answered with
    `error`, and lives. "crashed": `error` left it, and `exit` says the rest.
    "retry" and "reject": it raised `Retry` (`retry_after`, `penalty`) or
    `Reject` (`error`). "expired": the deadline had passed when the turn came,
    the handler did not run, or it passed before the answer that was promised
    came. "dead": the slot ended first (`exit`).
    "cancelled": by `Delivery.cancel()`.
    """

    kind: OutcomeKind
    value: Any = None
    error: BaseException | None = None
    retry_after: float | None = None
    penalty: bool = True
    exit: Exit | None = None


#: The commonest end: a handler returned nothing. One value for all of them.
NOTHING: Final = Outcome("replied")
_NOT_TAKEN: Final = "A transport failed to take the outcome %r"


def _replied(value: Any) -> Outcome:
    return NOTHING if value is None else Outcome("replied", value)


def outcome_of(error: BaseException, refuses: tuple[type[BaseException], ...]) -> Outcome | None:
    """The outcome that a handler meant by raising `error`; None for a crash.

    Looks at the class itself, as `except` does: the `__class__` of a user's exception
    may be anything. Raises what its attributes, or a strange `refuses`, raise.
    """
    kind = type(error)
    if issubclass(kind, Refused) or (refuses and issubclass(kind, refuses)):
        return Outcome("refused", error=error)
    if issubclass(kind, Retry):
        after = error.after  # type: ignore[attr-defined]  # the class says that it has it
        if after is not None:
            check_seconds("Retry.after", after)
        return Outcome("retry", error=error, retry_after=after, penalty=bool(error.penalty))  # type: ignore[attr-defined]  # as above
    if issubclass(kind, Reject):
        return Outcome("reject", error=error)
    return None


class InboxItem:
    """A message in an inbox together with those who wait for its end."""

    __slots__ = ()

    message: Any
    #: Whether a crash of its handler is charged to the message: its transport gives it out
    #: again later each time and at last never, and less of all while they fail. Such a
    #: transport does with each message what a supervisor's intensity is there to do with
    #: an actor, so the one does not count what the other has.
    charged = False
    #: Whether its own `fail` brings it back when its handler raised `Retry`.
    retries = False
    #: Whether its own `fail` is enough when it is never handled; else it is a dead letter.
    tells_its_end = False

    def admit(self, slot: SlotView) -> bool:
        """Whether to handle it now; False has settled or dropped it for good."""
        raise NotImplementedError

    def context(self) -> Context:
        """The context that the handler sees."""
        raise NotImplementedError

    def chain(self) -> tuple[str, ...]:
        """The actors whose asks wait for this message."""
        return ()

    def header(self, name: str) -> object:
        """One header of what the message came in; None: it has none."""
        return self.context().headers.get(name)

    def stashed(self) -> None:
        """It stands in the stash."""

    def forwarded(self, slot: SlotView) -> None:
        """It stands in the inbox of `slot` now."""

    def promised(self) -> None:
        """Its handler will answer later, and goes on."""

    def late(self) -> None:
        """The answer that was promised is there, and nobody waits for it."""

    def reply(self, value: Any) -> None:
        """The handler returned `value`. Any thread."""
        raise NotImplementedError

    def fail(self, outcome: Outcome) -> None:
        """It ended in another way. Any thread."""
        raise NotImplementedError


def is_charged(item: object) -> bool:
    """Whether a crash of its handler is charged to what stood in the inbox."""
    return isinstance(item, InboxItem) and item.charged


def reason_of(outcome: Outcome) -> str:
    """Why a tell that ended so becomes a dead letter."""
    if outcome.kind == "reject":
        return f"rejected: {text_of(outcome.error)}"
    return "killed" if outcome.kind == "dead" else outcome.kind


class Delivery(InboxItem):
    """A message given by a transport, and the transport's handle on it.

    `ActorRef.deliver` makes one of callbacks. A transport that keeps a record of
    each message anyway derives the record from this class, and gives it to
    `ActorRef.put`: `starting` is called right before the handler (when `guarded`),
    `ended` once with the end of it, both on the loop. `deadline`: on the system's
    monotonic clock, or None.
    """

    __slots__ = ("_slot", "_state", "deadline", "message")

    #: Whether `starting` is to be asked.
    guarded = False
    retries = True
    tells_its_end = True

    _slot: SlotView

    def __init__(self, message: Any, deadline: float | None = None) -> None:
        self.message = message
        self.deadline = deadline
        self._state: Literal["waiting", "running", "done"] = "waiting"

    # -- of the transport

    def starting(self) -> bool:
        """The handler is about to run; False keeps it from running: "cancelled"."""
        return True

    def ended(self, outcome: Outcome) -> None:
        """What came of it. Called once, on the loop; a transport fills it.

        Args:
            outcome: The end of its handler, or why none ran.
        """
        raise NotImplementedError

    def returned(self, value: Any) -> None:
        """`ended`, when a handler returned: what most come to. Called once, on the loop.

        Args:
            value: What it returned.
        """
        self.ended(_replied(value))

    def not_taken(self, error: BaseException) -> None:
        """`ended` or `returned` raised: let nobody wait for this message.

        Args:
            error: What was raised; it is in the log.
        """

    def cancel(self) -> bool:
        """Take the message back: waiting, promised an answer, or in an async handler.

        The handler is cancelled; a promise (`reply_later`) counts for nothing from
        now on. Loop thread only. False when it is done, or runs in a handler that
        cannot be interrupted (a plain `def`): its outcome comes as usual.
        """
        if self._state == "waiting":
            self.fail(Outcome("cancelled"))
            return True
        if self._state == "running":
            if self._slot.keep_promise(self):
                self.fail(Outcome("cancelled"))
                return True
            return self._slot.cancel_current(self)
        return False

    # -- of the actor

    def admit(self, slot: SlotView) -> bool:
        """Start, unless it was cancelled, is too late, or `starting` says no. The actor's thread.

        Args:
            slot: Where it is handled.
        """
        if self._state == "done":
            return False
        system = slot.system
        if self.deadline is not None and system.clock.monotonic() > self.deadline:
            self.fail(Outcome("expired"))
            return False
        if self.guarded:
            here = get_ident() == system.thread_id
            if not (self.starting() if here else system.run_on_loop(self.starting)):
                self.fail(Outcome("cancelled"))
                return False
        self._state = "running"
        if system.events.active:
            self._emit("handler.started")
        return True

    def chain(self) -> tuple[str, ...]:
        """The chain that travelled with the message."""
        return self.context().chain

    def reply(self, value: Any) -> None:
        """The handler returned. Any thread.

        Args:
            value: What it returned.
        """
        system = self._slot.system
        if system.events.active:
            self._emit("handler.returned", outcome="replied")
        if self._state == "running" and get_ident() == system.thread_id:  # nearly always
            self._state = "done"
            try:
                self.returned(value)
            except BaseException as error:  # as in _end
                self._broken("replied", error)
        else:
            self._done(_replied(value))

    def fail(self, outcome: Outcome) -> None:
        """The handler raised, or never ran. Any thread.

        Args:
            outcome: Which of the two.
        """
        if self._state == "running" and self._slot.system.events.active:
            self._emit("handler.returned", outcome=outcome.kind)
        self._done(outcome)

    def queued(self, slot: SlotView) -> None:
        """It stands in an inbox. Loop thread.

        Args:
            slot: Whose inbox.
        """
        self._slot = slot
        if slot.system.events.active:
            self._emit("inbox.queued")

    def stashed(self) -> None:
        """The actor stashed it: it waits again."""
        self._state = "waiting"

    def forwarded(self, slot: SlotView) -> None:
        """Another actor handles it, and it waits again. Any thread.

        Args:
            slot: Where it waits now.
        """
        self._slot = slot
        self._state = "waiting"

    def _done(self, outcome: Outcome) -> None:
        if self._state == "done":
            return
        self._state = "done"
        system = self._slot.system
        if get_ident() == system.thread_id:
            self._end(outcome)
        else:
            system.call_on_loop(self._end, outcome)

    def _end(self, outcome: Outcome) -> None:
        try:
            self.ended(outcome)
        except BaseException as error:
            # The actor has done its part; the transport's error is not its crash.
            self._broken(outcome.kind, error)

    def _broken(self, kind: OutcomeKind, error: BaseException) -> None:
        logger.error(_NOT_TAKEN, kind, exc_info=exc_info_of(error))
        try:
            self.not_taken(error)
        except BaseException as another:
            logger.exception("A transport lost a message", exc_info=exc_info_of(another))

    def _emit(self, name: str, **fields: Any) -> None:
        context = self.context()
        self._slot.system.events.emit(
            name,
            id=context.id.hex() if context.id is not None else None,
            actor=str(self._slot.ref),
            attempt=context.attempt,
            **fields,
        )


class CallbackDelivery(Delivery):
    """See `ActorRef.deliver`."""

    __slots__ = ("_context", "_on_done", "_on_start", "guarded")

    def __init__(
        self,
        message: Any,
        context: Context,
        on_done: Callable[[Outcome], None],
        on_start: Callable[[], bool] | None,
    ) -> None:
        super().__init__(message, context.deadline)
        self._context = context
        self._on_done = on_done
        self._on_start = on_start
        self.guarded = on_start is not None

    def context(self) -> Context:
        """The context that the transport gave."""
        return self._context

    def starting(self) -> bool:
        """Ask `on_start`."""
        return self._on_start is None or self._on_start()

    def ended(self, outcome: Outcome) -> None:
        """Call `on_done`."""
        self._on_done(outcome)


class Scope(Protocol):
    """Something that is in force while the handler of one message runs."""

    def enter(self) -> None:
        """The handler is about to run, in this thread and context; again after a stash."""

    def leave(self) -> None:
        """It does not run any more, or has handed the message on. Maybe never entered."""

    def end(self, outcome: Outcome) -> None:
        """What came of the message. On the loop, once."""


class ScopedItem(InboxItem):
    """Mixed in before a class of items: `scope` is entered and left around the handler.

    Items without one are of another class, so it costs them nothing. A handler
    that promises to answer later leaves the scope with the promise.
    """

    __slots__ = ()

    scope: Scope

    def admit(self, slot: SlotView) -> bool:
        """Enter, if the handler is to run."""
        if not super().admit(slot):
            return False
        self.scope.enter()
        return True

    def reply(self, value: Any) -> None:
        """Leave first."""
        self.scope.leave()
        super().reply(value)

    def fail(self, outcome: Outcome) -> None:
        """Leave first."""
        self.scope.leave()
        super().fail(outcome)

    def stashed(self) -> None:
        """Leave; it is entered again when its turn comes again."""
        self.scope.leave()
        super().stashed()

    def forwarded(self, slot: SlotView) -> None:
        """Leave; another actor enters it."""
        self.scope.leave()
        super().forwarded(slot)

    def promised(self) -> None:
        """Leave; the answer ends it."""
        self.scope.leave()


class Scoped(ScopedItem, Delivery):
    """The same for deliveries, whose scope learns how they end."""

    __slots__ = ()

    def returned(self, value: Any) -> None:
        """Tell the scope as well."""
        self._end(_replied(value))

    def _end(self, outcome: Outcome) -> None:
        try:
            self.scope.end(outcome)
        except BaseException as error:
            # A span that cannot be ended is no reason to leave a message unsettled.
            logger.error("A scope failed to end", exc_info=exc_info_of(error))  # noqa: TRY400  # what it raised may not be shown as it is
        super()._end(outcome)


class ScopedDelivery(Scoped, CallbackDelivery):
    """A delivery of callbacks with a scope; see `ActorRef.deliver`."""

    __slots__ = ("scope",)
