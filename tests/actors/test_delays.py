"""The one formula of growing delays: doubled, capped, then spread by chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.delays import exponential_delay

SECONDS = st.floats(0, 1e6)
CHANCES = st.floats(0, 1, exclude_max=True)


def test_it_doubles_up_to_the_cap():
    delays = [exponential_delay(k, 1.0, 10.0, 0.0, spread=(1.0, 1.0)) for k in range(6)]
    assert delays == [1, 2, 4, 8, 10, 10]


def test_it_is_drawn_from_half_to_all_of_it():
    assert exponential_delay(3, 1.0, 60.0, 0.0) == 4.0
    assert exponential_delay(3, 1.0, 60.0, 0.5) == 6.0
    assert exponential_delay(3, 1.0, 60.0, 1.0) == 8.0


def test_the_chance_is_added_after_the_cap():
    assert exponential_delay(9, 3.0, 30.0, 0.5, spread=(1.0, 1.2)) == pytest.approx(33.0)


def test_another_factor_grows_so_much_faster():
    delays = [exponential_delay(k, 1.0, 50.0, 1.0, factor=10.0) for k in range(3)]
    assert delays == [1, 10, 50]


def test_no_first_delay_is_no_delay_however_often_it_fails():
    assert exponential_delay(10**9, 0.0, 30.0, 0.9) == 0.0


@given(st.integers(0, 10**9), SECONDS, SECONDS, CHANCES, st.floats(1, 1000))
def test_it_lies_between_its_bounds_after_any_number_of_failures(k, first, more, chance, factor):
    delay = exponential_delay(k, first, first + more, chance, factor=factor)
    assert first / 2 <= delay <= first + more
