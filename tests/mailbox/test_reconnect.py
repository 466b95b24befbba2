"""When to dial again: bounded, jittered, and never after close (cases 19, 36)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.mailbox.connect.reconnect import DialBudget, DialState, Reconnect


def make(seed: int = 1) -> Reconnect:
    return Reconnect(random.Random(seed), base=0.2, cap=3.0, stable_after=5.0)


def test_delays_double_up_to_the_cap_and_carry_jitter():
    machine = make()
    machine.start()
    for failures in range(12):
        expected = min(3.0, 0.2 * 2**failures)
        delay = machine.failed()
        assert expected * 0.5 <= delay <= expected
        machine.due()


def test_a_connection_that_does_not_last_does_not_reset_the_delay():
    machine = make()
    machine.start()
    for turn in range(8):
        machine.ready(now=turn)
        machine.lost(now=turn + 0.1)
        machine.due()
    assert machine.failures == 8


def test_a_stable_connection_starts_anew():
    machine = make()
    machine.start()
    for _ in range(5):
        machine.failed()
        machine.due()
    machine.ready(now=10.0)
    assert machine.lost(now=15.0) <= 0.3


def test_three_hundred_that_lost_the_same_broker_come_back_spread_out():
    delays = []
    for seed in range(300):
        machine = make(seed)
        machine.start()
        machine.ready(0.0)
        delays.append(machine.lost(100.0))
    assert max(delays) - min(delays) > 0.09
    busiest = max(sum(at <= d < at + 0.02 for d in delays) for at in [n / 100 for n in range(25)])
    assert busiest < 300 * 0.25


def test_dials_of_one_process_are_bounded_per_second():
    budget = DialBudget(50.0, burst=10)
    waits = sorted(budget.take(now=1000.0) for _ in range(100))
    assert waits[:10] == [0.0] * 10
    for second in range(3):
        assert sum(second < wait <= second + 1 for wait in waits) <= 50
    assert waits[-1] == pytest.approx(90 / 50)


def test_the_budget_refills():
    budget = DialBudget(10.0, burst=2)
    assert [budget.take(0.0), budget.take(0.0)] == [0.0, 0.0]
    assert budget.take(0.0) > 0
    assert budget.take(60.0) == 0.0


def test_nothing_leaves_closed():
    machine = make()
    machine.start()
    machine.close()
    machine.close()
    for event in (machine.start, machine.due, machine.failed, lambda: machine.ready(0.0)):
        with pytest.raises(ValueError, match="closed"):
            event()
    assert machine.state is DialState.CLOSED


@given(st.lists(st.sampled_from(["start", "ready", "failed", "lost", "due"]), max_size=30))
def test_events_that_do_not_fit_are_refused_and_change_nothing(events: list[str]):
    machine = make()
    calls = {
        "start": machine.start,
        "ready": lambda: machine.ready(0.0),
        "failed": machine.failed,
        "lost": lambda: machine.lost(0.0),
        "due": machine.due,
    }
    for event in events:
        before = machine.state
        try:
            calls[event]()
        except ValueError:
            assert machine.state is before
        else:
            assert machine.state is not before
