"""The memory of deliveries that began no handler: bounded, and below what the broker counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.mailbox.attempts import AttemptCounter


def name(number: int) -> tuple[str, str, bytes, int]:
    return ("t", "c", b"%016x" % number, number)


ONE = name(1)


@given(st.lists(st.booleans(), max_size=40))
def test_an_attempt_is_a_delivery_that_began_its_handler(life: list[bool]):
    memory, begun = AttemptCounter(), 0
    for before, begins in enumerate(life):
        assert memory.attempt(ONE, before + 1) == begun + 1
        if begins:
            begun += 1
        else:
            memory.discount(ONE)
    assert memory.attempt(ONE, len(life) + 1) == begun + 1


@given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 5))
def test_after_the_broker_lost_its_count_what_begins_counts_again(
    noted: int, count: int, more: int
):
    """Deliveries noted beyond the broker's count must not pay for those that begin later."""
    memory = AttemptCounter()
    for _ in range(noted):
        memory.discount(ONE)
    first = memory.attempt(ONE, count)
    assert first == max(1, count - noted)
    for later in range(1, more + 1):
        assert memory.attempt(ONE, count + later) == first + later


@given(st.integers(1, 8), st.lists(st.integers(0, 30), max_size=100))
def test_the_latest_are_known_and_twice_as_many_at_most(size: int, numbers: list[int]):
    memory, notes = AttemptCounter(size), dict.fromkeys(range(31), 0)
    for number in numbers:
        memory.discount(name(number))
        notes[number] += 1
    latest = list(dict.fromkeys(reversed(numbers)))
    known = [n for n in latest if memory.attempt(name(n), 1000) < 1000]
    assert set(latest[:size]) <= set(known)
    assert len(known) <= 2 * size
    assert all(memory.attempt(name(n), 1000) >= 1000 - notes[n] for n in known)


@pytest.mark.parametrize(
    "other",
    [("u", *ONE[1:]), ("t", "d", *ONE[2:]), (*ONE[:2], b"0" * 16, 1), (*ONE[:3], 2)],
    ids=["topic", "channel", "id", "stamp"],
)
def test_another_message_is_another_message(other: tuple[str, str, bytes, int]):
    memory = AttemptCounter()
    memory.discount(ONE)
    assert memory.attempt(other, 2) == 2
    assert memory.attempt(ONE, 2) == 1
