"""What clients asked and what they were told, and whether one order explains it.

A history is linearizable when every operation can be given one moment between its call and
its return, so that the answers are those of a single copy that takes them one after the
other (Herlihy and Wing 1990). An operation whose outcome nobody knows (the ask timed out,
the connection was lost) may have taken effect at any time after its call, or never.

The search is Wing and Gong's (1993) with Lowe's memory of configurations (2017): of each set
of operations that are done and the state they lead to, only once. Of unanswered ones that ask
for the same the first is taken first, since whatever explains the other order explains this
one: otherwise each of them would double the search. What the single copy does
is a function that the caller gives: state and request in, answer and next state out. It
knows no cluster and no clock.

An object of its own (an account, a key) has a history of its own: one history of each is
searched far faster than one of all, and means the same.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from irismq_runtime.errors import (
    NoSuchService,
    NotConnected,
    Overloaded,
    Refused,
    Restarting,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

__all__ = ["History", "NotLinearizable", "Operation", "RefusedWith", "linearize"]

S = TypeVar("S")

#: Errors after which nothing was done, besides those that say so by their `outcome`.
_NOTHING_DONE: Final = (NoSuchService, NotConnected, Overloaded, Restarting)


@dataclass(frozen=True, slots=True)
class RefusedWith:
    """The answer of a handler that said no: equal when the code is."""

    code: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One request, as its client saw it.

    Attributes:
        request: What was asked.
        called: When, in virtual seconds.
        returned: When the answer came; infinity: it is not known what became of it.
        answer: What it was; nothing where that is not known.
    """

    request: Any
    called: float
    returned: float = math.inf
    answer: Any = None

    @property
    def known(self) -> bool:
        """Whether it was answered."""
        return self.returned != math.inf

    def __str__(self) -> str:
        """In a line of a report."""
        if not self.known:
            return f"{self.called:.3f} s: {self.request!r}, not answered"
        return f"{self.called:.3f} to {self.returned:.3f} s: {self.request!r} -> {self.answer!r}"


class NotLinearizable(AssertionError):
    """No order of the operations explains what was answered.

    Attributes:
        operation: The first to return, on the way that leads furthest, that no order explains.
        state: The state before it on that way.
        done: How many operations that way explains.
    """

    def __init__(
        self, operation: Operation, state: Any, done: int, near: Sequence[Operation]
    ) -> None:
        self.operation = operation
        self.state = state
        self.done = done
        beside = "".join(f"\n    {each}" for each in near)
        super().__init__(
            f"no order explains {operation}: after {done} operations the state was {state!r}; "
            f"beside it were{beside or ' none'}"
        )


class SearchTooLarge(RuntimeError):
    """Whether a history is linearizable was not found out within the bound of the search."""


