"""A planted leak is found; work in hand, spikes and a warm-up are no leak."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.judgement import ALLOWANCES, LEAST, Allowance, judge

SETTLE = 300.0
PERIOD = 6.0
MIB = 1024 * 1024


def half_an_hour(value, *, samples=300):
    times = [n * PERIOD for n in range(samples)]
    return times, [value(at) for at in times]


def kind(value, name="rss", **options):
    times, values = half_an_hour(value, **options)
    return judge(times, values, settle=SETTLE, allowance=ALLOWANCES[name]).kind


def test_a_constant_is_flat():
    assert kind(lambda at: 80 * MIB) == "flat"


def test_what_grows_while_it_warms_up_alone_is_flat():
    assert kind(lambda at: 80 * MIB + min(at, SETTLE) * 100_000) == "flat"


def test_a_leak_of_half_a_megabyte_a_minute_is_found():
    assert kind(lambda at: 80 * MIB + at * MIB / 120) == "grows"


@pytest.mark.parametrize(
    ("name", "per_second"), [("fds", 1 / 60), ("threads", 1 / 120), ("tasks", 1 / 40)]
)
def test_one_descriptor_thread_or_task_that_stays_now_and_then_is_found(name, per_second):
    assert kind(lambda at: 30 + int(at * per_second), name) == "grows"


def test_a_leak_under_the_work_in_hand_is_found():
    rng = random.Random(130)
    leak = lambda at: 80 * MIB + at * MIB / 60 + rng.random() * 20 * MIB
    assert kind(leak) == "grows"


def test_work_in_hand_is_no_leak():
    rng = random.Random(130)
    assert kind(lambda at: 80 * MIB + (rng.random() ** 2) * 40 * MIB) == "flat"


def test_a_saw_of_collections_is_no_leak():
    assert kind(lambda at: 80 * MIB + (at % 97) * MIB / 4) == "flat"


def test_what_shrinks_is_flat():
    assert kind(lambda at: 80 * MIB - at * 1000) == "flat"


def test_a_run_that_ends_too_early_is_not_judged():
    times, values = half_an_hour(lambda at: 1.0, samples=int(SETTLE / PERIOD) + 3 * LEAST - 1)
    assert judge(times, values, settle=SETTLE, allowance=Allowance(0, 1)).kind == "too short"
    times, values = half_an_hour(lambda at: 1.0, samples=int(SETTLE / PERIOD) + 3 * LEAST)
    assert judge(times, values, settle=SETTLE, allowance=Allowance(0, 1)).kind == "flat"


def test_the_growth_is_told_by_the_hour():
    times, values = half_an_hour(lambda at: 1000 + at)
    verdict = judge(times, values, settle=SETTLE, allowance=Allowance(0, 1))
    assert verdict.per_hour == pytest.approx(3600)
    assert verdict.grown == pytest.approx(verdict.after - verdict.before)
    with pytest.raises(ValueError, match="times"):
        judge(times, values[:-1], settle=SETTLE, allowance=Allowance(0, 1))


@given(
    base=st.floats(10, 1e9),
    share=st.floats(0.01, 0.2),
    noise=st.lists(st.floats(0, 1), min_size=60, max_size=300),
    leak=st.floats(2.5, 100),
)
def test_a_leak_of_more_than_the_allowance_is_found_whatever_lies_on_top(base, share, noise, leak):
    """`leak`: what is lost over the run, in allowances; `noise` is up to half of one."""
    allowance = Allowance(share, 0.0)
    unit = allowance.of(base)
    times = [float(n) for n in range(len(noise))]
    flat = [base + 0.5 * unit * n for n in noise]
    grown = [value + leak * unit * n / len(noise) for n, value in enumerate(flat)]
    assert judge(times, flat, settle=0.0, allowance=allowance).kind == "flat"
    verdict = judge(times, grown, settle=0.0, allowance=Allowance(0.0, unit))
    assert verdict.kind == "grows"
