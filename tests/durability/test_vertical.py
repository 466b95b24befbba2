"""A durable actor from its load to its answer: state, outbox and right in one commit."""

from __future__ import annotations

import pytest

from actors import Refused
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Balance, Move, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


async def test_a_state_lasts_beyond_its_node(servers):
    database = MemoryDatabase()
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Supervisor.of(child(Account)))
        ref = node.ref("test.account")
        assert await ref.ask(Put(5)) == 5
        await ref.tell(Put(2))
        assert await ref.ask(Balance()) in {5, 7}
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Supervisor.of(child(Account)))
        assert await node.ref("test.account").ask(Balance()) == 7


async def test_what_is_told_leaves_with_the_commit(servers):
    database, told = MemoryDatabase(), []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Supervisor.of(child(Account, "a"), child(Account, "b", told, name="b")))
        a, b = node.ref("a"), node.ref("b")
        await a.ask(Put(10))
        await a.tell(Move("b", 4))

        await until(lambda: told and not database.tables.rows)
        assert await b.ask(Balance()) == 4
        assert await a.ask(Balance()) == 6
        with pytest.raises(Refused):
            await a.ask(Move("b", 40))
        assert await a.ask(Balance()) == 6
