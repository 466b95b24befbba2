"""One ask: the future of the caller and the receiver's inbox item in one.

It is pending in a table of deadlines from its birth, and whoever takes it out
of there resolves it (see deadlines.py). What comes later is counted as a late
answer. An ask whose only waiter is cancelled is cancelled too, on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from actors._current import current_slot
from actors.context import Context
from actors.delivery import InboxItem, Outcome
from actors.errors import (
    ActorCrashed,
    ActorDeadError,
    AskCancelled,
    AskCycle,
    AskTimeout,
    Refused,
)
from actors.future import LoopFuture
from actors.texts import class_name, text_of
from actors.unheard import unheard

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors._slot_view import SlotView

__all__ = ["Ask", "OwnAsk", "error_for_caller"]

T = TypeVar("T")

#: Seconds after the deadline at which a waiting thread gives up by itself.
LOOP_GRACE: Final = 1.0


class Ask(LoopFuture[T], InboxItem, Generic[T]):
    """A request to one actor, which ends by its deadline whatever happens."""

    __slots__ = (
        "_asked_by",
        "_chain",
        "_pending",
        "deadline",
        "message",
        "slot",
        "timeout",
    )

    tells_its_end = True

    _context: Context | None = None
    #: Deliveries so far, this one included.
    attempt = 1

    def __init__(  # noqa: PLR0917  # made in one place, on the hot path
        self,
        slot: SlotView,
        message: Any,
        pending: dict[Ask[Any], float],
        timeout: float,
        deadline: float,
        asked_by: SlotView | None,
        chain: tuple[str, ...],
    ) -> None:
        self._done = False
        self._value = None
        self._error = None
        self._waiters = ()
        self._waiter = None
        self._home = slot.system
        self.slot = slot
        self.message = message
        self.timeout = timeout
        self.deadline = deadline
        self._pending = pending
        self._asked_by = asked_by
        self._chain = chain

    def _awaited(self) -> None:
        self.slot.answer_inline(self)

    def cancel(self) -> bool:
        """Give up: removed when it waits, its async handler cancelled when it runs.

        Loop thread only. False when it is resolved already.
        """
        if self._pending.pop(self, None) is None:
            return False
        message_type = class_name(self.message)
        if not self.slot.keep_promise(self):
            self.slot.cancel_current(self)
        self._resolve(None, AskCancelled(self.slot.ref, message_type))
        return True

    def admit(self, slot: SlotView) -> bool:
        """Start, unless it is resolved: expired, or given up by its caller."""
        if self._done:
            slot.system.counters.expired += 1
            return False
        return True

    def context(self) -> Context:
        """Built when the handler looks at it; most do not."""
        context = self._context
        if context is None:
            sender = self._asked_by.ref if self._asked_by is not None else None
            context = self._context = Context(
                kind="ask",
                sender=sender,
                deadline=self.deadline,
                attempt=self.attempt,
                chain=self._chain,
            )
        return context

    def chain(self) -> tuple[str, ...]:
        """The asks that wait for this one's answer."""
        return self._chain

    def reply(self, value: Any) -> None:
        """Give the answer to the caller, unless it is too late."""
        if self._pending.pop(self, None) is None:
            self.slot.system.late_answer(self.slot.ref, self.message)
            return
        self._value = value
        self._done = True
        if self._waiter is not None:
            self._wake_first(self._waiter)
        if self._waiters:
            self._wake_all()

    def fail(self, outcome: Outcome) -> None:
        """Give the error to the caller, unless it is too late."""
        if self._pending.pop(self, None) is None:
            self.slot.system.late_answer(self.slot.ref, self.message)
            return
        self._resolve(None, error_for_caller(self.slot.ref, outcome))

    def give_up(self, error: BaseException) -> bool:
        """Fail with `error` if nothing has resolved it yet. Any thread."""
        if self._pending.pop(self, None) is None:
            return False
        self._resolve(None, error)
        if self.slot.keep_promise(self):
            self.slot.system.counters.expired += 1
        return True

    def expire(self) -> None:
        """The deadline has come. Loop thread only."""
        self.give_up(self._timeout_error(self.timeout))

    def late(self) -> None:
        """Count the answer, unless it is no answer to a caller who has given up."""
        if self._done:
            self.slot.system.late_answer(self.slot.ref, self.message)

    def again(self) -> None:
        """Its handler asked for one more try: the context counts it."""
        self.attempt += 1
        self._context = None

    def _timeout_error(self, waited: float) -> AskTimeout:
        return AskTimeout(self.slot.ref, class_name(self.message), waited, self.slot.where_is(self))

    def _timed_out(self, waited: float) -> AskTimeout:
        return self._timeout_error(waited)

    def _claim(self) -> None:
        super()._claim()
        self._pending.pop(self, None)
        self.slot.keep_promise(self)

    def forwarded(self, slot: SlotView) -> None:
        """It was forwarded: another actor answers."""
        self.slot = slot

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        if error is not None and self._waiter is None and not self._waiters:
            self._unheard = unheard(self.slot.ref, class_name(self.message), error)
        super()._resolve(value, error)

    def get_by_deadline(self) -> T:
        """Wait in a thread until the deadline, and no longer: then give up by oneself."""
        if not self.slot.system.real_time:
            return self.get()
        try:
            return self.get(timeout=self.timeout)
        except AskTimeout as error:
            if self.give_up(error):
                raise
            return self.get()

    def _block(self, timeout: float | None) -> None:
        # A loop that is blocked, or gone, fires no deadline: the thread has its own.
        limit = self.timeout + LOOP_GRACE if self.slot.system.real_time else None
        if limit is not None and (timeout is None or timeout > limit):
            timeout = limit
        super()._block(timeout)


class OwnAsk(Ask[T]):
    """An ask that an actor made of itself: it may be left alone, not waited for.

    Whether it is waited for by the handler that made it is known only then.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T]:
        self._check()
        return (yield from super().__await__())

    __iter__ = __await__

    def _block(self, timeout: float | None) -> None:
        self._check()
        super()._block(timeout)

    def _check(self) -> None:
        slot = self.slot
        if not self._done and current_slot.get() is slot:
            chain = slot.asking_chain()
            if chain:
                raise AskCycle(slot.ref, chain)


def error_for_caller(target: object, outcome: Outcome) -> BaseException:
    """The exception that the caller of an ask gets for `outcome`."""
    error = outcome.error
    if outcome.kind == "dead":
        return ActorDeadError(target, outcome.exit)
    kind = type(error)  # as `except` sees it: its `__class__` may be anything
    harmful = not issubclass(kind, Exception) or issubclass(kind, StopIteration)
    if outcome.kind == "crashed" and harmful and outcome.exit is not None:
        crashed = ActorCrashed(target, outcome.exit)
        crashed.__cause__ = error
        return crashed
    if outcome.kind == "reject":
        return Refused(text_of(error))
    if error is None:
        return AskCancelled(target, "the request")
    return error
