"""Requeue delays grow, are jittered, and are clamped before the wire (case 28)."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.mailbox.consume.requeue_delays import RequeueDelays
from irismq_runtime.mailbox.limits import milliseconds


def test_delays_grow_and_stay_below_the_cap():
    delays = RequeueDelays(random.Random(3), base=1.0, cap=60.0)
    for attempts in range(1, 40):
        expected = min(60.0, 2.0 ** (attempts - 1))
        assert expected / 2 <= delays.after(attempts) <= expected


def test_ten_hours_are_clamped_to_what_the_broker_takes():
    assert milliseconds(36_000.0, 3600.0) == 3_600_000


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(0.001, 1e6))
def test_any_delay_becomes_milliseconds_the_broker_takes(delay: float, longest: float):
    value = milliseconds(delay, longest)
    assert 0 <= value <= longest * 1000 + 1
    if 0 < delay <= longest:
        assert value / 1000 >= delay  # never before its time
