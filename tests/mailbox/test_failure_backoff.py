"""Failure slows a mailbox by one step per burst, and is always left (cases 7, 8)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.mailbox.consume.failure_backoff import FailureBackoff


def make(after: int = 3) -> FailureBackoff:
    return FailureBackoff(random.Random(7), after=after, base=0.25, cap=5.0)


def slowed(now: float = 10.0) -> FailureBackoff:
    backoff = make()
    for _ in range(3):
        backoff.failed(received_at=now - 1, now=now)
    assert backoff.level == 1
    return backoff


def test_failures_among_successes_slow_nobody():
    backoff = make()
    for turn in range(100):
        backoff.failed(received_at=turn, now=turn)
        backoff.failed(received_at=turn, now=turn)
        backoff.succeeded()
    assert backoff.level == 0
    assert backoff.limit(50, 100.0) == 50


def test_fifty_failures_at_one_instant_are_one_step():
    backoff = make()
    raised = [backoff.failed(received_at=1.0, now=2.0) for _ in range(50)]
    assert raised.count(True) == 1
    assert backoff.level == 1


def test_messages_in_flight_at_the_step_say_nothing_new_later():
    backoff = make()
    for moment in range(50):
        backoff.failed(received_at=1.0, now=2.0 + moment)
    assert backoff.level == 1


def test_after_the_pause_one_message_is_tried():
    backoff = slowed()
    assert backoff.limit(100, 10.0) == 0
    assert backoff.limit(100, backoff.until) == 1


def test_one_success_brings_the_full_rate_back():
    backoff = slowed()
    assert backoff.succeeded()
    assert backoff.limit(100, 10.0) == 100
    assert backoff.calm


def test_a_failed_trial_is_another_step_with_a_longer_pause():
    backoff = slowed()
    first = backoff.until - 10.0
    trial = backoff.until
    assert backoff.failed(received_at=trial, now=trial)
    assert backoff.level == 2
    assert backoff.until - trial > first / 2
    assert backoff.limit(100, backoff.until) == 1


def test_a_trial_given_back_without_penalty_leaves_room_for_the_next():
    backoff = slowed()
    # Nothing is reported for it: the limit alone decides, and it goes on granting.
    assert [backoff.limit(100, backoff.until + later) for later in (0, 1, 60)] == [1, 1, 1]


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 2**32))
def test_it_is_never_silent_for_long_and_always_left(outcomes: list[bool], seed: int):
    backoff = FailureBackoff(random.Random(seed), after=3, base=0.25, cap=5.0)
    now = 0.0
    for success in outcomes:
        now = max(now, backoff.until) + 0.001
        if success:
            backoff.succeeded()
            assert backoff.limit(10, now) == 10
        else:
            backoff.failed(received_at=now, now=now)
            assert backoff.until - now <= 5.0
    assert backoff.limit(10, max(now, backoff.until)) >= 1


@pytest.mark.parametrize("window", [0, 1, 7])
def test_it_never_grants_more_than_the_window(window: int):
    backoff = slowed()
    assert backoff.limit(window, backoff.until) <= window
