"""Which channel exists from when on, who makes it, and what survives what (131, 132).

Each row of the table in docs/guarantees.md, over the embedded broker and a real nsqd.
In all of them the topic has another reader already (an archive, an audit), for which
alone nsqd would keep what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from actors import Actor, Reject, message, receives
from irismq_runtime import Node, durable
from irismq_runtime.cli.main import app
from irismq_runtime.messaging import DEAD_CHANNEL, MAILBOX_CHANNEL
from supervisors import child
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic, mailbox, ready
from tests.support.nsqd_http import call
from tests.support.nsqd_server import nsqd_server
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@message("channels.note")
@dataclass(frozen=True)
class Note:
    text: str


class Keeper(Actor):
    """Keeps what it is told, or turns it down."""

    def __init__(self, log: list[str], address: str | None = None) -> None:
        self.log = log
        self.address = address

    @receives(Note)
    def note(self, message: Note) -> None:
        if message.text == "no":
            raise Reject("no")
        self.log.append(message.text)

    @receives(dict)
    def plain(self, message: dict[str, Any]) -> None:
        self.log.append("plain")


@contextlib.asynccontextmanager
async def archived(servers: Any, topic: str) -> AsyncIterator[Collector]:
    """A topic that has a channel of somebody else."""
    async with mailbox(servers.nsqd.port) as made:
        sink = Collector()
        await ready(await sink.on(made, topic, channel="archive"))
        yield sink


async def test_from_its_start_on_a_service_gets_what_is_told(servers: Any):
    address, log = fresh_topic(), []
    async with servers.node() as node, archived(servers, address):
        await node.start(child(Keeper, log, address))
        # By a program that makes no channel.
        async with mailbox(servers.nsqd.port) as other:
            await other.publish(address, b'{"n": 1}')
        await eventually(lambda: log == ["plain"])
        await node.ref(address).tell(Note("told"))
        await eventually(lambda: log == ["plain", "told"])


async def test_from_its_start_on_a_subscriber_gets_what_is_published(servers: Any):
    topic, log = fresh_topic(), []

    class Late(Keeper):
        subscribes = (durable(topic, channel="late"),)

    async with servers.node() as node, archived(servers, topic):
        await node.start(child(Late, log))
        await node.publish(topic, Note("event"))
        await eventually(lambda: log == ["event"])


async def test_a_start_makes_its_channels_at_every_broker_that_is_reached(servers: Any):
    topic, log = fresh_topic(), []

    class Late(Keeper):
        subscribes = (durable(topic, channel="late"),)

    async with nsqd_server(servers.nsqd.kind) as second:
        brokers = [servers.nsqd_at, f"{second.host}:{second.port}"]
        async with Node(nsqd=brokers, iris=servers.iris_at, drain=1.0) as node:
            for server in (servers.nsqd, second):
                async with mailbox(server.port) as made:
                    sink = Collector()
                    await ready(await sink.on(made, topic, channel="archive"))
            await node.start(child(Late, log))
            for server in (servers.nsqd, second):
                async with mailbox(server.port) as made:
                    await made.publish(topic, b'{"n": 1}')
            await eventually(lambda: log == ["plain", "plain"])


async def test_a_broker_that_is_away_does_not_hold_a_start_up(servers: Any):
    topic, log = fresh_topic(), []

    class Late(Keeper):
        subscribes = (durable(topic, channel="late"),)

    async with nsqd_server(servers.nsqd.kind) as second:
        brokers = [servers.nsqd_at, f"{second.host}:{second.port}"]
        async with Node(nsqd=brokers, iris=servers.iris_at, drain=1.0) as node:
            await second.stop()
            async with promptly("a start with a broker away"):
                await node.start(child(Late, log))
            assert "127.0.0.1" in " ".join(node.health().reasons)
            await second.start()
            await eventually(lambda: node.health().ready)
            async with mailbox(second.port) as made:
                await made.publish(topic, b'{"n": 1}')
            await eventually(lambda: log == ["plain"])


@pytest.mark.parametrize("how", ["told", "delayed", "many", "from a thread", "foreign"])
async def test_a_tell_to_an_address_that_never_ran_waits_for_its_first_start(
    servers: Any, how: str
):
    address, log = fresh_topic(), []
    async with servers.node() as node, archived(servers, address):
        ref = node.ref(address)
        if how == "many":
            for receipt in ref.tell_many([Note("1"), Note("2")]):
                await receipt
        elif how == "from a thread":
            thread = threading.Thread(target=lambda: ref.tell(Note("1")).wait(30))
            thread.start()
            await asyncio.to_thread(thread.join)
        elif how == "foreign":
            await node.ref(address, foreign="json").tell({"text": "1"})
        else:
            await ref.tell(Note("1"), delay=0.05 if how == "delayed" else 0.0)
        await node.start(child(Keeper, log, address))
        wanted = {"many": ["1", "2"], "foreign": ["plain"]}.get(how, ["1"])
        await eventually(lambda: sorted(log) == wanted)


async def test_a_tell_to_a_broker_that_lost_its_data_is_kept_all_the_same(servers: Any):
    address, log = fresh_topic(), []
    async with nsqd_server(servers.nsqd.kind) as broker:
        at = f"{broker.host}:{broker.port}"
        async with Node(nsqd=at, iris=servers.iris_at, drain=1.0) as node:
            await node.ref(address).tell(Note("before"))
            assert (await call(broker, "POST", f"/topic/delete?topic={address}"))[0] == 200
            await broker.restart()
            async with mailbox(broker.port) as other:
                sink = Collector()
                await ready(await sink.on(other, address, channel="archive"))
                await node.ref(address).tell(Note("after"))
            await node.start(child(Keeper, log, address))
            await eventually(lambda: log == ["after"])


async def test_a_dead_letter_is_there_for_who_looks_later(servers: Any):
    address, log = fresh_topic(), []
    async with servers.node() as node, archived(servers, f"{address}.dead") as alarm:
        await node.start(child(Keeper, log, address))
        await node.ref(address).tell(Note("no"))
        await alarm.count(1)
    async with mailbox(servers.nsqd.port) as other:
        letters = Collector()
        await letters.on(other, f"{address}.dead", channel=DEAD_CHANNEL)
        await letters.count(1)
        assert letters.bodies == alarm.bodies


async def test_a_replayed_letter_waits_for_a_service_that_is_gone(servers: Any):
    address, log = fresh_topic(), []
    async with servers.node() as node:
        await node.start(child(Keeper, log, address))
        await node.ref(address).tell(Note("no"))
        await eventually(lambda: node.parts.dispatch.counters.to_dict()["buried"] == 1)
    async with archived(servers, address):
        gone = f"/channel/delete?topic={address}&channel={MAILBOX_CHANNEL}"
        assert (await call(servers.nsqd, "POST", gone))[0] == 200
        http = f"{servers.nsqd.host}:{servers.nsqd.http_port}"
        brokers = ("--nsqd", servers.nsqd_at, "--nsqd-http", http)
        await irismq("dead", "replay", address, "--all", *brokers)
    async with mailbox(servers.nsqd.port) as other:
        sink = Collector()
        await sink.on(other, address)
        await sink.count(1)


async def irismq(*arguments: str) -> None:
    """Run the command in a thread; it has a loop of its own."""
    ended = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert ended.exit_code == 0, ended.output


async def test_an_event_waits_in_its_topic_for_the_first_channel_alone(servers: Any):
    topic, first, second = fresh_topic(), [], []

    class First(Keeper):
        subscribes = (durable(topic, channel="first"),)

    class Second(Keeper):
        subscribes = (durable(topic, channel="second"),)

    async with servers.node() as node:
        await node.publish(topic, Note("before"))
        await node.start(child(First, first))
        await eventually(lambda: first == ["before"])
        await node.start(child(Second, second))
        await node.publish(topic, Note("after"))
        await eventually(lambda: (first, second) == (["before", "after"], ["after"]))


async def test_irismq_tell_makes_the_mailbox_of_an_address_that_never_ran(servers: Any):
    address, log = fresh_topic(), []
    async with servers.node() as node, archived(servers, address):
        await irismq("tell", address, "channels.note", '{"text": "1"}', *servers.flags)
        await node.start(child(Keeper, log, address))
        await eventually(lambda: log == ["1"])
