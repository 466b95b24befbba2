"""Whether one order explains what clients saw: against all orders, and on known histories."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.errors import AskTimeout, ConnectionLost, NoSuchService, Overloaded, Refused
from irismq_runtime.simulation.history import (
    History,
    NotLinearizable,
    Operation,
    RefusedWith,
    SearchTooLarge,
    linearize,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Write:
    value: int
    key: str = ""


@dataclass(frozen=True)
class Read:
    key: str = ""


def register(value: int, request: Read | Write) -> tuple[int, int]:
    return (value, value) if isinstance(request, Read) else (request.value, request.value)


def counter(count: int, request: int) -> tuple[int, int]:
    """`request` is added; the answer is the sum."""
    return count + request, count + request


def by_all_orders(operations: Sequence[Operation], initial: int) -> bool:
    """The definition, word for word: some unanswered ones left out, and one order of the rest."""
    unknown = [each for each in operations if not each.known]
    known = [each for each in operations if each.known]
    for size in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, size):
            for order in itertools.permutations([*known, *some]):
                if explains(order, initial):
                    return True
    return False


def explains(order: Sequence[Operation], initial: int) -> bool:
    for one, other in itertools.combinations(order, 2):
        if other.returned < one.called:
            return False
    state = initial
    for each in order:
        answer, state = register(state, each.request)
        if each.known and answer != each.answer:
            return False
    return True


operations = st.builds(
    lambda request, called, length, answer: Operation(request, called, called + length, answer),
    st.one_of(st.just(Read()), st.builds(Write, st.integers(1, 3))),
    st.integers(0, 6),
    st.one_of(st.integers(1, 4), st.just(math.inf)),
    st.integers(0, 3),
).map(
    lambda each: (
        Operation(each.request, each.called, each.returned, each.request.value)
        if isinstance(each.request, Write) and each.known
        else each
    )
)


@given(st.lists(operations, max_size=6))
def test_it_says_what_trying_all_orders_says(history: list[Operation]) -> None:
    try:
        linearize(history, register, 0)
    except NotLinearizable:
        assert not by_all_orders(history, 0)
    else:
        assert by_all_orders(history, 0)


def test_a_read_may_see_a_write_that_overlaps_it_or_not_yet() -> None:
    write = Operation(Write(1), 0.0, 10.0, 1)
    linearize([write, Operation(Read(), 2.0, 3.0, 0), Operation(Read(), 4.0, 5.0, 1)], register, 0)


def test_a_read_that_goes_back_behind_another_is_named_with_what_was_beside_it() -> None:
    write = Operation(Write(1), 0.0, 10.0, 1)
    history = [write, Operation(Read(), 2.0, 3.0, 1), Operation(Read(), 4.0, 5.0, 0)]
    with pytest.raises(NotLinearizable) as caught:
        linearize(history, register, 0)
    assert caught.value.operation is history[2]
    assert (caught.value.state, caught.value.done) == (1, 2)
    assert "no order explains 4.000 to 5.000 s: Read(key='') -> 0" in str(caught.value)
    assert "0.000 to 10.000 s: Write(value=1, key='') -> 1" in str(caught.value)


def test_what_was_not_answered_may_have_happened_late_or_never() -> None:
    lost = Operation(5, 0.0)
    linearize([lost, Operation(1, 1.0, 2.0, 1), Operation(1, 3.0, 4.0, 7)], counter, 0)
    linearize([lost, Operation(1, 1.0, 2.0, 1), Operation(1, 3.0, 4.0, 2)], counter, 0)
    with pytest.raises(NotLinearizable):  # and not twice
        linearize([lost, Operation(1, 1.0, 2.0, 6), Operation(1, 3.0, 4.0, 12)], counter, 0)


def test_an_addition_that_was_answered_and_is_lost_is_found() -> None:
    with pytest.raises(NotLinearizable, match="after 2 operations the state was 2"):
        linearize(
            [Operation(1, n, n + 0.5, n + 1) for n in (0, 1)] + [Operation(1, 2, 3, 2)], counter, 0
        )


def test_a_long_history_of_many_clients_is_searched() -> None:
    chance = random.Random(5)
    state, history = 0, []
    for place in range(3000):
        answer, state = counter(state, 1)
        early, late = chance.uniform(0, 3), chance.uniform(0, 3)
        if chance.random() < 0.002:
            history.append(Operation(1, place - early))
        else:
            history.append(Operation(1, place - early, place + late, answer))
    linearize(history, counter, 0)
    wrong = [*history, Operation(1, 2990.0, 2999.0, 5)]
    with pytest.raises(NotLinearizable):
        linearize(wrong, counter, 0)


def test_many_unanswered_requests_for_the_same_are_searched() -> None:
    history = [Operation(1, 0.0) for _ in range(200)]
    history += [Operation(1, n, n + 0.5, 50 + 2 * n) for n in range(1, 50)]
    linearize(history, counter, 0)
    with pytest.raises(NotLinearizable):
        linearize([*history, Operation(1, 60.0, 61.0, 251)], counter, 0)


def test_a_search_without_an_end_is_given_up_and_says_so() -> None:
    history = [Operation(Write(n), 0.0) for n in range(40)]
    history.append(Operation(Read(), 1.0, 2.0, 99))
    with pytest.raises(SearchTooLarge, match="more than 1,000 configurations of 41 operations"):
        linearize(history, register, 0, most=1000)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


async def ends(outcome: Any) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def test_each_object_has_a_history_of_its_own() -> None:
    history = History(Clock())
    for key in "xyxy":
        await history.call(Write(ord(key), key), ends(ord(key)))
    assert await history.call(Read("x"), ends(ord("x"))) == ord("x")
    history.check(register, 0, by=lambda request: request.key)
    with pytest.raises(NotLinearizable):
        history.check(register, 0)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (AskTimeout("a", "Read", 1.0, "sent"), [Operation(1, 1.0)]),
        (ConnectionLost("relay", "unknown"), [Operation(1, 1.0)]),
        (ConnectionLost("relay", "not sent"), []),
        (NoSuchService("a"), []),
        (Overloaded("full"), []),
        (Refused("no", code="sold-out"), [Operation(1, 1.0, 2.0, RefusedWith("sold-out"))]),
        (ValueError("boom"), [Operation(1, 1.0)]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_became_of_a_request_is_kept_as_far_as_it_is_known(
    error: Exception, kept: list[Operation]
) -> None:
    history = History(Clock())
    with pytest.raises(type(error)):
        await history.call(1, ends(error))
    assert history.operations == kept
