"""What must hold in every run, on traces that are written by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from actors import Event, Events
from irismq_runtime.simulation.invariants import Life, usual_invariants
from irismq_runtime.simulation.witness import Witness

if TYPE_CHECKING:
    from irismq_runtime.simulation.failures import InvariantBroken

A, B = Life("a", 1), Life("b", 1)


class Trace:
    """Two nodes and a witness, on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.broken: list[InvariantBroken] = []
        self.witness = Witness(lambda: self.now, self.broken.append)
        self.witness.hold(
            usual_invariants(
                stood_still=self.witness.stood_still,
                disturbed=self.witness.disturbed,
                publish_timeout=30.0,
            )
        )
        self.events = {life: Events(lambda: self.now) for life in (A, B)}
        for life, events in self.events.items():
            self.witness.listen(life, events)

    def tells(self, life: Life, name: str, message: str = "m1", **fields: Any) -> None:
        self.now += 0.001
        self.events[life].emit(name, id=message, **fields)

    def confirmed(self, message: str = "m1", address: str = "shop") -> None:
        """Told by `a` to an address that `b` serves, and confirmed."""
        self.events[B].emit("node.bound", address=address, urn="urn:1")
        self.tells(A, "tell.encoded", message, address=address, size=10)
        self.tells(A, "outbox.queued", message, topic=address, size=10)
        self.tells(A, "publisher.written", message, topic=address, broker="broker:4150")
        self.tells(A, "publisher.confirmed", message, topic=address, broker="broker:4150")

    def begun(self, life: Life, message: str = "m1") -> None:
        self.tells(life, "handler.started", message, actor="shop", attempt=1)

    def handled(self, life: Life = B, message: str = "m1", outcome: str = "replied") -> None:
        self.tells(life, "handler.started", message, actor=f"shop at {life}", attempt=1)
        self.tells(
            life, "handler.returned", message, actor=f"shop at {life}", attempt=1, outcome=outcome
        )

    def brokers_hold(self, *held: str) -> None:
        self.witness.look_for_losses(held)

    def owed(self, since: float, *later: str) -> list[str]:
        return list(self.witness.owed(since, later))

    def looks(self, at: float) -> None:
        self.now = at
        self.witness.look()

    def says(self) -> str:
        return str(self.broken[0]) if self.broken else ""


@pytest.fixture
def trace() -> Trace:
    return Trace()


def test_a_message_that_was_handled_and_finished_breaks_nothing(trace: Trace) -> None:
    trace.confirmed()
    trace.handled()
    trace.tells(B, "settlement.finished", address="shop")
    trace.looks(1000.0)
    trace.brokers_hold()
    assert trace.owed(1000.0) == []
    assert trace.broken == []


@pytest.mark.parametrize("outcome", ["crashed", "retry", "cancelled", None])
def test_a_confirmed_message_that_nobody_handled_and_no_broker_holds_is_missed(
    trace: Trace, outcome: str | None
) -> None:
    trace.confirmed()
    if outcome is not None:
        trace.handled(outcome=outcome)
    trace.brokers_hold("m1")
    assert trace.broken == []
    trace.brokers_hold("m2")
    assert "is neither handled, nor waiting, nor a dead letter" in trace.says()
    assert "confirmed by broker:4150 at 0.004 s" in trace.says()
    assert trace.broken[0].about == "m1"


def test_a_message_that_waits_or_is_a_dead_letter_or_has_expired_is_not_missed(
    trace: Trace,
) -> None:
    for message in ("waits", "buried", "expired", "late"):
        trace.confirmed(message)
    trace.tells(B, "settlement.buried", "buried", address="shop", reason="crashed")
    trace.tells(B, "settlement.finished", "expired", address="shop", reason="expired")
    trace.handled(message="late")
    trace.brokers_hold("waits")
    assert trace.broken == []
    assert trace.owed(1.0) == ["message waits waits for shop"]
    assert trace.owed(1.0, "waits") == []  # it is not due soon
    assert trace.owed(0.001) == []  # it was told later


def test_what_was_handled_before_its_confirmation_came_is_not_missed(trace: Trace) -> None:
    trace.events[B].emit("node.bound", address="shop", urn="urn:1")
    trace.tells(A, "tell.encoded", address="shop", size=10)
    trace.handled()
    trace.tells(A, "publisher.confirmed", topic="shop", broker="broker:4150")
    trace.brokers_hold()
    assert trace.broken == []


def test_what_is_for_nobody_that_was_ever_there_is_not_missed(trace: Trace) -> None:
    trace.tells(A, "tell.encoded", address="nobody", size=10)
    trace.tells(A, "publisher.confirmed", topic="nobody", broker="broker:4150")
    trace.brokers_hold()
    assert trace.broken == []
    assert trace.owed(1.0) == []


def test_a_message_that_is_finished_before_its_handler_has_returned_is_seen_at_once(
    trace: Trace,
) -> None:
    trace.confirmed()
    trace.tells(B, "handler.started", actor="shop", attempt=1)
    trace.tells(B, "settlement.finished", address="shop")
    assert "b finished message m1 at 0.006 s, and no handler of it has returned" in trace.says()


