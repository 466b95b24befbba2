"""When messages are touched and leases lost (cases 3, 4)."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.mailbox.consume.lease import Leases


@dataclasses.dataclass
class Held:
    received_at: float
    renewed_at: float


def hold(leases: Leases[Held], message_id: bytes, now: float) -> Held:
    held = Held(now, now)
    leases.held[message_id] = held
    return held


def test_what_waits_is_touched_at_half_its_time():
    leases: Leases[Held] = Leases(5.0, 900.0)
    hold(leases, b"a", 0.0)
    assert leases.due(2.4) == ([], [])
    assert leases.due(2.5) == ([b"a"], [])
    assert leases.due(3.0) == ([], [])
    assert leases.due(5.0) == ([b"a"], [])


def test_the_lease_is_lost_before_the_brokers_maximum_by_our_own_clock():
    leases: Leases[Held] = Leases(3.0, 6.0)
    held = hold(leases, b"a", 0.0)
    lost_at = None
    now = 0.0
    while lost_at is None:
        now += leases.period
        _, lost = leases.due(now)
        if lost:
            assert lost == [held]
            lost_at = now
    assert 5.0 < lost_at < 6.0
    assert len(leases) == 0


def test_a_lease_that_was_not_renewed_in_time_is_lost_and_not_touched():
    leases: Leases[Held] = Leases(5.0, 900.0)
    held = hold(leases, b"a", 0.0)
    assert leases.due(20.0) == ([], [held])


def test_a_redelivery_gives_a_whole_new_lease():
    leases: Leases[Held] = Leases(3.0, 6.0)
    held = hold(leases, b"a", 0.0)
    leases.due(2.0)
    leases.due(4.0)  # the last touch was cut short: not renewable
    assert leases.find(b"a") is held
    held.received_at = held.renewed_at = 5.0
    leases.renew(b"a", held)
    assert leases.due(7.0) == ([b"a"], [])


@settings(max_examples=60)
@given(
    st.floats(1.0, 60.0),
    st.floats(1.0, 20.0),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=30),
)
def test_while_beats_come_in_time_no_lease_runs_out_before_the_maximum(
    timeout: float, factor: float, gaps: list[float]
):
    leases: Leases[Held] = Leases(timeout, timeout * factor)
    now, arrived, touched = 0.0, {}, {}
    for number, gap in enumerate(gaps):
        name = str(number).encode()
        hold(leases, name, now)
        arrived[name] = touched[name] = now
        for _ in range(int(gap / leases.period) + 1):
            now += leases.period
            touch, lost = leases.due(now)
            for one in touch:
                assert now - touched[one] < timeout  # nsqd still held it for us
                touched[one] = now
            for one in lost:
                gone = next(n for n, at in arrived.items() if at == one.received_at)
                assert now - arrived[gone] > timeout * factor - 2.2 * leases.period - timeout / 2
                assert now < max(arrived[gone] + timeout * factor, touched[gone] + timeout)
                arrived.pop(gone)
