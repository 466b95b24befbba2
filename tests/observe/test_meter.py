"""The meter: what a node did in the last minutes, second by second."""

from __future__ import annotations

import json

import pytest

from actors import Actor, System, receives
from actors.testing import ManualClock, settle
from irismq_runtime.observe import Meter
from irismq_runtime.observe.meter import BOUNDS, MAX_ADDRESSES, quantile


class Stock(Actor):
    address = "shop.stock"

    @receives(int)
    def take(self, number: int) -> int:
        return number

    @receives(str)
    def crash(self, text: str) -> None:
        raise RuntimeError(text)


@pytest.fixture
async def world():
    clock = ManualClock()
    system = System(clock=clock, blocked_after=None)
    system.attach()
    counts = {"finished": 0, "requeued": 0, "buried": 0}
    meter = Meter(system, lambda: dict(counts), span=5)
    meter.start()
    yield system, clock, meter, counts
    meter.stop()
    await system.shutdown()


async def test_a_second_has_what_happened_in_it(world):
    system, clock, meter, counts = world
    ref = system.start(Stock)
    for number in range(10):
        ref.tell(number)
    await ref.ask(1)
    counts["finished"] = 7
    meter.ask_ended("shop.prices", 0.004, "replied")
    meter.ask_ended("shop.prices", 0.2, "AskTimeout")
    meter.request_ended("shop.stock", 0.001, "replied")
    clock.advance(1.0)
    (second,) = meter.seconds
    assert (second.handled, second.finished, second.waiting) == (11.0, 7.0, 0)
    assert (second.asked, second.served, second.failed) == (2.0, 1.0, 1.0)
    assert 0.0025 < second.p50 <= 0.005
    assert 0.1 < second.p99 <= 0.25
    clock.advance(1.0)
    quiet = meter.seconds[-1]
    assert (quiet.handled, quiet.asked, quiet.p50) == (0.0, 0.0, None)


async def test_a_growing_mailbox_and_a_crash_show_in_their_group(world):
    system, clock, meter, _ = world
    ref = system.start(Stock)
    ref.tell("boom")
    ref.tell(1)
    await settle(system)
    waiting = system.start(Stock)
    for number in range(4):
        waiting._slot.inbox.append(number)
    clock.advance(1.0)
    (group,) = meter.groups()
    assert (group.name, group.address) == ("Stock", "shop.stock")
    assert (group.actors, group.waiting, group.crashes) == (1, 4, 1)
    assert group.handled == 1
    assert meter.seconds[-1].crashes == 1
    assert meter.seconds[-1].dead_letters == 2


async def test_the_ring_is_bounded_and_so_are_the_addresses(world):
    _, clock, meter, _ = world
    for _ in range(20):
        clock.advance(1.0)
    assert len(meter.seconds) == 5
    for number in range(MAX_ADDRESSES + 50):
        meter.ask_ended(f"a.{number}", 0.1, "replied")
    assert len(meter.asked) == MAX_ADDRESSES + 1
    assert meter.asked["other"].outcomes["replied"] == 50


async def test_what_it_tells_is_json(world):
    system, clock, meter, _ = world
    await system.start(Stock).ask(1)
    meter.ask_ended("shop.prices", 99.0, "AskTimeout")
    clock.advance(2.0)
    told = json.loads(json.dumps(meter.to_dict(last=1)))
    assert len(told["seconds"]) == 1
    assert told["groups"][0]["name"] == "Stock"
    assert told["asked"]["shop.prices"]["buckets"][-1] == 1
    assert told["asked"]["shop.prices"]["p99"] == BOUNDS[-1]


def test_a_quantile_lies_in_its_bucket():
    buckets = [0] * (len(BOUNDS) + 1)
    assert quantile(buckets, 0.5) is None
    buckets[3] = 10
    assert quantile(buckets, 0.5) == pytest.approx((BOUNDS[2] + BOUNDS[3]) / 2)
    buckets[-1] = 90
    assert quantile(buckets, 0.99) == BOUNDS[-1]