def test_a_second_handler_beside_the_first_is_seen_at_once(trace: Trace) -> None:
    trace.confirmed()
    trace.begun(B)
    trace.begun(A)
    assert "shop at a handles message m1 at 0.006 s, beside shop at b" in trace.says()


@pytest.mark.parametrize(
    "why", ["lease lost", "died", "returned", "struck", "broker struck", "written twice"]
)
def test_a_second_handler_is_right_when_the_first_is_known_to_have_lost_the_message(
    trace: Trace, why: str
) -> None:
    trace.confirmed()
    trace.begun(B)
    match why:
        case "lease lost":
            trace.tells(B, "dispatch.lease_lost", address="shop")
        case "died":
            trace.witness.died(B)
        case "returned":
            trace.tells(B, "handler.returned", actor="shop", attempt=1, outcome="retry")
        case "struck":
            trace.witness.excuse("b", 0, math.inf)
        case "broker struck":
            trace.witness.excuse("broker", 0, 5.0)
        case _:
            trace.tells(A, "publisher.written", topic="shop", broker="broker:4150")
    trace.begun(A)
    assert trace.broken == []


@pytest.mark.parametrize("holder", ["b", "broker"])
def test_what_struck_a_holder_excuses_it_for_its_time_only(trace: Trace, holder: str) -> None:
    trace.witness.excuse(holder, 0, math.inf)
    trace.witness.excuse(holder, 1, 1.0)
    trace.confirmed()
    trace.begun(B)
    trace.witness.excuse(holder, 0, 5.0)
    trace.now += 5.1
    trace.begun(A)
    assert "beside shop at b" in trace.says()


@pytest.mark.parametrize("other", ["relay", "broker-2", "outside"])
def test_what_struck_another_machine_is_no_excuse(trace: Trace, other: str) -> None:
    trace.confirmed()
    trace.begun(B)
    trace.witness.excuse(other, 0, math.inf)
    trace.begun(A)
    assert "beside shop at b" in trace.says()


def test_a_message_is_not_handled_again_where_it_was_finished(trace: Trace) -> None:
    trace.confirmed()
    trace.handled()
    trace.tells(B, "settlement.finished", address="shop")
    trace.handled(A)  # another node cannot know
    assert trace.broken == []
    trace.handled(B)
    assert "shop at b at b handles message m1 again" in trace.says()


def test_an_event_is_handled_by_each_of_its_channels(trace: Trace) -> None:
    for life in (A, B):
        trace.tells(life, "handler.started", "e1", actor="archive", attempt=1)
    assert trace.broken == []


def test_an_ask_that_outlives_its_deadline_is_seen(trace: Trace) -> None:
    trace.tells(A, "ask.sent", "q1", address="shop", type="shop.order", timeout=5.0)
    trace.tells(A, "ask.sent", "q2", address="shop", type="shop.order", timeout=5.0)
    trace.tells(A, "ask.answered", "q2", address="shop")
    trace.looks(5.9)
    assert trace.broken == []
    trace.looks(6.1)
    assert "ask q1 of a to shop has been open since 0.001 s, and should have ended by 5.001 s" in (
        trace.says()
    )


def test_an_ask_of_a_process_that_died_or_stood_still_is_excused(trace: Trace) -> None:
    trace.tells(A, "ask.sent", "q1", address="shop", type="shop.order", timeout=5.0)
    trace.tells(B, "ask.sent", "q2", address="shop", type="shop.order", timeout=5.0)
    trace.witness.stands_still("a", still=True)
    trace.witness.died(B)
    trace.looks(100.0)
    trace.witness.stands_still("a", still=False)
    trace.looks(101.0)
    assert trace.broken == []
    trace.looks(106.0)
    assert "ask q1 of a" in trace.says()


def test_a_receipt_that_is_never_settled_is_owed_and_then_seen(trace: Trace) -> None:
    trace.tells(A, "outbox.queued", topic="shop", size=10)
    trace.tells(A, "outbox.queued", "m2", topic="shop", size=10)
    trace.tells(A, "publisher.failed", "m2", topic="shop", error="not confirmed")
    trace.looks(30.0)
    assert trace.owed(30.0) == ["receipt m1 of a to shop is open since 0.001 s"]
    assert trace.broken == []
    trace.looks(31.1)
    assert "receipt m1 of a to shop has been open since 0.001 s" in trace.says()


def test_the_first_that_broke_is_the_one_that_is_told(trace: Trace) -> None:
    trace.tells(A, "ask.sent", "q1", address="shop", type="shop.order", timeout=5.0)
    trace.confirmed()
    trace.tells(B, "settlement.finished", address="shop")
    trace.looks(100.0)
    assert len(trace.broken) == 1
    assert "finished message m1" in trace.says()
    assert trace.witness.trace[0][2] == Event(
        "ask.sent", 0.001, {"id": "q1", "address": "shop", "type": "shop.order", "timeout": 5.0}
    )
