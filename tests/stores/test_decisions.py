"""What stands in a transaction, decided from what was read."""

from __future__ import annotations

import pytest

from irismq_runtime.ports.state_store import (
    ABSENT,
    AnswerRight,
    CommitLost,
    HandledRight,
    OwnedRight,
    RightsGone,
    RightState,
    StateKey,
    row_number,
)
from irismq_runtime.stores.decisions import (
    NOTHING,
    Found,
    FoundRow,
    Standing,
    check_commits,
    latest_claim,
    order_pair,
    refusal,
)
from tests.contracts.state_store_support import ADA, BOB, a_commit, a_message

A, B = b"a" * 16, b"b" * 16


def row(to: StateKey = ADA, *, dead: bool = False, previous: bytes | None = None) -> FoundRow:
    return FoundRow(to, 0, dead, previous)


def test_where_the_version_fits_and_every_right_stands_nothing_is_in_the_way():
    rights = [
        OwnedRight(A),
        OwnedRight(B),
        HandledRight("mailbox", b"1"),
        AnswerRight("o-1", b"", b"", 1.0),
    ]
    commit = a_commit(ADA, 7, b"s", rights=rights)
    standing = Standing({A: row(), B: row(previous=A)})
    assert refusal(commit, Found(7, b"c"), standing) is None
    assert refusal(a_commit(ADA, ABSENT), NOTHING, standing) is None


@pytest.mark.parametrize("found", [NOTHING, Found(6, b"c"), Found(8, b"c")])
def test_another_version_is_in_the_way_of_everything(found: Found):
    assert refusal(a_commit(ADA, 7), found, Standing()) == CommitLost(*found)


@pytest.mark.parametrize(
    ("standing", "states"),
    [
        (Standing({A: row()}), ("stands", "gone")),
        (Standing({A: row(), B: row(BOB)}), ("stands", "gone")),
        (Standing({A: row(), B: row(dead=True)}), ("stands", "dead")),
        (Standing({A: row(), B: row(previous=b"c" * 16)}), ("stands", "early")),
        (Standing({A: row(previous=B), B: row()}), ("early", "stands")),
        (Standing({A: row(previous=b"c"), B: row(previous=A)}), ("early", "early")),
    ],
)
def test_one_right_that_does_not_stand_is_in_the_way_of_all(standing: Standing, states: tuple):
    commit = a_commit(ADA, 7, b"s", rights=[OwnedRight(A), OwnedRight(B)])
    expected = RightsGone(tuple(RightState(state) for state in states))
    assert refusal(commit, Found(7, b"c"), standing) == expected


def test_a_claim_is_the_version_of_the_latest_row_that_is_not_there():
    rights = [
        OwnedRight(A, row_number(9, 3)),
        OwnedRight(B, row_number(5, 1)),
        HandledRight("m", b"1"),
    ]
    assert latest_claim(rights, {}) == 9
    assert latest_claim(rights, {A: row()}) == 5
    assert latest_claim(rights, {A: row(), B: row()}) == ABSENT


def test_too_many_messages_in_one_commit_are_refused():
    message = a_message()
    check_commits([a_commit(ADA, staged=[message] * (1 << 16))])
    with pytest.raises(ValueError, match="65537 messages"):
        check_commits([a_commit(ADA, staged=[message] * ((1 << 16) + 1))])


def test_pairs_of_sender_and_receiver_are_told_apart_by_a_number_of_64_bits():
    keys = [StateKey("a", "b"), StateKey("ab", ""), StateKey("", "ab"), StateKey("b", "a")]
    numbers = {order_pair(one, two) for one in keys for two in keys}
    assert len(numbers) == 16
    assert all(-(1 << 63) <= number < 1 << 63 for number in numbers)
