"""Shards on several nodes of one store: spread, moved, taken over, and never lost."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from actors import message
from actors.runtime import slot_of
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.entities.ownership import Ownership
from irismq_runtime.entities.process_place import gone_among, process_place
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic, shard_address, shard_of
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from supervisors import child
from tests.entities.helpers import Device, Read, Report
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from irismq_runtime import Node
    from irismq_runtime.ports.state_store import StateKey

KEYS = [f"k{number}" for number in range(24)]


class Spread(Device):
    address = "test.spread"
    shards = 16


class CutStore(MemoryStore):
    """A client that a test cuts off from its store."""

    cut = False

    async def commit(self, commits: Any) -> Any:
        if self.cut:
            raise StoreUnavailable("memory:", "away", "it was cut off")
        return await super().commit(commits)

    async def load(self, keys: Any) -> Any:
        if self.cut:
            raise StoreUnavailable("memory:", "away", "it was cut off")
        return await super().load(keys)


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership_module, "BEAT", 0.05)
    monkeypatch.setattr(ownership_module, "_EXPECTING", 0.02)
    monkeypatch.setattr(ownership_module, "_ROUND", 0.0)


def owned(node: Node) -> list[int]:
    found: Ownership = node.parts.durable.above[Ownership]
    return found.held_of("test.spread")


def bound(node: Node) -> set[str]:
    return {each.address for each in node.parts.binder if each.address.startswith("test.spread#")}


async def totals(client: Node) -> list[int]:
    return [await client.entity("test.spread", key, shards=16).ask(Read()) for key in KEYS]


async def test_a_node_that_comes_gets_its_share_and_one_that_goes_leaves_it(servers):
    database = MemoryDatabase()
    async with servers.node("client") as client, AsyncExitStack() as stack:
        one = await stack.enter_async_context(servers.node("one", store=MemoryStore(database)))
        await one.start(Spread)
        assert owned(one) == list(range(16))
        for key in KEYS:
            assert await client.entity("test.spread", key, shards=16).ask(Report(1)) == 1
        async with servers.node("two", store=MemoryStore(database)) as two:
            await two.start(Spread)
            await until(lambda: owned(two) and len(owned(one)) + len(owned(two)) == 16)
            await until(lambda: len(bound(one)) + len(bound(two)) == 16)
            assert set(owned(one)).isdisjoint(owned(two))
            assert bound(one).isdisjoint(bound(two))
            assert await totals(client) == [1] * len(KEYS)
            for key in KEYS:
                await client.entity("test.spread", key, shards=16).tell(Report(1))
            finished = one.parts.dispatch.counters, two.parts.dispatch.counters
            await until(lambda: sum(each.finished for each in finished) == len(KEYS))
            assert await totals(client) == [2] * len(KEYS)
        await until(lambda: len(bound(one)) == 16)
        assert await totals(client) == [2] * len(KEYS)


async def test_nodes_come_and_go_under_load_and_no_ask_and_no_tell_fails(servers):
    database = MemoryDatabase()
    answers: dict[str, int] = {}

    async def work(client: Node, key: str) -> None:
        for _ in range(12):
            answers[key] = await client.entity("test.spread", key, shards=16).ask(
                Report(1), timeout=60.0
            )

    async with servers.node("client") as client, AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            servers.node("one", store=MemoryStore(database), drain=30.0)
        )
        await one.start(Spread)
        working = [asyncio.create_task(work(client, key)) for key in KEYS[:6]]
        for name in ("two", "three"):
            async with servers.node(name, store=MemoryStore(database), drain=30.0) as other:
                await other.start(Spread)
                await until(lambda other=other: bound(other))
        await asyncio.gather(*working)
        assert answers == dict.fromkeys(KEYS[:6], 12)


async def test_a_node_that_is_cut_off_lets_go_and_others_take_over(servers, monkeypatch):
    monkeypatch.setattr(ownership_module, "LEASE", 0.5)
    database = MemoryDatabase()
    lost = CutStore(database)
    async with (
        servers.node("client") as client,
        servers.node("one", store=lost) as one,
        servers.node("two", store=MemoryStore(database)) as two,
    ):
        await one.start(Spread)
        for key in KEYS:
            assert await client.entity("test.spread", key, shards=16).ask(Report(1)) == 1
        await two.start(Spread)
        await until(lambda: bound(one) and bound(two))
        lost.cut = True
        await until(lambda: not bound(one) and len(bound(two)) == 16)
        assert owned(one) == []
        assert await totals(client) == [1] * len(KEYS)
        lost.cut = False
        await until(lambda: bound(one) and len(bound(one)) + len(bound(two)) == 16)
        assert await totals(client) == [1] * len(KEYS)


async def test_what_comes_to_a_shard_whose_lease_is_over_is_not_given_out_again_and_again(
    servers, monkeypatch
):
    """A broker counts each time, and the next node takes the count for attempts."""
    async with servers.node("one", store=MemoryStore()) as one:
        await one.start(Spread)
        ref = one.entity("test.spread", KEYS[0], shards=16)
        topic = mailbox_topic(shard_address("test.spread", shard_of(KEYS[0], 16)))
        consumption = servers.broker.channel(topic, MAILBOX_CHANNEL).consumers[0]
        monkeypatch.setattr(Ownership, "holds", False)
        await ref.tell_many([Report(1), Report(1)])[1]
        history = consumption.history
        await until(lambda: len(history) >= 2 and all(each.settled for each in history))
        assert [each.settled for each in history] == [("defer", 1.0)] * 2
        assert consumption.paused


async def test_two_that_believe_they_own_a_key_write_it_one_after_the_other(servers):
    """Whoever owns what: each of both commits on the version that stands, or not at all."""
    database = MemoryDatabase()
    handled: list[Any] = []
    async with (
        servers.node("one", store=MemoryStore(database)) as one,
        servers.node("two", store=MemoryStore(database)) as two,
    ):
        tables = []
        for node in (one, two):
            host = await node.start(child(Device, handled))
            tables.append(slot_of(host).actor.table)
        for _ in range(20):
            for table in tables:  # past ownership, as after a pause
                table.entry_for("a").slot.ref.tell(Report(1))
        await until(lambda: len(handled) >= 40)
        for table in tables:
            entry = table.entry_for("a")
            await until(lambda entry=entry: one.parts.durable.is_at_rest(entry.key))
            await until(lambda entry=entry: two.parts.durable.is_at_rest(entry.key))
        assert total_in(database, tables[0].entry_for("a").key) == 40


@message("test.state-of-old-code")
@dataclass
class OldState:
    total: int = 0
    seen: list[int] = field(default_factory=list)


@message("test.state-of-new-code", version=2)
@dataclass
class NewState(OldState):
    more: str = ""


class OldCode(Spread):
    address = "test.evolving"
    shards = 8
    state: OldState


class NewCode(Spread):
    address = "test.evolving"
    shards = 8
    state: NewState


async def test_what_newer_code_has_written_goes_to_nodes_that_have_it_and_costs_no_attempt(servers):
    """A node of older code gets its share of shards, cannot read them, and gives them up."""
    database = MemoryDatabase()
    async with (
        servers.node("new", store=MemoryStore(database), max_attempts=1) as new,
        servers.node("old", store=MemoryStore(database), max_attempts=1) as old,
    ):
        await new.start(NewCode)
        for key in KEYS:
            assert await new.entity("test.evolving", key).ask(Report(1)) == 1
        await old.start(OldCode)
        owners = [node.parts.durable.above[Ownership] for node in (new, old)]
        await until(lambda: owners[1].held_of("test.evolving"))
        for key in KEYS:
            await new.entity("test.evolving", key).tell(Report(1))
        counters = [node.parts.dispatch.counters for node in (new, old)]
        await until(lambda: counters[0].finished >= len(KEYS))
        assert len(owners[0].held_of("test.evolving")) == 8
        totals = [await new.entity("test.evolving", key).ask(Read()) for key in KEYS]
        assert totals == [2] * len(KEYS)
        assert [each.buried for each in counters] == [0, 0]


def total_in(database: MemoryDatabase, key: StateKey) -> int:
    state = database.tables.states[key].state
    return msgspec.msgpack.decode(msgspec.msgpack.decode(state)[3])["total"]


async def test_a_process_that_is_gone_is_known_to_be_on_its_own_host_alone():
    here = await process_place()
    host = here.rpartition("/")[0].rpartition("/")[0]
    assert here.split("/")[1] == str(os.getpid())
    places = {
        "me": here,
        "gone": f"{host}/999999999/1",
        "again": f"{host}/{os.getpid()}/1",
        "elsewhere": "other:1/999999999/1",
        "unknown": "",
        "bad": f"{host}/x/y",
    }
    assert await gone_among(places, here) == {"gone", "again"}
    assert await gone_among(places, "") == frozenset()
