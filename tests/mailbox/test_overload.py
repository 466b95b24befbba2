"""A broker that is slower than its tellers: refused early, written only in time (178)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from actors.errors import Overloaded
from irismq_runtime.errors import DeliveryError
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.mailbox.publish.admission import AdmissionControl, BrokerTooSlow
from irismq_runtime.mailbox.publish.outbox import Batch, OutgoingMessage
from irismq_runtime.mailbox.publish.throughput import Throughput, ThroughputEstimator
from irismq_runtime.protocols.nsq.records import Dpub, Mpub, Pub
from tests.mailbox.fake import ScriptedBrokers, turns
from tests.support.nsqd_server import nsqd_server

TIMEOUT = 10.0
STEP = 0.05


class SlowBroker:
    """Confirms `rate` messages a second, in order, by the world's clock."""

    def __init__(self, rate: float, **options: Any) -> None:
        self.world = ScriptedBrokers(**{"publish_timeout": TIMEOUT, **options})
        self.rate = rate
        self.stored: list[tuple[bytes, float]] = []
        self._credit = 0.0
        self._open: deque[tuple[Any, list[bytes]]] = deque()
        self.world.network.on_command = self._take

    def _take(self, peer: Any, command: Any) -> None:
        if isinstance(command, Mpub):
            self._open.append((peer, list(command.bodies)))
        elif isinstance(command, Pub | Dpub):
            self._open.append((peer, [command.body]))

    async def pass_time(self, seconds: float) -> None:
        left = seconds
        while left > 1e-9:
            await self.world.pass_time(min(STEP, left), STEP)
            left -= STEP
            self._credit = min(self._credit + STEP * self.rate, 1e9) if self._open else 0.0
            while self._open and self._credit >= len(self._open[0][1]):
                peer, bodies = self._open.popleft()
                self._credit -= len(bodies)
                now = self.world.clock.monotonic()
                self.stored += [(body, now) for body in bodies]
                peer.ok()
            await turns()


class Flood:
    """What became of messages that are told faster than they can be confirmed."""

    def __init__(self, broker: SlowBroker) -> None:
        self.broker = broker
        self.mailbox = broker.world.mailbox
        self.clock = broker.world.clock
        self.confirmed_at: list[float] = []
        self.failed: list[Exception] = []
        self.refused = 0
        self.told = 0

    def tell(self, **options: Any) -> None:
        self.told += 1
        try:
            receipt = self.mailbox.publish("t", b"%d" % self.told, **options)
        except Overloaded:
            self.refused += 1
        else:
            receipt.add_done_callback(self._done)

    def _done(self, receipt: Any) -> None:
        if receipt.exception() is None:
            self.confirmed_at.append(self.clock.monotonic())
        else:
            self.failed.append(receipt.exception())

    async def run(self, seconds: float, rate: float, **options: Any) -> None:
        for _ in range(round(seconds / STEP)):
            for _ in range(round(rate * STEP)):
                self.tell(**options)
            await self.broker.pass_time(STEP)

    def confirmed_between(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.confirmed_at)


@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["now", "delayed"])
@pytest.mark.parametrize("rate", [20.0, 400.0])
async def test_a_slow_broker_confirms_its_share_all_the_time_and_the_rest_is_refused(rate, delay):
    broker = SlowBroker(rate)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    start = flood.clock.monotonic()
    await flood.run(4 * TIMEOUT, 4 * rate, delay=delay)
    assert not flood.failed
    assert flood.refused > flood.told / 2
    for second in range(2, 40, 2):
        share = flood.confirmed_between(start + second, start + second + 2)
        assert share >= 0.7 * 2 * rate, (second, share)
    await broker.pass_time(0.1)
    first = broker.world.mailbox.publish("t", b"after the load")
    await broker.pass_time(2.0)
    assert first.done()
    assert first.exception() is None
    await broker.pass_time(TIMEOUT)
    assert not flood.failed
    await broker.world.close()


