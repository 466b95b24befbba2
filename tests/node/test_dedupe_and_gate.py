"""The window of finished envelopes, and the gate of a consumer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.dispatch.dedupe import DedupeWindow
from irismq_runtime.dispatch.gate import Gate


@given(st.lists(st.binary(min_size=1, max_size=2)), st.integers(1, 10))
def test_the_last_keys_are_known_and_memory_is_bounded(keys, size):
    window = DedupeWindow(size)
    for position, key in enumerate(keys):
        window.add(key)
        latest = set(keys[max(0, position + 1 - size) : position + 1])
        assert all(known in window for known in latest)
        assert len(window) <= 2 * size


def test_a_window_of_nothing_knows_nothing():
    window = DedupeWindow(0)
    window.add(b"a")
    assert b"a" not in window


class FakeConsumption:
    def __init__(self):
        self.calls = []

    def pause(self):
        self.calls.append("pause")

    def resume(self):
        self.calls.append("resume")


def test_the_gate_opens_when_the_last_holder_lets_go():
    gate, consumption = Gate(), FakeConsumption()
    gate.attach(consumption)
    gate.hold("restarting")
    gate.hold("full")
    gate.hold("full")
    gate.release("restarting")
    assert consumption.calls == ["pause"]
    gate.release("full")
    gate.release("full")
    assert consumption.calls == ["pause", "resume"]


def test_a_gate_that_is_held_before_it_has_a_consumer_pauses_it():
    gate, consumption = Gate(), FakeConsumption()
    gate.hold("restarting")
    gate.attach(consumption)
    assert consumption.calls == ["pause"]