class History:
    """Operations as they come; `now` is the clock they are timed by."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.operations: list[Operation] = []

    async def call(self, request: Any, answering: Awaitable[Any]) -> Any:
        """Await an answer and keep what became of the request.

        Args:
            request: What is asked; what the specification will be given.
            answering: Gives the answer, e.g. `ref.ask(request)`.

        Returns:
            The answer.

        Raises:
            Exception: What the ask failed with. A refusal is kept as the answer `RefusedWith`;
                what was not done is not kept; any other error leaves the outcome open.
        """
        called = self._now()
        answer: Any
        try:
            answer = await answering
        except Refused as refused:
            answer = RefusedWith(refused.code)
            self.operations.append(Operation(request, called, self._now(), answer))
            raise
        except BaseException as error:
            if not _was_not_done(error):
                self.operations.append(Operation(request, called))
            raise
        self.operations.append(Operation(request, called, self._now(), answer))
        return answer

    def check(
        self,
        specification: Callable[[S, Any], tuple[Any, S]],
        initial: S,
        *,
        by: Callable[[Any], Hashable] = lambda _: None,
        most: int = 200_000,
    ) -> None:
        """See that the history is linearizable.

        Args:
            specification: What a single copy does: given its state and a request, the answer
                and the next state. States are hashable, and never changed.
            initial: The state before the first request.
            by: Of a request, the object that it is about; each has a history of its own.
            most: How many configurations are looked at for each object.

        Raises:
            NotLinearizable: It is not.
            SearchTooLarge: That was not found out.
        """
        parts: dict[Hashable, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            parts[by(operation.request)].append(operation)
        for operations in parts.values():
            linearize(operations, specification, initial, most=most)


def _was_not_done(error: BaseException) -> bool:
    outcome = getattr(error, "outcome", None)
    return isinstance(error, _NOTHING_DONE) if outcome is None else outcome == "not sent"


def linearize(
    operations: Sequence[Operation],
    specification: Callable[[S, Any], tuple[Any, S]],
    initial: S,
    *,
    most: int = 200_000,
) -> None:
    """See that one order explains the operations on one object; see `History.check`.

    Args:
        operations: All of them, in any order.
        specification: What a single copy does.
        initial: Its first state.
        most: How many configurations are looked at.

    Raises:
        NotLinearizable: None does.
        SearchTooLarge: That was not found out.
    """
    _Search(sorted(operations, key=lambda each: each.called), specification, initial).run(most)


class _Search(Generic[S]):
    """The search: a list of calls and returns in the order of time, out of which goes what is done.

    The list is doubly linked through two arrays, so that an operation goes and comes back in
    its place. Entry 0 is the head; operation i has the entries 2i + 1 (call) and 2i + 2 (return).
    """

    def __init__(
        self,
        operations: list[Operation],
        specification: Callable[[S, Any], tuple[Any, S]],
        initial: S,
    ) -> None:
        self._operations = operations
        self._specification = specification
        self._state = initial
        self._done = 0  # a bit for each operation
        self._open = sum(each.known for each in operations)
        self._before_it = _alike(operations)
        self._stack: list[tuple[int, S]] = []
        self._furthest: tuple[int, int, S] = (-1, 0, initial)
        entries = [
            entry
            for place, each in enumerate(operations)
            for entry in ((each.called, 0, 2 * place + 1), (each.returned, 1, 2 * place + 2))
        ]
        # At one instant calls come before returns: they are taken to overlap.
        order = [0, *(entry for _, _, entry in sorted(entries)), len(entries) + 1]
        self._next = [0] * (len(entries) + 2)
        self._before = [0] * (len(entries) + 2)
        for one, other in itertools.pairwise(order):
            self._next[one], self._before[other] = other, one

    def run(self, most: int) -> None:
        """Search until all that is known is explained, or nothing is left to try.

        While something known is open its return is in the list, before those that never came:
        so the end of the list is never reached.
        """
        seen: set[tuple[int, S]] = set()
        entry = self._next[0]
        while self._open:
            place = (entry - 1) // 2
            if entry % 2:
                entry = self._try(place, seen)
                if len(seen) > most:
                    raise SearchTooLarge(
                        f"more than {most:,} configurations of {len(self._operations)} operations; "
                        "check each object by itself (by=), or a shorter history"
                    )
                continue
            self._note_furthest(place)
            if not self._stack:
                self._fail()
            entry = self._take_back()

    def _try(self, place: int, seen: set[tuple[int, S]]) -> int:
        """Let an operation come next, where its answer allows that; the entry to go on with."""
        operation = self._operations[place]
        alike = self._before_it[place]
        if alike is not None and not self._done >> alike & 1:
            return self._next[2 * place + 1]
        answer, state = self._specification(self._state, operation.request)
        done = self._done | 1 << place
        if (operation.known and answer != operation.answer) or (done, state) in seen:
            return self._next[2 * place + 1]
        seen.add((done, state))
        self._stack.append((place, self._state))
        self._state, self._done = state, done
        self._open -= operation.known
        for entry in (2 * place + 1, 2 * place + 2):
            self._next[self._before[entry]] = self._next[entry]
            self._before[self._next[entry]] = self._before[entry]
        return self._next[0]

    def _take_back(self) -> int:
        """Undo the latest operation; the entry to go on with."""
        place, self._state = self._stack.pop()
        self._done ^= 1 << place
        self._open += self._operations[place].known
        for entry in (2 * place + 2, 2 * place + 1):
            self._next[self._before[entry]] = entry
            self._before[self._next[entry]] = entry
        return self._next[2 * place + 1]

    def _note_furthest(self, place: int) -> None:
        if len(self._stack) > self._furthest[0]:
            self._furthest = (len(self._stack), place, self._state)

    def _fail(self) -> None:
        done, place, state = self._furthest
        stuck = self._operations[place]
        near = [
            each
            for each in self._operations
            if each is not stuck and each.called <= stuck.returned and each.returned >= stuck.called
        ]
        raise NotLinearizable(stuck, state, done, near[:20])


def _alike(operations: Sequence[Operation]) -> list[int | None]:
    """Of each unanswered operation the one before it that asked for the same; of others none."""
    latest: dict[Any, int] = {}
    before: list[int | None] = []
    for place, each in enumerate(operations):
        before.append(None)
        if not each.known:
            with contextlib.suppress(TypeError):  # it cannot be looked up: it stands alone
                before[place] = latest.get(each.request)
                latest[each.request] = place
    return before
