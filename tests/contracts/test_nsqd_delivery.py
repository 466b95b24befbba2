"""Who gets which message, and how often: ours and nsqd 1.3.0 alike."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.protocols import nsq
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_http import call, channel_stats, topic_stats
from tests.support.nsqd_server import NsqdServer, nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[NsqdServer]:
    async with nsqd_server(request.param, options=NsqdOptions(max_channel_consumers=5)) as running:
        yield running


async def bodies(client: NsqClient, count: int) -> list[bytes]:
    return sorted([message.body for message in await client.messages(count)])


async def test_a_topic_copies_each_message_to_every_channel(server):
    async with (
        nsq_client(server.port) as one,
        nsq_client(server.port) as other,
        nsq_client(server.port) as publisher,
    ):
        await one.subscribe("t", "one", ready=10)
        await other.subscribe("t", "other", ready=10)
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
        first, second = await one.messages(2), await other.messages(2)
        assert sorted(m.body for m in first) == sorted(m.body for m in second) == [b"1", b"2"]
        assert {m.id for m in first} == {m.id for m in second}
        assert {m.attempts for m in first + second} == {1}


async def test_the_backlog_goes_to_the_first_channel_and_not_to_a_later_one(server):
    async with (
        nsq_client(server.port) as publisher,
        nsq_client(server.port) as first,
        nsq_client(server.port) as later,
    ):
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
        assert (await topic_stats(server, "t"))["depth"] == 2
        await first.subscribe("t", "first", ready=10)
        assert await bodies(first, 2) == [b"1", b"2"]
        await later.subscribe("t", "later", ready=10)
        assert await publisher.ask(nsq.pub("t", b"3")) == b"OK"
        assert (await later.message()).body == b"3"
        assert (await first.message()).body == b"3"


async def test_rdy_is_a_standing_ceiling_of_messages_in_flight(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=2)
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2", b"3", b"4"])) == b"OK"
        held = await client.messages(2)
        stats = await channel_stats(server, "t", "ch")
        assert (stats["depth"], stats["in_flight_count"]) == (2, 2)
        client.send(nsq.fin(held[0].id))
        third = await client.message()
        client.send(nsq.rdy(0), nsq.fin(third.id), nsq.fin(held[1].id))
        await client.synced()
        stats = await channel_stats(server, "t", "ch")
        assert (stats["depth"], stats["in_flight_count"]) == (1, 0)
        client.send(nsq.rdy(1))
        assert (await client.message()).attempts == 1


async def test_several_consumers_share_a_channel(server):
    async with (
        nsq_client(server.port) as one,
        nsq_client(server.port) as other,
        nsq_client(server.port) as publisher,
    ):
        await one.subscribe("t", ready=50)
        await other.subscribe("t", ready=50)
        sent = [b"%03d" % number for number in range(100)]
        assert await publisher.ask(nsq.mpub("t", sent)) == b"OK"
        got = await one.messages(50) + await other.messages(50)
        assert sorted(message.body for message in got) == sent


async def test_a_requeued_message_comes_again_with_one_more_attempt(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=1)
        assert await publisher.ask(nsq.pub("t", b"x")) == b"OK"
        for attempt in range(1, 5):
            message = await client.message()
            assert message.attempts == attempt
            client.send(nsq.req(message.id, 0))
        message = await client.message()
        client.send(nsq.fin(message.id))
        await client.synced()
        stats = await channel_stats(server, "t", "ch")
        assert stats["requeue_count"] == 4
        assert stats["in_flight_count"] == stats["depth"] == 0


async def test_a_message_in_flight_to_a_lost_consumer_stays_in_flight(server):
    async with nsq_client(server.port) as publisher:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            assert await publisher.ask(nsq.pub("t", b"x")) == b"OK"
            await client.message()
            client.abort()
        async with nsq_client(server.port) as other:
            await other.subscribe("t", ready=1)
            await other.synced()
            stats = await channel_stats(server, "t", "ch")
            assert (stats["depth"], stats["in_flight_count"]) == (0, 1)


async def test_an_ephemeral_channel_goes_with_its_last_consumer(server):
    async with nsq_client(server.port) as publisher:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", "c#ephemeral", ready=1)
            assert await publisher.ask(nsq.pub("t", b"x")) == b"OK"
            await client.message()
        await until(server, lambda stats: stats["channels"] == [])


async def test_an_ephemeral_topic_goes_with_its_last_channel(server):
    async with nsq_client(server.port) as client:
        await client.subscribe("t#ephemeral", "c#ephemeral", ready=1)
        assert await topic_stats(server, "t#ephemeral") is not None
    while await topic_stats(server, "t#ephemeral") is not None:
        await asyncio.sleep(0)


async def until(server: NsqdServer, condition) -> None:
    while not condition(await topic_stats(server, "t")):
        await asyncio.sleep(0)


async def test_a_paused_channel_delivers_nothing_until_it_goes_on(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=5)
        await client.synced()
        assert await call(server, "POST", "/channel/pause?topic=t&channel=ch") == (200, b"")
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
        await until(server, lambda stats: stats["channels"][0]["depth"] == 2)
        assert await call(server, "POST", "/channel/unpause?topic=t&channel=ch") == (200, b"")
        assert await bodies(client, 2) == [b"1", b"2"]


async def test_a_paused_topic_takes_messages_and_hands_none_on(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=5)
        await client.synced()
        assert await call(server, "POST", "/topic/pause?topic=t") == (200, b"")
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
        stats = await topic_stats(server, "t")
        assert (stats["depth"], stats["paused"]) == (2, True)
        assert await call(server, "POST", "/topic/unpause?topic=t") == (200, b"")
        assert await bodies(client, 2) == [b"1", b"2"]


async def test_emptying_a_channel_leaves_nothing_and_harms_no_late_fin(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=2)
        assert await publisher.ask(nsq.mpub("t", [b"1", b"2", b"3", b"4"])) == b"OK"
        assert await publisher.ask(nsq.dpub("t", 60_000, b"deferred")) == b"OK"
        held = await client.messages(2)
        await until(server, lambda stats: stats["channels"][0]["deferred_count"] == 1)
        client.send(nsq.rdy(0))
        await client.synced()
        assert (await call(server, "POST", "/channel/empty?topic=t&channel=ch"))[0] == 200
        stats = await channel_stats(server, "t", "ch")
        assert stats["depth"] == stats["in_flight_count"] == stats["deferred_count"] == 0
        assert stats["clients"][0]["in_flight_count"] == 0
        client.send(nsq.fin(held[0].id))
        assert (await client.error()).code == "E_FIN_FAILED"
        client.send(nsq.rdy(1))
        assert await publisher.ask(nsq.pub("t", b"next")) == b"OK"
        assert (await client.message()).body == b"next"


async def test_a_topic_buffers_again_after_its_last_channel_was_deleted(server):
    async with nsq_client(server.port) as publisher:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            await client.synced()
            assert (await call(server, "POST", "/channel/delete?topic=t&channel=ch"))[0] == 200
            assert await client.closed()
        assert await publisher.ask(nsq.pub("t", b"kept")) == b"OK"
        stats = await topic_stats(server, "t")
        assert (stats["depth"], stats["channels"]) == (1, [])
        async with nsq_client(server.port) as again:
            await again.subscribe("t", ready=1)
            assert (await again.message()).body == b"kept"


async def test_a_deleted_topic_closes_its_consumers_and_stays_deleted(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=1)
        assert await publisher.ask(nsq.pub("t", b"x")) == b"OK"
        message = await client.message()
        assert (await call(server, "POST", "/topic/delete?topic=t"))[0] == 200
        client.send(nsq.fin(message.id), nsq.rdy(1), nsq.nop())
        assert await client.closed()
        assert await topic_stats(server, "t") is None


async def test_more_consumers_than_allowed_are_refused(server):
    async with AsyncExitStack() as stack:
        for _ in range(5):
            client = await stack.enter_async_context(nsq_client(server.port))
            await client.subscribe("t")
        extra = await stack.enter_async_context(nsq_client(server.port))
        extra.send(nsq.sub("t", "ch"))
        assert (await extra.error()).code == "E_SUB_FAILED"
        assert await extra.closed()


async def test_a_sampled_consumer_gets_about_its_share(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=2500, sample_rate=20)
        assert await publisher.ask(nsq.mpub("t", [b"x"] * 2000)) == b"OK"
        await until(server, lambda stats: stats["channels"][0]["depth"] == 0)
        while (stats := await channel_stats(server, "t", "ch"))["in_flight_count"] == 0:
            await asyncio.sleep(0)
        assert 250 < stats["clients"][0]["message_count"] < 600


async def test_a_body_of_the_largest_size_arrives_whole(server):
    body = bytes(range(256)) * 4096
    async with nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        client.send(nsq.pub("t", body))
        frames = [await client.frame(), await client.frame()]
        assert [f.body for f in frames if isinstance(f, nsq.Message)] == [body]


async def test_a_client_that_vanishes_while_the_server_pushes(server):
    async with nsq_client(server.port) as publisher:
        assert await publisher.ask(nsq.mpub("t", [b"x" * 1000] * 1000)) == b"OK"
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=2500)
            client.abort()
        assert await publisher.ask(nsq.mpub("t", [b"y" * 1000] * 1000)) == b"OK"
        while (stats := await channel_stats(server, "t", "ch"))["message_count"] < 2000:
            await asyncio.sleep(0)
        while (stats := await channel_stats(server, "t", "ch"))["client_count"]:
            await asyncio.sleep(0)
        assert stats["depth"] + stats["in_flight_count"] == 2000


async def test_a_refused_consumer_gets_no_more_messages(server):
    async with (
        nsq_client(server.port) as bad,
        nsq_client(server.port) as good,
        nsq_client(server.port) as publisher,
    ):
        await bad.subscribe("t", ready=100)
        await good.subscribe("t", ready=100)
        bad.send(b"NONSENSE\n")
        assert (await bad.error()).code == "E_INVALID"
        while (await channel_stats(server, "t", "ch"))["client_count"] > 1:
            await asyncio.sleep(0)
        assert await publisher.ask(nsq.mpub("t", [b"x"] * 20)) == b"OK"
        assert len(await good.messages(20)) == 20
