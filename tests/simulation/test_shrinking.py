"""Of many suspects the few that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.simulation.shrinking import shrink

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


@given(st.integers(0, 40), st.data())
def test_exactly_what_is_needed_is_left(size: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.integers(0, size - 1))) if size else set()
    shrunk = shrink(range(size), lambda part: needed <= set(part), most=10_000)
    assert shrunk.items == tuple(sorted(needed))
    assert shrunk.is_minimal


@given(st.randoms(use_true_random=False))
def test_no_single_one_can_be_left_out_whatever_the_answers(chance: random.Random) -> None:
    answers: dict[tuple[int, ...], bool] = {}

    def fails(part: Sequence[int]) -> bool:
        return answers.setdefault(tuple(part), chance.random() < 0.3)

    shrunk = shrink(range(9), fails, most=10_000)
    assert shrunk.is_minimal
    if shrunk.items != tuple(range(9)):
        assert answers[shrunk.items]
    if len(shrunk.items) > 1:
        for one in shrunk.items:
            assert not answers[tuple(each for each in shrunk.items if each != one)]


def test_nothing_is_left_of_what_fails_by_itself() -> None:
    shrunk = shrink(range(14), lambda _part: True)
    assert (shrunk.items, shrunk.is_minimal, shrunk.asked) == ((), True, 1)


def test_two_of_fourteen_take_few_questions_and_none_is_asked_twice() -> None:
    asked: list[tuple[int, ...]] = []

    def fails(part: Sequence[int]) -> bool:
        asked.append(tuple(part))
        return {3, 11} <= set(part)

    shrunk = shrink(range(14), fails)
    assert shrunk.items == (3, 11)
    assert len(asked) == len(set(asked)) == shrunk.asked <= 30


@pytest.mark.parametrize("most", [0, 1, 5])
def test_the_number_of_questions_has_a_bound(most: int) -> None:
    shrunk = shrink(range(14), lambda part: {3, 11} <= set(part), most=most)
    assert not shrunk.is_minimal
    assert shrunk.asked == most
    assert {3, 11} <= set(shrunk.items)
