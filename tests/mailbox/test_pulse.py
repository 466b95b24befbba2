"""A loop that stood still dates back what it reads next (case 14)."""

from __future__ import annotations

from irismq_runtime.mailbox.pulse import Pulse


def test_arrivals_count_from_now_while_the_loop_runs():
    pulse = Pulse(0.0)
    for second in range(1, 10):
        assert pulse.beat(float(second))
        assert pulse.arrival(second + 0.5) == second + 0.5


def test_what_is_read_after_a_stall_is_dated_back_to_the_beat_before_it():
    pulse = Pulse(0.0)
    pulse.beat(1.0)
    assert pulse.arrival(20.0) == 1.0  # read before the late beat
    assert not pulse.beat(20.0)
    assert pulse.arrival(20.1) == 1.0  # and right after it
    pulse.beat(21.0)
    assert pulse.arrival(21.5) == 21.5
