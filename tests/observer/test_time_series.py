"""Numbers over time: when a queue grows, when a place crashes again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.observer.time_series import RestartHistory, TimeSeries


def series(*values, step=0.5, start=100.0):
    made = TimeSeries()
    for number, value in enumerate(values):
        made.add(start + number * step, value)
    return made, start + (len(values) - 1) * step


def test_a_rate_is_what_came_in_the_last_seconds():
    counted, now = series(0, 5, 10, 15, 20)
    assert counted.rate(now) == 10.0
    assert counted.rate(now + 10) is None
    assert TimeSeries().rate(now) is None
    assert series(7)[0].rate(100.0) is None


def test_a_counter_that_starts_again_is_no_negative_rate():
    counted, now = series(1000, 1010, 4, 8)
    assert counted.grown(now, 30.0) == 10 + 4 + 4
    jitter, now = series(1000, 999, 1001)
    assert jitter.grown(now, 30.0) == 2


def test_a_queue_grows_when_more_comes_than_is_taken():
    growing, now = series(0, 20, 40)
    assert growing.grows(now)
    assert not growing.grows(now + 60), "it is long ago"


def test_a_queue_that_is_long_falls_or_trembles_does_not_grow():
    for values in (
        (5000, 5000, 5000, 5000),
        (500, 300, 100, 0),
        (0, 500, 100, 50),
        (3, 5, 4, 9),
        (0, 0, 0, 900),
    ):
        calm, now = series(*values)
        assert not calm.grows(now), values


def test_two_values_or_a_moment_are_no_trend():
    short, now = series(0, 500)
    assert not short.grows(now)
    quick, now = series(0, 500, 1000, step=0.1)
    assert not quick.grows(now)


@given(st.lists(st.integers(0, 10**9), max_size=400))
def test_a_series_is_bounded_and_its_growth_never_negative(values):
    made, now = series(*values, step=0.01) if values else (TimeSeries(), 0.0)
    assert made.grown(now, 1e9) >= 0
    assert len(made._values) <= 200


def test_restarts_in_a_row_are_a_loop_and_stop_being_one():
    restarts = RestartHistory()
    restarts.add(100.0, 7)
    assert not restarts.loops(100.0), "what was before is not known"
    restarts.add(101.0, 8)
    assert not restarts.loops(101.0)
    restarts.add(102.0, 9)
    assert restarts.loops(102.0)
    assert not restarts.loops(106.0)
    restarts.add(107.0, 10)
    assert restarts.loops(107.0), "three within a quarter of a minute"
    assert not restarts.loops(130.0)


def test_a_count_that_falls_is_of_a_new_slot():
    restarts = RestartHistory()
    restarts.add(1.0, 3)
    restarts.add(2.0, 0)
    assert restarts.within(2.0, 10.0) == 0
    restarts.add(3.0, 2)
    assert restarts.loops(3.0)


def test_what_is_looked_at_seldom_has_a_rate_and_grows_all_the_same():
    counted, now = series(0, 50, 100, step=5.0)
    assert counted.rate(now) is None
    assert counted.rate(now, gap=5.0) == 10.0
    assert not counted.grows(now)
    assert counted.grows(now, gap=5.0)
