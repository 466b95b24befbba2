"""Connections to nsqd that break at the worst places, by a proxy of ours.

What is asserted everywhere: what was confirmed is handled, every receipt is
settled, and nothing hangs. Duplicates are allowed only where a FIN may be lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import DeliveryError
from tests.faults.proxy import Fault, NsqdProxy
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic, mailbox, ready
from tests.support.nsqd_http import channel_stats
from tests.support.nsqd_server import NsqdServer, nsqd_server
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(params=KINDS)
async def nsqd(request: pytest.FixtureRequest) -> AsyncIterator[NsqdServer]:
    async with nsqd_server(request.param) as server:
        yield server


#: All places on ours; one on nsqd, which gives lost messages back only after 5 s.
PLACES = [
    ("embedded", name, where)
    for name in ("FIN", "REQ", "RDY", "MESSAGE", "SUB", "RESPONSE")
    for where in ("before", "middle", "after")
]
PLACES.append(pytest.param("real", "FIN", "middle", marks=pytest.mark.real_nsqd))


@pytest.mark.parametrize(("kind", "name", "where"), PLACES)
async def test_a_consumer_cut_anywhere_handles_everything(kind: Any, name: str, where: Any):
    async with nsqd_server(kind) as nsqd:
        await consume_through(
            nsqd, Fault(name, 1 if name in {"RDY", "SUB", "RESPONSE"} else 2, where)
        )


async def consume_through(nsqd: NsqdServer, fault: Fault) -> None:
    topic = fresh_topic()
    failed_once: set[bytes] = set()

    def handle(message: Any) -> None:
        if message.body.endswith(b"7") and message.body not in failed_once:
            failed_once.add(message.body)
            message.requeue(0.0, penalty=False)
        else:
            message.finish()

    async with NsqdProxy(nsqd.port) as proxy, mailbox(nsqd.port) as direct:
        proxy.plan(fault)
        sink = Collector(handle)
        async with mailbox(nsqd.port) as publisher:
            await publisher.publish_many(topic, [b"%d" % n for n in range(50)])
        async with mailbox(proxy.port, msg_timeout=1.0, max_body=1000, max_delay=10.0) as made:
            await sink.on(made, topic, window=10)
            await sink.until(lambda: len(sink.bodies) == 50 and len(failed_once) == 5)
            await eventually(lambda: sink.consumption.in_flight == 0)
        assert proxy.broken == 1
        assert direct.health().ok


@pytest.mark.parametrize("where", ["before", "middle", "after"])
@pytest.mark.parametrize("name", ["MPUB", "RESPONSE", "IDENTIFY"])
async def test_a_publisher_cut_anywhere_settles_every_receipt(
    name: str, where: Any, nsqd: NsqdServer
):
    topic = fresh_topic()
    async with NsqdProxy(nsqd.port) as proxy:
        async with mailbox(
            proxy.port, batch_count=10, publish_timeout=10.0, max_body=1000, max_delay=10.0
        ) as made:
            nth = {"MPUB": 3, "RESPONSE": 4, "IDENTIFY": 1}[name]
            proxy.plan(Fault(name, nth=nth, where=where))
            if name == "IDENTIFY":
                proxy.cut_all()
            settled: list[int] = []
            receipts = [made.publish(topic, b"%d" % n) for n in range(100)]
            for n, receipt in enumerate(receipts):
                receipt.add_done_callback(lambda _, n=n: settled.append(n))
            for receipt in receipts:
                await receipt
            assert sorted(settled) == list(range(100))
            assert proxy.broken == 1
        async with mailbox(nsqd.port) as direct:
            sink = Collector()
            await sink.on(direct, topic)
            await sink.until(lambda: len(sink.bodies) == 100)


async def test_a_black_hole_in_the_middle_of_a_large_write(nsqd: NsqdServer):
    topic = fresh_topic()
    async with (
        NsqdProxy(nsqd.port) as proxy,
        mailbox(proxy.port, max_body=2**20, max_delay=10.0, heartbeat=60.0) as made,
    ):
        proxy.plan(Fault("MPUB", where="middle", action="black hole"))
        receipts = [made.publish(topic, bytes(100_000), timeout=0.5) for _ in range(100)]
        for receipt in receipts:
            with pytest.raises(DeliveryError):
                await receipt
        async with promptly("closing, before anything is silent for too long"):
            await made.close(1.0)


@pytest.mark.slow
async def test_a_black_hole_is_left_and_the_messages_come_by_another_connection(nsqd: NsqdServer):
    topic = fresh_topic()
    async with (
        NsqdProxy(nsqd.port) as proxy,
        mailbox(nsqd.port) as direct,
        mailbox(proxy.port, heartbeat=1.0, msg_timeout=1.0, max_body=1000, max_delay=10.0) as made,
    ):
        sink = Collector()
        await ready(await sink.on(made, topic))
        proxy.plan(Fault("MESSAGE", where="before", action="black hole"))
        await direct.publish_many(topic, [b"%d" % n for n in range(20)])
        await sink.until(lambda: len(sink.bodies) == 20)


@pytest.mark.parametrize("name", ["MPUB", "RESPONSE", "MESSAGE", "FIN"])
async def test_what_is_delayed_within_the_limits_changes_nothing(name: str, nsqd: NsqdServer):
    topic = fresh_topic()
    async with (
        NsqdProxy(nsqd.port) as proxy,
        mailbox(proxy.port, msg_timeout=2.0, max_body=1000, max_delay=10.0) as made,
    ):
        sink = Collector()
        await ready(await sink.on(made, topic))
        connections = proxy.connections
        proxy.plan(Fault(name, where="middle", action="delay", seconds=0.4))
        start = time.monotonic()
        receipts = [made.publish(topic, b"%d" % n) for n in range(20)]
        for receipt in receipts:
            await receipt
        await sink.until(lambda: len(sink.bodies) == 20)
        await eventually(lambda: sink.consumption.in_flight == 0)
        assert (proxy.delayed, proxy.broken, proxy.connections) == (1, 0, connections)
        if name != "FIN":  # nobody here waits for the broker to read that
            assert time.monotonic() - start > 0.35
        assert [message.attempts for message in sink.messages] == [1] * 20


async def test_a_fin_that_is_late_for_its_lease_is_no_second_run(nsqd: NsqdServer):
    topic = fresh_topic()
    async with (
        NsqdProxy(nsqd.port) as proxy,
        mailbox(proxy.port, msg_timeout=1.0, max_body=1000, max_delay=10.0) as made,
    ):
        sink = Collector()
        await ready(await sink.on(made, topic))
        proxy.plan(Fault("FIN", action="delay", seconds=6.5 if nsqd.kind == "real" else 1.5))
        await made.publish(topic, b"once")
        await sink.count(1)

        async def settled() -> bool:
            channel = await channel_stats(nsqd, topic, "mailbox")
            return bool(channel["timeout_count"] and not channel["in_flight_count"])

        while not await settled():  # every question is a round trip
            continue
        assert len(sink.messages) == 1


async def chaos(nsqd: NsqdServer, seed: int, *, cuts: int, numbers: int, lag: float = 0.0) -> None:
    """Publish and consume through a proxy that cuts at random, until it has cut so often."""
    print(f"seed {seed}")  # noqa: T201  # a failure is replayed with it
    topic = fresh_topic()
    rng = random.Random(seed)
    confirmed: set[bytes] = set()
    running: set[bytes] = set()

    def handle(message: Any) -> None:
        if not sink.consumption.claim(message):
            return
        assert message.body not in running, "two runs of one message side by side"
        running.add(message.body)
        asyncio.get_running_loop().call_later(rng.random() * 0.003, done, message)

    def done(message: Any) -> None:
        running.discard(message.body)
        if rng.random() < 0.05:
            message.requeue(0.0, penalty=False)
        else:
            message.finish()
        sink.changed()

    sink = Collector(handle)
    async with (
        NsqdProxy(nsqd.port, rng=rng, life=6_000, lag=lag) as proxy,
        mailbox(
            proxy.port,
            msg_timeout=1.0,
            batch_count=7,
            max_body=1000,
            max_delay=10.0,
            publish_timeout=60.0,
            stable_after=0.01,
        ) as made,
    ):
        await sink.on(made, topic, window=8)
        receipts: dict[bytes, Any] = {}
        while proxy.broken < cuts or len(receipts) < numbers:
            for _ in range(20):
                body = b"%d" % len(receipts)
                receipts[body] = made.publish(topic, body)
            await receipts[body]
        proxy.calm()
        for body, receipt in receipts.items():
            await receipt
            confirmed.add(body)
        await sink.until(lambda: confirmed <= sink.bodies, seconds=25.0)
        assert proxy.broken >= cuts
        assert len(confirmed) == len(receipts)


@pytest.mark.parametrize("seed", [101])
async def test_twenty_random_cuts_under_load_lose_nothing(nsqd: NsqdServer, seed: int):
    await chaos(nsqd, seed, cuts=20, numbers=300)


@pytest.mark.parametrize("seed", [201])
async def test_random_delays_and_cuts_under_load_lose_nothing(nsqd: NsqdServer, seed: int):
    await chaos(nsqd, seed, cuts=10, numbers=200, lag=0.01)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(5))
async def test_two_hundred_random_cuts_under_load_lose_nothing(nsqd: NsqdServer, seed: int):
    await chaos(nsqd, seed, cuts=200, numbers=3000)
