"""The delays between restarts: Pekko's figures, caps, chance and refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.backoff import Backoff, checked_backoff
from supervisors.errors import SpecError


def test_it_doubles_up_to_the_cap():
    backoff = Backoff(3, 30, 0.0)
    assert [backoff.delay(k, lambda: 0.0) for k in range(6)] == [3, 6, 12, 24, 30, 30]


def test_the_chance_is_added_after_the_cap():
    assert Backoff(3, 30, 0.2).delay(9, lambda: 0.5) == pytest.approx(33.0)


def test_the_quiet_time_is_half_of_both_unless_given():
    assert Backoff(1, 9).quiet == 5.0
    assert Backoff(1, 9, 0.1, 60.0).quiet == 60.0


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 10),
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_below_the_least_nor_above_the_spread_cap(low, more, jitter, k, chance):
    backoff = Backoff(low, low + more, jitter)
    delay = backoff.delay(k, lambda: chance)
    assert backoff.min <= delay <= backoff.max * (1 + jitter)


def test_a_tuple_is_a_backoff():
    assert checked_backoff((1, 30, 0.2)) == Backoff(1, 30, 0.2)
    assert checked_backoff((1, 30)) == Backoff(1, 30)
    assert checked_backoff(None) is None


@pytest.mark.parametrize(
    "value",
    [
        5,
        (1,),
        (1, 2, 3, 4, 5),
        (2, 1),
        (-1, 1),
        (0, float("inf")),
        (0, float("nan")),
        ("1", 2),
        (True, 2),
        (1, 2, None),
    ],
)
def test_what_is_no_backoff_is_refused_by_name(value):
    with pytest.raises(SpecError) as caught:
        checked_backoff(value)
    assert caught.value.reason == "invalid_backoff"
    assert caught.value.value is value