async def test_what_is_taken_before_anything_is_known_is_written_only_as_far_as_it_is_in_time():
    broker = SlowBroker(100.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    for _ in range(5000):
        flood.tell()
    await broker.pass_time(TIMEOUT + 1.0)
    assert len(flood.confirmed_at) >= 700
    assert len(flood.confirmed_at) + len(flood.failed) == 5000
    outcomes = [error.outcome for error in flood.failed if isinstance(error, DeliveryError)]
    assert outcomes.count("not sent") >= 0.9 * len(flood.failed)
    await broker.pass_time(TIMEOUT)
    late = len(broker.stored) - len(flood.confirmed_at)
    assert late <= 300, "what was written is not too old to be worth it"
    await broker.world.close()


async def test_messages_that_are_too_old_when_the_broker_is_back_make_room_for_those_in_time():
    broker = SlowBroker(100.0)
    await broker.world.mailbox.start()
    (endpoint,) = {peer.endpoint for peer in broker.world.network.peers}
    broker.world.network.down.add(endpoint)
    broker.world.network.publisher().cut()
    flood = Flood(broker)
    await flood.run(TIMEOUT, 400.0)  # 4000 wait, the oldest of them are about to fail
    assert flood.refused == 0, "a broker that is away is not a slow one"
    broker.world.network.down.clear()
    start = flood.clock.monotonic()
    await flood.run(2 * TIMEOUT, 400.0)
    for second in range(4, 20, 2):
        assert flood.confirmed_between(start + second, start + second + 2) >= 120
    await broker.pass_time(0.5)
    first = broker.world.mailbox.publish("t", b"after")
    await broker.pass_time(2.5)
    assert first.done()
    assert first.exception() is None
    await broker.world.close()


async def test_each_message_is_judged_by_the_time_that_it_has_itself():
    broker = SlowBroker(100.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    for _ in range(40):
        for _ in range(10):
            flood.tell()
        await broker.pass_time(STEP)
    waits = broker.world.mailbox._publisher.count / 100.0
    assert 1.5 < waits < 3.0
    with pytest.raises(BrokerTooSlow) as refused:
        broker.world.mailbox.publish("t", b"soon", timeout=1.0)
    assert refused.value.timeout == 1.0
    assert refused.value.waiting >= 100
    assert refused.value.wait > 0.5
    patient = broker.world.mailbox.publish("t", b"patient", timeout=60.0)
    await broker.pass_time(4.0)
    assert patient.exception() is None
    await broker.world.close()


async def test_many_are_taken_if_the_last_of_them_can_be_confirmed_in_time_or_not_at_all():
    broker = SlowBroker(100.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    for _ in range(40):
        for _ in range(10):
            flood.tell()
        await broker.pass_time(STEP)
    waiting = broker.world.mailbox._publisher.count
    with pytest.raises(BrokerTooSlow):
        broker.world.mailbox.publish_many("t", [b"m"] * 2000)
    assert broker.world.mailbox._publisher.count == waiting
    group = broker.world.mailbox.publish_many("t", [b"m"] * 300)
    await broker.pass_time(8.0)
    assert group.exception() is None
    await broker.world.close()


async def test_a_burst_that_can_be_confirmed_in_its_time_is_taken_and_so_is_what_comes_meanwhile():
    broker = SlowBroker(100.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    for _ in range(450):
        flood.tell()
    for _ in range(4):
        await broker.pass_time(0.5)
        flood.tell()
    await broker.pass_time(TIMEOUT)
    assert (flood.refused, len(flood.confirmed_at)) == (0, 454)
    await broker.world.close()


async def test_a_stall_of_a_quick_broker_refuses_nothing():
    broker = SlowBroker(5000.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    await flood.run(2.0, 1000.0)
    broker.rate = 0.0
    await flood.run(1.0, 1000.0)
    broker.rate = 5000.0
    await flood.run(3.0, 1000.0)
    await broker.pass_time(1.0)
    assert (flood.refused, len(flood.failed)) == (0, 0)
    assert len(flood.confirmed_at) == flood.told
    await broker.world.close()


async def test_a_broker_that_answers_nothing_is_refused_more_than_it_could_still_take():
    broker = SlowBroker(0.0)
    await broker.world.mailbox.start()
    flood = Flood(broker)
    await flood.run(TIMEOUT / 2, 2000.0)
    assert flood.refused > flood.told / 4
    await broker.pass_time(TIMEOUT)
    assert len(flood.failed) == flood.told - flood.refused
    await broker.world.close()


async def test_of_two_brokers_that_each_keep_a_copy_the_slower_one_counts():
    quick, slow = SlowBroker(5000.0, copies=1), SlowBroker(100.0)
    world = ScriptedBrokers(4150, 4160, publish_timeout=TIMEOUT, copies=2)

    def take(peer: Any, command: Any) -> None:
        (slow if peer.endpoint.port == 4160 else quick)._take(peer, command)

    world.network.on_command = take
    quick.world = slow.world = world
    await world.mailbox.start()
    flood = Flood(slow)
    for _ in range(600):
        for _ in range(20):
            flood.tell()
        await quick.pass_time(STEP / 2)
        await slow.pass_time(STEP / 2)
    assert not flood.failed
    assert flood.refused > flood.told / 2
    await world.close()


# The decisions alone -------------------------------------------------------------


def batch(count: int, *, ahead: int, sent_at: float = 0.0, saturated: bool = True) -> Batch:
    made = Batch(
        [OutgoingMessage("t", bytes(100), 1e9, "", 0, 1) for _ in range(count)], 104 * count
    )
    made.ahead, made.ahead_bytes = ahead, 104 * ahead
    made.sent_at, made.saturated = sent_at, saturated
    return made


def test_the_speed_is_what_was_on_its_way_by_the_time_that_it_took():
    estimator = ThroughputEstimator(4 * 1024 * 1024)
    estimator.answered(batch(1, ahead=1, saturated=False), 0.001)
    assert estimator.estimate is None
    estimator.answered(batch(100, ahead=1000), 0.5)
    assert estimator.estimate == Throughput(2000.0, 208_000.0)
    assert estimator.window == 1000
    assert estimator.horizon(10.0, 500) == 10.5


def test_one_lone_slow_answer_says_nothing():
    estimator = ThroughputEstimator(4 * 1024 * 1024)
    estimator.answered(batch(1, ahead=1, saturated=False), 0.001)
    estimator.answered(batch(1, ahead=1, saturated=False), 3.0)
    assert estimator.estimate is None


def test_a_far_broker_is_not_taken_for_a_slow_one():
    estimator = ThroughputEstimator(4 * 1024 * 1024)
    for _ in range(20):
        estimator.answered(batch(estimator.batch_count, ahead=estimator.window), 0.3)
    assert estimator.estimate is None
    assert estimator.window > 8000


def test_a_broker_that_gets_faster_is_given_more():
    estimator = ThroughputEstimator(4 * 1024 * 1024)
    estimator.answered(batch(1, ahead=1), 0.001)
    estimator.answered(batch(10, ahead=10), 1.0)
    assert estimator.window == 5
    for _ in range(20):
        estimator.answered(batch(estimator.batch_count, ahead=estimator.window), 0.01)
    assert estimator.estimate.messages >= 10_000
    assert estimator.window > 5000


def test_what_is_not_answered_is_as_slow_as_that():
    estimator = ThroughputEstimator(4 * 1024 * 1024)
    assert estimator.at_most(None, 100.0, 2.0) is None
    assert estimator.at_most(batch(10, ahead=10), 1.9, 2.0) is None
    assert estimator.at_most(batch(10, ahead=10), 4.0, 2.0).messages == 2.5


def test_the_speed_that_promises_more_counts():
    small = Throughput(messages=1000.0, bytes=100_000.0)
    assert small.seconds(10, 10_000_000) == 0.01
    assert small.seconds(1000, 1) == 0.00001


def test_a_standing_queue_is_shortened_and_recovers_by_as_much():
    admission = AdmissionControl(30.0)
    assert admission.observe(100.0, saturated=True)
    assert admission.longest_wait(30.0) == 15.0
    admission.observe(110.0, saturated=True)
    assert admission.longest_wait(30.0) == 10.0
    admission.observe(200.0, saturated=True)
    assert admission.longest_wait(30.0) == 1.0
    assert admission.longest_wait(1.0) == 0.5
    admission.observe(210.0, saturated=False)
    assert not admission.observe(220.0, saturated=True)
    assert admission.longest_wait(30.0) == 5.0
    admission.observe(221.0, saturated=False)
    assert admission.observe(300.0, saturated=True)
    assert admission.longest_wait(30.0) == 15.0


def test_one_that_comes_after_the_flood_is_taken_and_one_within_it_is_not():
    admission, speed = AdmissionControl(30.0), Throughput(100.0, 10_000.0)
    admission.observe(0.0, saturated=True)
    admission.observe(60.0, saturated=True)
    waiting, one = (150, 15_000), (1, 100)
    assert admission.refusal(speed, waiting, one, 30.0, 60.0) is None
    refused = admission.refusal(speed, waiting, one, 30.0, 60.005)
    assert (refused.waiting, refused.wait, refused.rate) == (150, 1.5, 100.0)
    assert admission.refusal(speed, waiting, one, 30.0, 60.03) is None


# The real one --------------------------------------------------------------------


@pytest.mark.soak
async def test_an_nsqd_that_writes_each_message_to_disk_confirms_its_share_all_the_time():
    async with nsqd_server("real", flags=("-mem-queue-size=0", "-sync-every=1")) as nsqd:
        await overload(
            NsqMailbox([f"127.0.0.1:{nsqd.port}"], config=MailboxConfig(publish_timeout=10.0))
        )


async def overload(mailbox: NsqMailbox) -> None:
    try:
        await mailbox.start()
        loop = asyncio.get_running_loop()
        began, buckets, failed, refused, told = loop.time(), [0] * 30, [], 0, 0

        def known(receipt: Any) -> None:
            if receipt.exception() is not None:
                failed.append(receipt.exception())
            else:
                buckets[int((loop.time() - began) / 2)] += 1

        while (gone := loop.time() - began) < 30.0:
            while told < gone * 6_000:
                told += 1
                try:
                    mailbox.publish("t", bytes(100)).add_done_callback(known)
                except Overloaded:
                    refused += 1
            tick = asyncio.Event()
            loop.call_later(0.01, tick.set)
            await tick.wait()
        assert refused > told / 4
        assert len(failed) < sum(buckets) / 10  # a disk that others use, too, is slower by turns
        assert all(buckets[1:14]), buckets
        await asyncio.wait_for(mailbox.publish("t", b"after the load"), 5.0)
    finally:
        await mailbox.close(1.0)
