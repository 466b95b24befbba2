"""The window of restarts: what stays, what goes, and what does not age."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisors._intensity import Intensity, Window


def never_held(_name):
    return False


def passes(intensity, times, held=never_held):
    """For each restart at these times: whether the limit is passed."""
    window, out = Window(), []
    for now in times:
        window, over = window.add(intensity, "a", now, held)
        out.append(over)
    return out


def test_an_entry_exactly_as_old_as_the_window_still_counts():
    assert passes(Intensity(1, 5.0), [0.0, 5.0]) == [False, True]
    assert passes(Intensity(1, 5.0), [0.0, 5.001]) == [False, False]


def test_intensity_zero_gives_up_at_the_first_restart():
    assert passes(Intensity(0, 5.0), [7.0]) == [True]


def test_the_default_is_three_in_five_seconds():
    assert passes(Intensity(), [0.0, 1.0, 2.0, 3.0]) == [False, False, False, True]


def test_one_list_for_all_children():
    window = Window()
    for now, name in enumerate("abc"):
        window, over = window.add(Intensity(2, 5.0), name, now, never_held)
    assert over


def test_no_limit_keeps_no_entries():
    window, over = Window().add(Intensity(None, 5.0), "a", 0.0, never_held)
    assert (window, over) == (Window(), False)


@given(
    st.integers(0, 4),
    st.integers(1, 6),
    st.lists(st.integers(0, 4), max_size=30),
)
def test_it_is_otps_window_where_restarts_take_no_time(limit, seconds, steps):
    times, now = [], 0
    for step in steps:
        now += step
        times.append(now)
    expected = [
        sum(1 for earlier in times[: place + 1] if earlier >= at - seconds) > limit
        for place, at in enumerate(times)
    ]
    # Given up is given up: what would come later is not asked.
    if True in expected:
        expected = expected[: expected.index(True) + 1]
    assert passes(Intensity(limit, seconds), times[: len(expected)]) == expected


def test_entries_of_a_child_in_restart_do_not_age():
    in_restart = passes(Intensity(3, 5.0), [0.0, 10.0, 20.0, 30.0], held=lambda name: name == "a")
    assert in_restart == [False, False, False, True]
    assert not any(passes(Intensity(3, 5.0), [0.0, 10.0, 20.0, 30.0]))


def test_the_time_of_a_restart_is_not_counted():
    window, _ = Window().add(Intensity(1, 5.0), "a", 0.0, never_held)
    window = window.resume("a", 0.0, 60.0)
    _, over = window.add(Intensity(1, 5.0), "a", 64.0, never_held)
    assert over
    _, over = window.add(Intensity(1, 5.0), "a", 66.0, never_held)
    assert not over


def test_only_the_restarted_child_is_moved():
    window, _ = Window().add(Intensity(1, 5.0), "b", 0.0, never_held)
    window = window.resume("a", 0.0, 60.0)
    _, over = window.add(Intensity(1, 5.0), "a", 60.0, never_held)
    assert not over


def test_an_entry_never_moves_into_the_future():
    window, _ = Window().add(Intensity(9, 5.0), "a", 0.0, never_held)
    window, _ = window.add(Intensity(9, 5.0), "a", 10.0, lambda name: True)
    assert [entry.time for entry in window.resume("a", 0.0, 12.0).entries] == [12.0, 12.0]
