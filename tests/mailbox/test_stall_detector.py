"""A loop that stood still dates back what it reads next (case 14)."""

from __future__ import annotations

from irismq_runtime.mailbox.stall_detector import StallDetector


def test_arrivals_count_from_now_while_the_loop_runs():
    stalls = StallDetector(0.0)
    for second in range(1, 10):
        assert stalls.beat(float(second))
        assert stalls.earliest_push(second + 0.5) == second + 0.5


def test_what_is_read_after_a_stall_is_dated_back_to_the_beat_before_it():
    stalls = StallDetector(0.0)
    stalls.beat(1.0)
    assert stalls.earliest_push(20.0) == 1.0  # read before the late beat
    assert not stalls.beat(20.0)
    assert stalls.earliest_push(20.1) == 1.0  # and right after it
    stalls.beat(21.0)
    assert stalls.earliest_push(21.5) == 21.5
