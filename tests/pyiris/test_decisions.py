"""The pure parts: deadlines, limits, the way back."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.testing import ManualClock
from irismq_runtime.deadline_table import DeadlineTable, ExpiryTimer
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.pyiris import Allowance, Backoff, Limits, Options
from irismq_runtime.pyiris.limits import Quota
from irismq_runtime.pyiris.options import milliseconds
from irismq_runtime.pyiris.reconnect import Attempts, patience

TIMES = st.floats(min_value=0, max_value=1e6)


@given(st.lists(st.tuples(TIMES, st.booleans()), max_size=50), st.lists(TIMES, max_size=10))
def test_nothing_expires_early_late_or_twice(
    added: list[tuple[float, bool]], looks: list[float]
) -> None:
    grain = 0.005
    deadlines = DeadlineTable[int](grain)
    due_at = {}
    for key, (at, taken_back) in enumerate(added):
        bucket = deadlines.add(key, at)
        due_at[key] = at
        if taken_back:
            bucket.pop(key)
            del due_at[key]
    for now in sorted(looks):
        upcoming = deadlines.next()
        for key in deadlines.due(now):
            assert due_at.pop(key) <= now + 1e-4
        assert all(at > now - grain - 1e-4 for at in due_at.values())
        if upcoming is not None and upcoming <= now:
            assert deadlines.next() is None or deadlines.next() > upcoming
    assert len(deadlines) == len(due_at)


def test_one_timer_serves_many_deadlines() -> None:
    clock = ManualClock()
    expired: list[int] = []
    expiry = ExpiryTimer(clock, expired.extend)
    for key in range(1000):
        expiry.add(key, clock.monotonic() + 1.0)
    assert clock.pending == 1
    bucket = expiry.add(5000, clock.monotonic() + 0.5)
    assert clock.pending == 1
    bucket.pop(5000)
    clock.advance(0.9)
    assert expired == []
    clock.advance(0.11)
    assert expired == list(range(1000))
    assert clock.pending == 0


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_its_bounds(attempt: int, sample: float) -> None:
    policy = Backoff(first=0.1, longest=5.0, factor=2.0, jitter=0.5)
    full = min(5.0, 0.1 * 2.0 ** min(attempt, 60))
    assert full / 2 <= policy.delay(attempt, sample) <= full


def test_many_clients_do_not_come_back_in_step() -> None:
    rng = random.Random(3)
    policy = Backoff(first=1.0)
    delays = sorted(Attempts(policy).next(rng.random())[1] for _ in range(300))
    assert delays[-1] - delays[0] > 0.45
    densest = max(sum(1 for other in delays if delay <= other < delay + 0.05) for delay in delays)
    assert densest < 60, "300 clients spread over half a second"


def test_a_handshake_that_was_overdue_is_waited_for_longer() -> None:
    assert [patience(3.0, n) for n in (0, 1, 3, 4, 10_000)] == [3.0, 6.0, 24.0, 30.0, 30.0]
    assert patience(60.0, 5) == 60.0


def test_only_a_link_that_held_resets_the_delay() -> None:
    attempts = Attempts(Backoff(first=0.1, stable=5.0))
    for _ in range(4):
        attempts, _delay = attempts.after_loss(1.0).next(0.0)
    assert attempts.failed == 4
    assert attempts.after_loss(5.0).failed == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Backoff(first=0),
        lambda: Backoff(first=2.0, longest=1.0),
        lambda: Backoff(jitter=1.0),
        lambda: Allowance(0, 1),
        lambda: Limits(unsent=0),
        lambda: Options(heartbeat=0),
        lambda: Options(hold=-1),
        lambda: Options(connect_timeout=math.inf),
    ],
)
def test_options_without_meaning_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="="):
        wrong()  # type: ignore[operator]  # a list of calls


@given(st.lists(st.integers(1, 400), max_size=60))
def test_a_meter_never_goes_over_and_comes_back_to_zero(sizes: list[int]) -> None:
    quota = Quota(Allowance(count=5, size=1000))
    taken = [size for size in sizes if quota.take(size)]
    assert len(taken) == quota.count <= 5
    assert sum(taken) == quota.size <= 1000
    assert quota.refused == len(sizes) - len(taken)
    for size in taken:
        quota.give(size)
    assert quota.count == quota.size == 0


def test_a_throttle_reports_once_a_second_and_loses_no_count() -> None:
    throttle = Throttle(1.0)
    reported = [throttle.note(now / 10) for now in range(35)]
    assert [count for count in reported if count] == [1, 10, 10, 10]


@pytest.mark.parametrize(
    ("timeout", "expected"), [(1e-9, 1), (0.001, 1), (0.05, 50), (0.0501, 51), (2.5, 2500)]
)
def test_milliseconds_are_rounded_up(timeout: float, expected: int) -> None:
    assert milliseconds(timeout) == expected
