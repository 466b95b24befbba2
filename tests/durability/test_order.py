"""The order of a sender's messages to one durable actor, and what of them is missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from actors import message, receives
from irismq_runtime import Durable, current_node
from irismq_runtime.durability import rights
from irismq_runtime.durability.origin import number_of
from irismq_runtime.ports.state_store import StateKey
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Balance, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until


@message("test.count-up")
@dataclass(frozen=True)
class CountUp:
    last: int
    delay: float = 0.0


class Caller(Durable):
    """Tells the numbers up to the last one, the first one with the delay."""

    address = "test.caller"

    @receives(CountUp)
    def count(self, up: CountUp) -> None:
        other = current_node().ref("b")
        for number in range(1, up.last + 1):
            other.tell(Put(number), delay=up.delay if number == 1 else 0.0)


class Scribe(Account):
    """Writes down in which order it was told, and fails at the third number twice."""

    @receives(Put)
    def put(self, put: Put) -> None:
        self.handled.append(put)
        if put.cents == 3 and self.handled.count(put) < 3:
            raise ValueError("not yet")
        self.state.lines.append(str(put.cents))

    @receives(Balance)
    def balance(self, _: Balance) -> list[str]:
        return self.state.lines


def number_in(node: Any, record: Any) -> int:
    """The number of the row that a stored message is."""
    packer = node.parts.outbound.packer
    envelope = packer.open_untrusted(record.body, "store", "b", None, record.timestamp)
    return number_of(envelope, node.parts.durable.origin)


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


async def told(servers: MemoryServers, node: Any, up: CountUp) -> Any:
    """Have the numbers told while nobody takes them; the channel in which they wait."""
    for dispatch in node.parts.durable._dispatches:
        if dispatch.owner == "b":
            dispatch.pause.add("test")
    await node.ref("test.caller").tell(up)
    channel = servers.broker.topics["b"]["mailbox"]
    await until(lambda: len(channel.waiting) == up.last)
    return channel


def take(node: Any) -> None:
    """Have them taken."""
    for dispatch in node.parts.durable._dispatches:
        if dispatch.owner == "b":
            dispatch.pause.remove("test")


async def test_what_one_sender_told_is_handled_in_the_order_told_however_it_comes(
    servers, monkeypatch
):
    monkeypatch.setattr(rights, "_EARLY_FIRST", 0.001)
    database = MemoryDatabase()
    async with servers.node(store=MemoryStore(database), max_attempts=5) as node:
        await node.start(Supervisor.of(child(Scribe, "b", []), max_restarts=10))
        await node.start(Caller)
        channel = await told(servers, node, CountUp(6))
        channel.waiting.reverse()
        take(node)
        await until(lambda: not database.tables.rows)
        assert await node.ref("b").ask(Balance()) == ["1", "2", "3", "4", "5", "6"]
        # What came too early was not given back to the broker, which counts that.
        assert node.parts.durable.numbers.sent_again > 0
        assert node.parts.dispatch.counters.requeued == 2


async def test_what_is_settled_while_others_are_undone_is_not_handled_beside_its_next_telling(
    servers, monkeypatch
):
    monkeypatch.setattr(rights, "_EARLY_FIRST", 0.001)
    database, handled = MemoryDatabase(), []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "b", handled))
        await node.start(Caller)
        channel = await told(servers, node, CountUp(6))
        channel.waiting.reverse()
        settled = []
        look = rights.Rights.look

        async def undone_meanwhile(self, activation, item):
            may_begin = await look(self, activation, item)
            if not may_begin:
                settled.append(id(item))
                activation.generation += 1  # as where another member has overtaken this one
            return may_begin

        monkeypatch.setattr(rights.Rights, "look", undone_meanwhile)
        take(node)
        await until(lambda: not database.tables.rows)
        assert settled
        assert len(set(settled)) == len(settled)
        assert [put.cents for put in handled] == [1, 2, 3, 4, 5, 6]
        assert await node.ref("b").ask(Balance()) == 21


@pytest.mark.parametrize("delay", [0.0, 0.001], ids=["in order", "delayed"])
async def test_what_the_broker_has_lost_is_told_again_though_the_mailbox_is_never_empty(
    servers, monkeypatch, delay
):
    monkeypatch.setattr(rights, "_EARLY_FIRST", 0.001)
    database = MemoryDatabase()
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "b"))
        await node.start(Caller)
        engine = node.parts.durable
        engine.republish_after = 0.0
        channel = await told(servers, node, CountUp(2, delay))
        channel.waiting.remove(min(channel.waiting, key=partial(number_in, node)))
        take(node)
        await until(lambda: engine._active[StateKey("b")].latest)
        rows = database.tables.rows.values()
        await until(lambda: all(row.due < database.now() for row in rows))
        no_one = frozenset[str]()
        assert await engine.rows.look((), no_one, engine._passed()) == 0
        assert await engine.rows.look((), no_one, engine._passed()) == 1
        await until(lambda: not database.tables.rows)
        assert await node.ref("b").ask(Balance()) == 3
