"""A consumer is paused for as long as there is a reason."""

from __future__ import annotations

from irismq_runtime.dispatch.consumer_pause import ConsumerPause


class FakeConsumption:
    def __init__(self):
        self.calls = []

    def pause(self):
        self.calls.append("pause")

    def resume(self):
        self.calls.append("resume")


def test_it_resumes_when_the_last_reason_is_gone():
    pause, consumption = ConsumerPause(), FakeConsumption()
    pause.attach(consumption)
    pause.add("restarting")
    pause.add("full")
    pause.add("full")
    pause.remove("restarting")
    assert consumption.calls == ["pause"]
    pause.remove("full")
    pause.remove("full")
    assert consumption.calls == ["pause", "resume"]


def test_a_reason_from_before_it_had_a_consumer_pauses_that():
    pause, consumption = ConsumerPause(), FakeConsumption()
    pause.add("restarting")
    pause.attach(consumption)
    assert consumption.calls == ["pause"]
