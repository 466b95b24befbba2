"""What every mailbox transport keeps, held against each of them (ports.MailboxTransport)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import LoopClock
from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.errors import MessageTooLarge
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic
from tests.support.nsqd_server import nsqd_server
from tests.support.transports import MemoryBroker, MemoryMailbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from irismq_runtime.ports import MailboxTransport, StoredMessage

KINDS = ["memory", "embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[MailboxTransport]:
    made: Any
    if request.param == "memory":
        made = MemoryMailbox(MemoryBroker(LoopClock()))
        await made.start()
        yield made
        await made.close(1.0)
        return
    async with nsqd_server(request.param, options=NsqdOptions()) as server:
        made = NsqMailbox(
            [f"{server.host}:{server.port}"], rng=random.Random(1), config=MailboxConfig()
        )
        await made.start()
        yield made
        await made.close(1.0)


async def sink_on(transport: Any, topic: str, handle: Any = None, **more: Any) -> Collector:
    sink = Collector(handle)
    await sink.on(transport, topic, **more)
    return sink


async def test_a_confirmed_message_arrives_with_what_it_needs(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic)
    confirmation = transport.publish(topic, b"body", key="k")
    await confirmation
    assert confirmation.done()
    assert confirmation.exception() is None
    message: StoredMessage = (await sink.count(1))[0]
    assert message.body == b"body"
    assert message.attempts == 1
    assert message.id
    assert message.timestamp > 1_600_000_000
    assert message.lease_lost is False


async def test_messages_wait_for_their_first_consumer(transport: MailboxTransport):
    topic = fresh_topic()
    for n in range(10):
        await transport.publish(topic, b"%d" % n)
    sink = await sink_on(transport, topic)
    await sink.until(lambda: len(sink.bodies) == 10)


async def test_each_channel_gets_its_copy_and_each_message_goes_to_one_of_a_channel(
    transport: MailboxTransport,
):
    topic = fresh_topic()
    first = await sink_on(transport, topic, channel="a")
    second = await sink_on(transport, topic, channel="a")
    other = await sink_on(transport, topic, channel="b")
    await eventually(lambda: all(s.consumption.health().ok for s in (first, second, other)))
    for n in range(50):
        transport.publish(topic, b"%d" % n)
    await other.until(lambda: len(other.bodies) == 50)
    await eventually(lambda: len(first.messages) + len(second.messages) == 50)
    assert not first.bodies & second.bodies


async def test_the_first_settlement_counts(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic, lambda message: None)
    await transport.publish(topic, b"x")
    message = (await sink.count(1))[0]
    assert message.finish()
    assert not message.finish()
    assert not message.requeue(0.0)
    assert not message.bury(f"{topic}.dead", b"r")


async def test_a_claimed_message_comes_again_with_one_more_attempt(transport: MailboxTransport):
    topic = fresh_topic()

    def handle(message: Any) -> None:
        assert sink.consumption.claim(message)
        assert message.finish() if message.attempts > 2 else message.requeue(0.0, penalty=False)

    sink = await sink_on(transport, topic, handle)
    await transport.publish(topic, b"x")
    await sink.count(3)
    assert [message.attempts for message in sink.messages] == [1, 2, 3]


async def test_what_was_not_claimed_is_no_attempt_unless_it_is_a_failure(
    transport: MailboxTransport,
):
    topic = fresh_topic()

    def handle(message: Any) -> None:
        came = len(sink.messages)
        assert message.finish() if came == 5 else message.requeue(0.0, penalty=came == 3)

    sink = await sink_on(transport, topic, handle)
    await transport.publish(topic, b"x")
    await sink.count(5)
    assert [message.attempts for message in sink.messages] == [1, 1, 1, 2, 2]


async def test_a_message_is_claimed_once(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic, lambda message: None)
    await transport.publish(topic, b"x")
    message: StoredMessage = (await sink.count(1))[0]
    assert sink.consumption.claim(message)
    assert not sink.consumption.claim(message)
    assert message.finish()
    assert not sink.consumption.claim(message)


async def test_a_claim_that_was_taken_back_costs_no_attempt(transport: MailboxTransport):
    topic = fresh_topic()
    came = 0

    def handle(message: StoredMessage) -> None:
        nonlocal came
        came += 1
        if came > 2:
            message.finish()
            return
        assert sink.consumption.claim(message)
        if came == 1:
            assert sink.consumption.disclaim(message)
            assert not sink.consumption.disclaim(message)
        message.requeue(0.0, penalty=False)

    sink = await sink_on(transport, topic, handle)
    await transport.publish(topic, b"x")
    await sink.count(3)
    assert [message.attempts for message in sink.messages] == [1, 1, 2]


async def test_a_buried_message_is_in_the_dead_topic_and_nowhere_else(transport: MailboxTransport):
    topic = fresh_topic()
    dead = await sink_on(transport, f"{topic}.dead")
    sink = await sink_on(transport, topic, lambda message: message.bury(f"{topic}.dead", b"record"))
    await transport.publish(topic, b"x")
    await dead.count(1)
    assert dead.messages[0].body == b"record"
    await eventually(lambda: sink.consumption.in_flight == 0)
    assert len(sink.messages) == 1


async def test_a_deferred_message_comes_again_later_as_on_its_first_delivery(
    transport: MailboxTransport,
):
    topic = fresh_topic()
    came: list[float] = []

    def handle(message: Any) -> None:
        came.append(asyncio.get_running_loop().time())
        assert message.finish() if len(came) == 3 else message.defer(0.15)

    sink = await sink_on(transport, topic, handle)
    await transport.publish(topic, b"x")
    await sink.count(3)
    assert [(message.body, message.attempts) for message in sink.messages] == [(b"x", 1)] * 3
    assert came[1] - came[0] > 0.14
    assert came[2] - came[1] > 0.14
    await eventually(lambda: sink.consumption.in_flight == 0)
    assert not sink.messages[0].finish()


async def test_another_body_is_deferred_in_the_place_of_a_message(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(
        transport,
        topic,
        lambda message: message.finish() if message.body == b"y" else message.defer(0.0, b"y"),
    )
    await transport.publish(topic, b"x")
    await sink.count(2)
    assert [(message.body, message.attempts) for message in sink.messages] == [(b"x", 1), (b"y", 1)]
    await eventually(lambda: sink.consumption.in_flight == 0)


async def test_a_deferral_beyond_the_brokers_longest_is_cut_not_refused(
    transport: MailboxTransport,
):
    topic = fresh_topic()
    sink = await sink_on(
        transport,
        topic,
        lambda message: message.defer(1e9) if message.body == b"far" else message.finish(),
    )
    await transport.publish(topic, b"far")
    await sink.count(1)
    await eventually(lambda: sink.consumption.in_flight == 0)
    await transport.publish(topic, b"near")
    await sink.until(lambda: b"near" in sink.bodies)
    assert [message.body for message in sink.messages] == [b"far", b"near"]


async def test_the_window_bounds_what_is_held(transport: MailboxTransport):
    topic = fresh_topic()
    for n in range(20):
        await transport.publish(topic, b"%d" % n)
    most = 0

    def handle(message: Any) -> None:
        nonlocal most
        most = max(most, sink.consumption.in_flight)
        asyncio.get_running_loop().call_later(0.002, message.finish)

    sink = Collector(handle)
    await sink.on(transport, topic, window=3)
    await sink.until(lambda: len(sink.bodies) == 20)
    assert most <= 3
    await eventually(lambda: sink.consumption.in_flight == 0)


async def test_a_paused_consumption_gets_nothing_until_it_is_resumed(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic, window=5)
    await eventually(lambda: sink.consumption.health().ok)
    sink.consumption.pause()
    assert not sink.consumption.health().ok
    other = await sink_on(transport, topic)
    await eventually(lambda: other.consumption.health().ok)
    for n in range(20):
        transport.publish(topic, b"%d" % n)
    await other.until(lambda: len(other.bodies) == 20)
    await other.consumption.stop(1.0)
    sink.consumption.resume()
    await transport.publish(topic, b"more")
    await sink.count(1)
    assert sink.bodies == {b"more"}


async def test_what_is_claimed_is_not_given_back(transport: MailboxTransport):
    topic = fresh_topic()
    first = await sink_on(transport, topic, lambda message: None)
    for n in range(3):
        await transport.publish(topic, b"%d" % n)
    await first.count(3)
    claimed, *waiting = first.messages
    assert first.consumption.claim(claimed)
    first.consumption.pause()
    assert first.consumption.give_back() == 2
    assert not first.consumption.claim(waiting[0])
    assert not waiting[0].finish()
    second = await sink_on(transport, topic)
    await second.count(2)
    assert second.bodies == {message.body for message in waiting}
    assert claimed.finish()


async def test_stop_waits_for_what_runs_and_is_idempotent(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic, lambda message: None)
    await transport.publish(topic, b"x")
    message = (await sink.count(1))[0]
    sink.consumption.claim(message)
    stopping = asyncio.ensure_future(sink.consumption.stop(10.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stopping.done()
    assert message.finish()
    await stopping
    await sink.consumption.stop(10.0)


async def test_sizes_are_checked_at_the_call(transport: MailboxTransport):
    with pytest.raises(MessageTooLarge) as caught:
        transport.publish(fresh_topic(), bytes(transport.max_body + 1))
    assert caught.value.size == transport.max_body + 1
    assert caught.value.limit == transport.max_body
    await transport.publish(fresh_topic(), bytes(transport.max_body))


# Which channel exists from when on ------------------------------------------


async def elsewhere(transport: Any, topic: str) -> Collector:
    """A topic that has a reader already: what comes is not kept for others by itself."""
    sink = await sink_on(transport, topic, channel="archive")
    await sink.consumption.established()
    return sink


async def test_once_established_a_channel_gets_what_is_published(transport: MailboxTransport):
    topic = fresh_topic()
    await elsewhere(transport, topic)
    late = await sink_on(transport, topic, channel="late")
    await late.consumption.established()
    await transport.publish(topic, b"x")
    await late.count(1)


async def test_the_first_channel_gets_what_waited_and_later_ones_what_follows(
    transport: MailboxTransport,
):
    topic = fresh_topic()
    await transport.publish(topic, b"before")
    first = await sink_on(transport, topic, channel="first")
    await first.count(1)
    second = await sink_on(transport, topic, channel="second")
    await second.consumption.established()
    await transport.publish(topic, b"after")
    await first.count(2)
    await second.count(1)
    assert second.bodies == {b"after"}


@pytest.mark.parametrize("how", ["alone", "delayed", "many"])
async def test_what_is_meant_for_a_channel_reaches_it_though_it_never_had_a_consumer(
    transport: MailboxTransport, how: str
):
    topic = fresh_topic()
    archive = await elsewhere(transport, topic)
    if how == "many":
        for confirmation in transport.publish_all(topic, [b"x", b"y"], channel="mailbox"):
            await confirmation
    else:
        delay = 0.05 if how == "delayed" else 0.0
        await transport.publish(topic, b"x", delay=delay, channel="mailbox")
    await archive.until(lambda: b"x" in archive.bodies)
    late = await sink_on(transport, topic)
    await late.until(lambda: late.bodies == archive.bodies)


async def test_what_is_buried_is_there_for_a_channel_that_never_had_a_consumer(
    transport: MailboxTransport,
):
    topic = fresh_topic()
    alarm = await elsewhere(transport, f"{topic}.dead")
    await sink_on(
        transport, topic, lambda message: message.bury(f"{topic}.dead", b"why", channel="dead")
    )
    await transport.publish(topic, b"x")
    await alarm.count(1)
    letters = await sink_on(transport, f"{topic}.dead", channel="dead")
    assert (await letters.count(1))[0].body == b"why"


async def test_of_many_all_are_taken_or_none(transport: MailboxTransport):
    topic = fresh_topic()
    sink = await sink_on(transport, topic)
    bodies = [b"%d" % n for n in range(100)]
    with pytest.raises(MessageTooLarge, match="57") as caught:
        transport.publish_all(topic, [*bodies[:57], bytes(transport.max_body + 1), *bodies[58:]])
    assert caught.value.index == 57
    for confirmation in transport.publish_all(topic, [b"all", b"of", b"them"]):
        await confirmation
    await sink.until(lambda: len(sink.bodies) == 3)
    assert sink.bodies == {b"all", b"of", b"them"}
    assert transport.publish_all(topic, []) == []


async def test_it_says_what_it_is(transport: MailboxTransport):
    assert transport.health().ok
    assert transport.max_delay > 0
    assert transport.max_attempts >= 1
