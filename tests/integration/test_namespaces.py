"""Namespaces: two systems with the same names on the same servers, unknown to each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from actors import Actor, Refused, StartFailed, message, receives
from irismq_runtime import Node, Singleton, current_node, durable, live
from irismq_runtime.cli import codes
from irismq_runtime.cli.http import get_json
from irismq_runtime.cli.main import app
from irismq_runtime.errors import ConfigError, NoSuchService, RemoteFault
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic, shard_address
from irismq_runtime.namespace import Namespace
from irismq_runtime.refs import RefPacking
from irismq_runtime.testing import dead_letters
from supervisors import child
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = {"k1": b"sixteen bytes or more"}
ADDRESS = "shop.stock"


@message("namespaces.note")
@dataclass(frozen=True)
class Note:
    text: str


class Stock(Actor):
    """Says where it is, and keeps what it is told."""

    address = ADDRESS
    subscribes = (live("shop.live"), durable("shop.placed", channel="stock"))

    def __init__(self, where: str, log: list[str]) -> None:
        self.where, self.log = where, log

    @receives(Note)
    def note(self, message: Note) -> str:
        if message.text == "bad":
            raise Refused("bad")
        self.log.append(message.text)
        return f"{message.text} in {self.where}"

    @receives(dict)
    def plain(self, message: dict[str, Any]) -> None:
        self.log.append(message["text"])


class Cron(Singleton):
    address = "shop.cron"

    @receives(Note)
    def note(self, message: Note) -> str:
        return current_node().config.name


@dataclass
class System:
    """A node of one namespace, and what its actor has kept."""

    node: Node
    log: list[str]


@contextlib.asynccontextmanager
async def systems(**options: Any) -> AsyncIterator[tuple[System, System]]:
    """Production, which has no namespace, and staging, on its servers."""
    kept: tuple[list[str], list[str]] = ([], [])
    options = {"max_attempts": 1, "presence_period": 0.2, **options}
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(Node.embedded(name="production", **options))
        at = {name: one.endpoints[name] for name in ("nsqd", "iris")}
        other = Node(name="staging", namespace="staging", **at, **options)
        two = await stack.enter_async_context(other)
        for node, log in zip((one, two), kept, strict=True):
            await node.start(child(Stock, node.config.name, log))
        yield System(one, kept[0]), System(two, kept[1])


async def topics(node: Node) -> set[str]:
    stats = await get_json(node.endpoints["nsqd_http"], "/stats")
    return {topic["topic_name"] for topic in stats["topics"]}


@pytest.mark.parametrize("keys", [{}, KEYS], ids=["unsigned", "signed"])
async def test_nothing_of_one_namespace_is_heard_or_seen_in_another(keys: Any) -> None:
    async with systems(keys=keys) as (production, staging):
        for system, place in ((production, "production"), (staging, "staging")):
            node = system.node
            ref = node.ref(ADDRESS)
            await node.settled()
            assert await ref.ask(Note("asked")) == f"asked in {place}"
            assert (await ref.ask_all(Note("each"))).values == [f"each in {place}"]
            ref.tell_all(Note("all"))
            node.publish("shop.live", Note("live"), durable=False)
            await node.publish("shop.placed", Note("placed"))
            await ref.tell(Note("told"))
            await ref.tell(Note("later"), delay=0.05)
            await until(lambda log=system.log: len(log) == 7)
            (member,) = node.members(ADDRESS)
            assert member.name == place
            assert set(node.nodes().values()) == {place}
            assert len(await node.trees()) == 1
        expected = sorted(["asked", "each", "all", "live", "placed", "told", "later"])
        assert [sorted(production.log), sorted(staging.log)] == [expected, expected]


async def test_an_address_of_another_namespace_is_not_there() -> None:
    async with systems() as (production, staging):
        await staging.node.start(child(Keeper, "kept"))
        assert await staging.node.ref("shop.kept").ask(Note("x")) == "x"
        with pytest.raises(NoSuchService):
            await production.node.ref("shop.kept").ask(Note("x"))


class Keeper(Actor):
    address = "shop.kept"

    def __init__(self, name: str) -> None:
        self.name = name

    @receives(Note)
    def note(self, message: Note) -> str:
        return message.text


async def test_dead_letters_stay_in_their_namespace() -> None:
    async with systems() as (production, staging):
        stock = staging.node.ref(ADDRESS)
        await stock.tell("nobody takes texts")
        (letter,) = await dead_letters(staging.node, ADDRESS)
        assert letter.message == "nobody takes texts"
        assert "irismq.in.staging.shop.stock.dead" in await topics(production.node)
        assert "shop.stock.dead" not in await topics(production.node)


async def test_each_namespace_has_its_own_singleton_and_store(tmp_path: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        urls = [f"sqlite:///{tmp_path / name}.db" for name in ("production", "staging")]
        first = Node.embedded(name="production", store=urls[0])
        one = await stack.enter_async_context(first)
        at = {name: one.endpoints[name] for name in ("nsqd", "iris")}
        second = Node(name="staging", namespace="staging", store=urls[1], **at)
        two = await stack.enter_async_context(second)
        found = []
        for node in (one, two):
            await node.start(child(Cron))
            found.append(await node.singleton("shop.cron").ask(Note("where")))
            assert [member.name for member in node.members("shop.cron#0")] == [node.config.name]
        assert found == ["production", "staging"]
        with pytest.raises(ConfigError, match="namespace ''"):
            async with Node(name="wrong", namespace="staging", store=urls[0], **at):
                pass


async def test_what_is_signed_in_one_namespace_is_not_authentic_in_another() -> None:
    async with systems(keys=KEYS) as (production, staging):
        taken: list[Any] = []
        watching = NsqMailbox([production.node.endpoints["nsqd"]])
        await watching.start()
        consumption = await watching.consume(
            "irismq.in.staging.shop.stock", "watch", taken.append, window=1
        )
        await consumption.established()
        await staging.node.ref(ADDRESS).tell(Note("recorded"))
        await until(lambda: len(taken) == 1)
        await watching.publish(ADDRESS, taken[0].body, channel=MAILBOX_CHANNEL)
        (letter,) = await dead_letters(production.node, ADDRESS)
        assert letter.reason == "decode: wrong signature for the key 'k1'"
        packer = staging.node.parts.outbound.packer
        _, asked, _ = packer.new(2, Note("recorded"), {}, None, "request", ADDRESS)
        with pytest.raises(RemoteFault, match="wrong signature"):
            await production.node.parts.addresses.request(ADDRESS, asked, 5.0)
        assert production.log == []
        assert staging.log == ["recorded"]
        taken[0].finish()
        await watching.close(1.0)


async def test_a_foreign_program_reaches_a_namespace_by_its_names_on_the_wire() -> None:
    async with systems() as (production, staging):
        foreign = NsqMailbox([production.node.endpoints["nsqd"]])
        await foreign.start()
        await foreign.publish("irismq.in.staging.shop.stock", b'{"text": "bare"}')
        await until(lambda: staging.log == ["bare"])
        addresses = production.node.parts.addresses
        answer = await addresses.request("irismq.in.staging.shop.stock", b'{"text": "q"}', 5.0)
        assert answer == b"null"
        assert (production.log, staging.log) == ([], ["bare", "q"])
        await foreign.close(1.0)


async def test_no_name_without_a_namespace_reaches_into_one() -> None:
    async with systems() as (production, _):
        node = production.node
        inside = "irismq.in.staging.shop.stock"
        packing = RefPacking(node.parts.outbound, node.system.find)
        for use in (
            lambda: node.ref(inside),
            lambda: node.publish(inside, Note("x")),
            lambda: node.publish(inside, Note("x"), durable=False),
            lambda: node.entity(inside, "ada"),
            lambda: live(inside),
            lambda: durable(inside),
            lambda: packing.unpack(f"/{inside}"),
            lambda: packing.unpack(f"@{inside}/ada"),
        ):
            with pytest.raises((ConfigError, ValueError), match=r"irismq\.in\."):
                use()
        with pytest.raises(StartFailed, match=r"irismq\.in\."):
            await node.start(child(type("Reaching", (Actor,), {"address": inside})))


async def test_commands_see_the_namespace_that_they_are_told() -> None:
    async with systems() as (production, staging):
        await staging.node.ref(ADDRESS).tell("nobody takes texts")
        await dead_letters(staging.node, ADDRESS)
        at = production.node.endpoints
        servers = ("--nsqd", at["nsqd"], "--nsqd-http", at["nsqd_http"])
        iris = ("--iris", at["iris"])
        inside = ("--namespace", "staging")

        async def said(*command: str) -> str:
            ended = await asyncio.to_thread(CliRunner().invoke, app, command)
            assert ended.exit_code == codes.OK, (command, ended.output)
            return ended.stdout

        asked = ("ask", ADDRESS, "-", '{"text": "cli"}', "--timeout", "20", *servers, *iris)
        for where, names in (("production", ()), ("staging", inside)):
            listed = json.loads(await said("mailbox", "--json", *servers, *names))
            seen = {row["topic"] for row in listed}
            expected = {"shop.stock", "shop.placed"} | ({"shop.stock.dead"} if names else set())
            assert seen == expected, where
            letters = json.loads(await said("dead", "list", "--json", *servers, *names))
            assert [row["address"] for row in letters] == ([ADDRESS] if names else [])
            await said(*asked, *names)
            assert where in await said("tree", *servers, *iris, *names)
        assert (production.log, staging.log) == (["cli"], ["cli"])
        paused = ("topic", "pause", ADDRESS, "--channel", "mailbox", *servers, *inside)
        assert json.loads(await said(*paused))[0]["topic"] == ADDRESS
        stats = await get_json(at["nsqd_http"], "/stats", topic="irismq.in.staging.shop.stock")
        assert [one["paused"] for one in stats["topics"][0]["channels"]] == [True]
        await said("dead", "replay", ADDRESS, "--all", *servers, *inside)


async def test_a_command_says_in_which_namespace_it_found_nothing() -> None:
    async with systems() as (production, _):
        at = production.node.endpoints
        servers = ("--nsqd", at["nsqd"], "--nsqd-http", at["nsqd_http"])
        iris = ("--iris", at["iris"])

        async def said(*command: str, code: int, answer: str = "") -> str:
            runs = CliRunner().invoke
            ended = await asyncio.to_thread(runs, app, (*command, *servers), input=answer)
            assert ended.exit_code == code, (command, ended.output)
            return ended.stderr

        elsewhere = ("--namespace", "elsewhere")
        for command in (
            ("ask", ADDRESS, "namespaces.note", '{"text": "x"}', *iris),
            ("tree", *iris),
            ("mailbox", ADDRESS),
            ("dead", "list", ADDRESS),
            ("topic", "pause", ADDRESS),
        ):
            found = await said(*command, *elsewhere, code=codes.FAILED)
            assert found.endswith("this was in the namespace 'elsewhere'\n"), found
        found = await said("mailbox", *elsewhere, code=codes.OK)
        assert found == "no broker has a topic in the namespace 'elsewhere'\n"
        nowhere = await said("mailbox", "nowhere", code=codes.FAILED)
        assert "namespace" not in nowhere
        for names, where in ((("--namespace", "staging"), " in the namespace 'staging'"), ((), "")):
            asked = await said("topic", "empty", ADDRESS, *names, code=1, answer="n\n")
            assert f"empty the topic 'shop.stock'{where}, with 0 messages" in asked


def test_topics_on_the_wire_fit_nsq_and_no_two_are_alike() -> None:
    names = ["", "a", "staging", "sixteen-letters_"]
    addresses = ["a", "b.c", "x" * 64, "é", shard_address("shop.cart", 39), "x" * 45]
    topics = [
        Namespace(name).topic(mailbox_topic(address)) for name in names for address in addresses
    ]
    assert len(set(topics)) == len(topics)
    assert all(len(topic) <= 64 for topic in topics)
    for name in names[1:]:
        names_ = Namespace(name)
        for address in addresses:
            topic = names_.topic(mailbox_topic(address))
            assert names_.inside(topic) == names_.shown(mailbox_topic(address))
            others = [other for other in names if other != name]
            assert [Namespace(other).inside(topic) for other in others] == [None] * 3
    for bad in ("seventeen-letters", "a.b", "a b", "é", None):
        with pytest.raises(ConfigError, match="1 to 16"):
            Namespace(bad)  # type: ignore[arg-type]  # what a caller without a checker gives
