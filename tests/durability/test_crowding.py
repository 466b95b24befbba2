"""An address for which too much waits in the store is told nothing more until there is room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from actors import message, receives
from actors.testing import ManualClock
from irismq_runtime import Durable, RemoteError, current_node
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until

MOST = 20


@message("test.spread")
@dataclass(frozen=True)
class Spread:
    to: str
    times: int


class Crier(Durable):
    """Tells an address so often."""

    address = "test.crier"

    @receives(Spread)
    def spread(self, order: Spread) -> int:
        for _ in range(order.times):
            current_node().ref(order.to).tell(Put(1))
        return order.times


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


def is_full(node: Any, address: str, *, owned: bool) -> bool:
    return (address, owned) in node.parts.durable.crowding.full


async def test_who_tells_more_than_may_wait_is_refused_until_it_is_handled(servers):
    clock, database = ManualClock(), MemoryDatabase()
    options = {"store": MemoryStore(database), "clock": clock, "outbox_rows": MOST}
    async with servers.node(**options) as node:
        await node.start(child(Account, "b"))
        await node.start(Supervisor.of(child(Crier), max_restarts=100))
        (pause,) = [d.pause for d in node.parts.durable._dispatches if d.owner == "b"]
        pause.add("test")
        crier = node.ref("test.crier")
        assert await crier.ask(Spread("b", MOST)) == MOST
        await until(lambda: is_full(node, "b", owned=True))
        with pytest.raises(RemoteError, match="20 messages for 'b' wait in the store"):
            await crier.ask(Spread("b", 1))
        assert len(database.tables.rows) == MOST
        assert await crier.ask(Spread("test.other", 1)) == 1
        pause.remove("test")
        await until(lambda: not [row for row in database.tables.rows.values() if row.owned])
        clock.advance(1.0)
        with pytest.raises(RemoteError, match="wait in the store"):
            await crier.ask(Spread("b", 1))  # by which it is counted again
        await until(lambda: not is_full(node, "b", owned=True))
        assert await crier.ask(Spread("b", 1)) == 1


async def test_what_waits_for_a_broker_is_counted_for_who_told_it(servers, monkeypatch):
    database = MemoryDatabase()
    async with servers.node(store=MemoryStore(database), outbox_rows=MOST) as node:
        await node.start(Supervisor.of(child(Crier), max_restarts=100))

        def unheard(*_args: object, **_options: object) -> object:
            return asyncio.get_running_loop().create_future()

        monkeypatch.setattr(node.parts.durable.mailbox, "publish", unheard)
        crier = node.ref("test.crier")
        assert await crier.ask(Spread("test.one", MOST)) == MOST
        await until(lambda: is_full(node, "test.crier", owned=False))
        with pytest.raises(RemoteError, match=r"20 messages of 'test\.crier' wait in the store"):
            await crier.ask(Spread("test.another", 1))
