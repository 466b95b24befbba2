"""Events for observers, dead letters, and the manual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import DeadLetters, Event, Events
from actors.testing import ManualClock

if TYPE_CHECKING:
    from actors import ActorRef


def test_events_are_off_until_somebody_subscribes() -> None:
    events = Events()
    assert not events.active
    seen: list[Event] = []
    unsubscribe = events.subscribe(seen.append)
    assert events.active
    events.emit("thing", size=3)
    unsubscribe()
    unsubscribe()
    events.emit("thing", size=4)
    assert not events.active
    assert [(e.name, dict(e.fields)) for e in seen] == [("thing", {"size": 3})]


def test_a_failing_subscriber_is_logged_once_and_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events()
    seen: list[str] = []

    def bad(event: Event) -> None:
        raise RuntimeError("broken observer")

    events.subscribe(bad)
    events.subscribe(lambda event: seen.append(event.name))
    events.emit("one")
    events.emit("two")
    assert seen == ["one", "two"]
    assert len(caplog.records) == 1


def test_dead_letters_are_a_bounded_ring_with_exact_counts() -> None:
    letters = DeadLetters(3, Events(), lambda: 7.0)
    target: ActorRef[object] = None  # type: ignore[assignment]  # the ring does not look at it
    for number in range(5):
        letters.record(number, target, "dead" if number % 2 else "crashed")
    assert [letter.message for letter in letters] == [2, 3, 4]
    assert len(letters) == 3
    assert letters.total == 5
    assert letters.counts == {"crashed": 3, "dead": 2}
    letters.clear()
    assert len(letters) == 0
    assert letters.total == 5


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.floats(0, 30), max_size=10))
def test_the_manual_clock_fires_in_order_of_time(delays: list[float], steps: list[float]) -> None:
    clock = ManualClock()
    fired: list[float] = []
    for delay in delays:
        clock.call_later(delay, lambda due=delay: fired.append(due))
    for step in steps:
        clock.advance(step)
        assert all(due <= clock.monotonic() + 1e-9 for due in fired)
    assert fired == sorted(fired)
    clock.advance(1000)
    assert fired == sorted(delays)
    assert clock.pending == 0
    assert clock.next_due() is None


def test_a_call_made_by_the_manual_clock_sees_its_own_time_and_may_order_more() -> None:
    clock = ManualClock(10.0)
    seen: list[float] = []

    def tick() -> None:
        seen.append(clock.monotonic())
        clock.call_later(1.0, tick)

    clock.call_later(1.0, tick)
    clock.advance(3.5)
    assert seen == [11.0, 12.0, 13.0]
    assert clock.next_due() == pytest.approx(0.5)


def test_a_cancelled_call_is_not_made() -> None:
    clock = ManualClock()
    fired: list[int] = []
    timer = clock.call_later(1.0, fired.append, 1)
    timer.cancel()
    clock.advance(2.0)
    assert fired == []


def test_the_wall_clock_jumps_alone() -> None:
    clock = ManualClock(wall=100.0)
    clock.advance(5)
    assert clock.time() == 105.0
    clock.wall = 3.0
    assert clock.monotonic() == 5.0
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
