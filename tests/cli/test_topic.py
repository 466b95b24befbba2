"""`irismq topic`: what it does to topics and channels, and what it asks before."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest

from irismq_runtime.cli import codes
from irismq_runtime.cli.http import get_json
from tests.integration.processes import irismq
from tests.mailbox.on_nsqd import mailbox
from tests.support.nsqd_server import nsqd_server

MAILBOX = ("--channel", "mailbox")


@pytest.fixture
async def two():
    """Two brokers, of which the first has three messages for an address; flags, and a look."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(nsqd_server("embedded")) for _ in range(2)]
        flags = []
        for server in servers:
            flags += ["--nsqd", f"127.0.0.1:{server.port}"]
            flags += ["--nsqd-http", f"127.0.0.1:{server.http_port}"]

        async def look(which=0):
            stats = await get_json(f"127.0.0.1:{servers[which].http_port}", "/stats")
            return {
                topic["topic_name"]: {
                    "": (topic["depth"], topic["paused"]),
                    **{
                        each["channel_name"]: (each["depth"], each["paused"])
                        for each in topic["channels"]
                    },
                }
                for topic in stats["topics"]
            }

        made = await stack.enter_async_context(mailbox(servers[0].port))
        for body in (b"1", b"2", b"3"):
            await made.publish("shop.stock", body, channel="mailbox")
        yield flags, look


async def test_a_channel_is_paused_emptied_and_deleted_where_it_is(two):
    flags, look = two
    for verb, there in (
        ("pause", {"": (0, False), "mailbox": (3, True)}),
        ("unpause", {"": (0, False), "mailbox": (3, False)}),
        ("empty", {"": (0, False), "mailbox": (0, False)}),
        ("delete", {"": (0, False)}),
    ):
        code, out, said = await irismq("topic", verb, "shop.stock", *MAILBOX, "--yes", *flags)
        assert (code, said) == (codes.OK, "")
        (row,) = json.loads(out)
        assert (row["nsqd"], row["done"]) == (flags[3], verb)
        assert (await look())["shop.stock"] == there
    assert await look(1) == {}


async def test_a_topic_and_its_channel_are_created_at_each_broker_and_deleted(two):
    flags, look = two
    code, out, _ = await irismq("topic", "create", "shop.new", *MAILBOX, *flags)
    assert (code, len(json.loads(out))) == (codes.OK, 2)
    assert (await look(0))["shop.new"] == (await look(1))["shop.new"]
    assert set((await look(1))["shop.new"]) == {"", "mailbox"}
    code, _, _ = await irismq("topic", "delete", "shop.new", "--yes", *flags)
    assert code == codes.OK
    assert set(await look()) == {"shop.stock"}


async def test_what_loses_messages_asks_and_what_is_not_there_is_said(two):
    flags, look = two
    code, _, said = await irismq("topic", "empty", "shop.stock", *flags)
    assert code != codes.OK
    assert "with 3 messages" in said
    assert (await look())["shop.stock"]["mailbox"] == (3, False)
    code, _, said = await irismq("topic", "pause", "shop.stock", "--channel", "no", *flags)
    assert (code, said) == (
        codes.FAILED,
        "irismq: no broker has the channel 'no' of 'shop.stock'\n",
    )
    code, _, said = await irismq("topic", "pause", "no such topic", *flags)
    assert code == codes.USAGE
    assert "TOPIC" in said


async def test_no_topic_of_a_namespace_is_reached_from_without(two):
    flags, look = two
    inside = ("--namespace", "staging")
    code, _, _ = await irismq("topic", "create", "shop.stock", *inside, *flags)
    assert code == codes.OK
    there = await look()
    assert "irismq.in.staging.shop.stock" in there
    for verb in ("create", "pause", "delete"):
        named = ("topic", verb, "irismq.in.staging.shop.stock", "--yes", *flags)
        code, _, said = await irismq(*named)
        assert code == codes.USAGE
        assert "--namespace" in said
    assert await look() == there


async def test_channels_that_nobody_consumes_are_told_from_the_others():
    async with nsqd_server("embedded") as server, mailbox(server.port) as made:
        flags = ("--nsqd-http", f"127.0.0.1:{server.http_port}")
        for name in ("shop.used", "shop.left"):
            await made.publish(name, b"1", channel="mailbox")
        reading = await made.consume("shop.used", "mailbox", lambda _: None, window=1)
        code, out, _ = await irismq("mailbox", "--unattended", *flags)
        assert (code, [row["topic"] for row in json.loads(out)]) == (codes.OK, ["shop.left"])
        _, out, _ = await irismq("mailbox", *flags)
        assert {row["topic"] for row in json.loads(out)} == {"shop.used", "shop.left"}
        code, out, said = await irismq("mailbox", "shop.used", "--unattended", *flags)
        assert (code, json.loads(out)) == (codes.OK, [])
        assert said == "each channel has somebody who consumes it\n"
        await reading.stop(0.0)
