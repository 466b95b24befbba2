"""Kills around each acknowledgement, over stores in a SQLite file and a PostgreSQL database.

As test_kills, which goes through every step of the store in memory; here the databases
are real. A connection that is lost in the middle of a commit is in tests/stores.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from actors import LoopClock
from irismq_runtime import Node
from irismq_runtime.durability.state_codec import StateCodec
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import StateKey
from supervisors import child
from tests.contracts.state_store_support import place_of
from tests.durability.helpers import AccountState, Move, Put
from tests.durability.killing import MortalWorld
from tests.durability.test_kills import AMOUNTS, TRANSFERS, Purse
from tests.node.helpers import MemoryServers
from tests.support.transports import MemoryBroker
from tests.support.until import until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

POINTS = ("commit", "sent", "committed", "publish", "published", "finish", "finished")
#: Seconds past due after which a row is told again, in place of a minute.
SOON = 0.05


class MortalStore:
    """The store of a node that may be killed: then it reaches nothing any more."""

    def __init__(self, store: Any, world: RealWorld) -> None:
        self._store = store
        self._world = world
        self._open = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if self._open or name in {"close", "info", "health"}:
            return found

        async def refuse(*_args: Any, **_options: Any) -> Any:
            raise StoreUnavailable("the store", "away", "killed", "unknown")

        return refuse

    async def commit(self, commits: Any) -> Any:
        self._point("commit")
        under_way = asyncio.ensure_future(self._store.commit(commits))
        await asyncio.sleep(0)
        try:
            self._point("sent")
        finally:
            done = await under_way
        self._point("committed")
        return done

    def _point(self, name: str) -> None:
        self._world.reach(name)
        if not self._open:
            raise StoreUnavailable("the store", "away", "killed", "unknown")

    def drop(self, _reason: str) -> None:
        """The node is killed."""
        self._open = False


class RealWorld(MortalWorld):
    """Servers in memory, a store in a database, and the time of the loop."""

    def __init__(self, place: Any, target: tuple[str, int]) -> None:
        MemoryServers.__init__(self, MemoryBroker(LoopClock()))
        self.place = place
        self.target = target
        self.reached = Counter()
        self.victim = None
        self.watching = False

    def victims_node(self) -> AbstractAsyncContextManager[Node]:
        store: Any = MortalStore(self.place.client(), self)
        transports = self.victims_transports(store)
        return Node(name="victim", store=store, transports=transports, drain=0.01)


async def begin(node: Node) -> None:
    """Start the two accounts on a node that looks for what is missing all the time."""
    engine = node.parts.durable
    engine.republish_after = SOON
    await node.start(child(Purse, "money.a"))
    await node.start(child(Purse, "money.b"))


async def amounts(place: Any, node: Node) -> dict[str, int]:
    """The cents of each account as the store has them, when nothing waits there any more."""
    store = place.client()
    await store.open(None)
    try:
        while (await store.sizes()).outbox:
            await asyncio.sleep(0)
        stored = await store.load([StateKey(address) for address in AMOUNTS])
    finally:
        await store.close()
    codec = StateCodec(node.parts.outbound.packer.serializer, AccountState, "", 1 << 20)
    states = {each.key.address: codec.decode(each.state) for each in stored}
    return {address: state.cents for address, state in states.items() if state is not None}


async def transfer(world: RealWorld) -> None:
    """Play the transfers, with the kill that the world has, until each is done once."""
    async with MemoryServers.node(world, "client") as client, world.victims_node() as victim:
        await begin(victim)
        world.watching = True
        client.ref("money.a").tell(Put(10))
        for _ in range(TRANSFERS):
            client.ref("money.a").tell(Move("money.b", 4))
        await until(lambda: world.victim is None)
        async with MemoryServers.node(world, "next", store=world.place.client()) as following:
            await begin(following)
            async with asyncio.timeout(60.0):
                while await amounts(world.place, following) != AMOUNTS:
                    await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert await amounts(world.place, following) == AMOUNTS


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path) -> Any:
    return place_of(request, tmp_path)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("count", [1, 2])
async def test_a_kill_around_each_acknowledgement_leaves_each_transfer_done_once(
    place, point, count
):
    await transfer(RealWorld(place, (point, count)))
