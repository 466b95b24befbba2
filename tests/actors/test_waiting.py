"""What tests wait with: a condition and an event, bounded, and with words when they do not come."""

from __future__ import annotations

import threading

import pytest

from actors import Events
from actors.testing import eventually, expect_event


async def test_a_condition_is_waited_for_whatever_kind_it_is():
    tries = []

    def third():
        tries.append(1)
        assert len(tries) > 1, "it has only begun"
        return len(tries) if len(tries) > 2 else 0

    async def later():
        return third() + 10

    assert await eventually(third) == 3
    assert await eventually(later) == 14


async def test_what_does_not_come_is_said_with_its_reason():
    def never():
        assert not Events, "one is not two"

    with pytest.raises(AssertionError, match=r"not so within 0\.01 s: the end") as caught:
        await eventually(never, "the end", timeout=0.01)
    assert "one is not two" in str(caught.value.__cause__)
    with pytest.raises(AssertionError, match="never"):
        await eventually(never, timeout=0.01)


async def test_an_event_is_expected_by_its_name_and_fields_from_any_thread():
    events = Events()
    async with expect_event(events, "sold", count=2, sku="tea") as seen:
        events.emit("sold", sku="coffee")
        events.emit("bought", sku="tea")
        events.emit("sold", sku="tea", count=1)
        threading.Thread(target=events.emit, args=("sold",), kwargs={"sku": "tea"}).start()
    assert [event.fields for event in seen] == [{"sku": "tea", "count": 1}, {"sku": "tea"}]
    assert not events.active


async def test_fewer_events_are_said():
    events = Events()

    async def one_of_two():
        async with expect_event(events, "sold", count=2, timeout=0.01, sku="tea"):
            events.emit("sold", sku="tea")
            events.emit("sold")

    async def falls():
        async with expect_event(events, "sold"):
            raise ValueError("boom")

    with pytest.raises(AssertionError, match=r"1 of 2 events sold\(sku='tea'\)"):
        await one_of_two()
    with pytest.raises(ValueError, match="boom"):  # what the block raises goes first
        await falls()
    assert not events.active
