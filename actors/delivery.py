"""What came of a message: `Outcome`, and `Delivery`, the handle of a transport.

A transport gives a message to an actor with `ref.deliver(...)` and learns once,
on the loop, what came of it. Everything that wraps a message in an inbox is a
`Parcel`; a plain local tell is not wrapped at all. A parcel is asked whether it
is still worth handling when its turn comes (`admit`) and is told the end
(`reply` or `fail`) exactly once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from actors.errors import Refused, Reject, Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._cell import Cell
    from actors.context import Context
    from actors.exits import Exit

__all__ = ["Delivery", "Outcome", "OutcomeKind", "Parcel", "outcome_of"]

logger = logging.getLogger("actors")

OutcomeKind: TypeAlias = Literal[
    "replied", "refused", "crashed", "retry", "reject", "expired", "dead", "cancelled"
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one delivery.

    "replied": the handler returned `value`. "refused": it answered with
    `error`, and lives. "crashed": `error` left it, and `exit` says the rest.
    "retry" and "reject": it raised `Retry` (`retry_after`, `penalty`) or
    `Reject` (`error`). "expired": the deadline had passed when the turn came,
    the handler did not run. "dead": the slot ended first (`exit`).
    "cancelled": by `Delivery.cancel()`.
    """

    kind: OutcomeKind
    value: Any = None
    error: BaseException | None = None
    retry_after: float | None = None
    penalty: bool = True
    exit: Exit | None = None


def outcome_of(error: BaseException, refuses: tuple[type[BaseException], ...]) -> Outcome | None:
    """The outcome that a handler meant by raising `error`; None for a crash."""
    if isinstance(error, Refused) or (refuses and isinstance(error, refuses)):
        return Outcome("refused", error=error)
    if isinstance(error, Retry):
        return Outcome("retry", error=error, retry_after=error.after, penalty=error.penalty)
    if isinstance(error, Reject):
        return Outcome("reject", error=error)
    return None


class Parcel:
    """A message in an inbox together with those who wait for its end."""

    __slots__ = ()

    message: Any

    def admit(self, cell: Cell) -> bool:
        """Whether to handle it now; False has settled or dropped it for good."""
        raise NotImplementedError

    def context(self) -> Context:
        """The context that the handler sees."""
        raise NotImplementedError

    def chain(self) -> tuple[str, ...]:
        """The actors whose asks wait for this message."""
        return ()

    def put_aside(self) -> None:
        """It stands in the stash."""

    def moved(self, cell: Cell) -> None:
        """It stands in the inbox of `cell` now."""

    def reply(self, value: Any) -> None:
        """The handler returned `value`. Any thread."""
        raise NotImplementedError

    def fail(self, outcome: Outcome) -> None:
        """It ended in another way. Any thread."""
        raise NotImplementedError


class Delivery(Parcel):
    """A message given by a transport, and the transport's handle on it."""

    __slots__ = ("_cell", "_context", "_on_done", "_on_start", "_state", "message")

    def __init__(
        self,
        cell: Cell,
        message: Any,
        context: Context,
        on_done: Callable[[Outcome], None],
        on_start: Callable[[], bool] | None,
    ) -> None:
        self.message = message
        self._cell = cell
        self._context = context
        self._on_done: Callable[[Outcome], None] | None = on_done
        self._on_start = on_start
        self._state: Literal["waiting", "running", "done"] = "waiting"

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
            if self._cell.keep_promise(self):
                self.fail(Outcome("cancelled"))
                return True
            return self._cell.cancel_in_hand(self)
        return False

    def admit(self, cell: Cell) -> bool:
        """Start, unless it was cancelled, is too late, or `on_start` says no."""
        if self._state == "done":
            return False
        deadline = self._context.deadline
        if deadline is not None and cell.system.clock.monotonic() > deadline:
            self.fail(Outcome("expired"))
            return False
        if self._on_start is not None and not cell.system.run_on_loop(self._on_start):
            self.fail(Outcome("cancelled"))
            return False
        self._state = "running"
        self._emit("handler.started")
        return True

    def context(self) -> Context:
        """The context that the transport gave."""
        return self._context

    def chain(self) -> tuple[str, ...]:
        """The chain that travelled with the message."""
        return self._context.chain

    def reply(self, value: Any) -> None:
        """The handler returned."""
        self._emit("handler.returned", outcome="replied")
        self._done(Outcome("replied", value=value))

    def fail(self, outcome: Outcome) -> None:
        """The handler raised, or never ran."""
        if self._state == "running":
            self._emit("handler.returned", outcome=outcome.kind)
        self._done(outcome)

    def queued(self) -> None:
        """Say that the message stands in the inbox."""
        self._emit("inbox.queued")

    def put_aside(self) -> None:
        """The actor stashed it: it waits again."""
        self._state = "waiting"

    def moved(self, cell: Cell) -> None:
        """It was forwarded: another actor handles it, and it waits again."""
        self._cell = cell
        self._state = "waiting"

    def _done(self, outcome: Outcome) -> None:
        on_done, self._on_done = self._on_done, None
        self._state = "done"
        if on_done is not None:
            self._cell.system.call_on_loop(_tell, on_done, outcome)

    def _emit(self, name: str, **fields: Any) -> None:
        events = self._cell.system.events
        if events.active:
            id_ = self._context.id
            events.emit(
                name,
                id=id_.hex() if id_ is not None else None,
                actor=str(self._cell.ref),
                attempt=self._context.attempt,
                **fields,
            )


def _tell(on_done: Callable[[Outcome], None], outcome: Outcome) -> None:
    try:
        on_done(outcome)
    except Exception:
        # The actor has done its part; the transport's error is not its crash.
        logger.exception("A transport failed to take the outcome %r", outcome.kind)
