"""How long it is remembered that a message without a row was handled, and which one says more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import message, receives
from actors.testing import ManualClock
from irismq_runtime import Durable, current_node
from irismq_runtime.config import NodeConfig
from irismq_runtime.messaging import Packer
from irismq_runtime.node.assembly import _may_repeat_long
from irismq_runtime.ports import TransportHealth
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import Kind, Serializer
from irismq_runtime.wire.headers import REPEATS_LONG
from supervisors import child
from tests.durability.helpers import Account, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from irismq_runtime import Node

HOUR = 3_600.0
LOOK = 30.0
NEVER = 1e9


@message("test.herald-tells")
@dataclass(frozen=True)
class Tells:
    to: str


class Herald(Durable):
    """Tells whom it is told to tell."""

    address = "test.herald"

    @receives(Tells)
    def tells(self, order: Tells) -> None:
        current_node().ref(order.to).tell(Put(1))


class World:
    """One node with an account; the store has a time of its own."""

    def __init__(self) -> None:
        self.clock, self.time = ManualClock(), ManualClock()
        self.servers = MemoryServers()
        self.database = MemoryDatabase(clock=self.time)

    @property
    def handled(self) -> int:
        return len(self.database.tables.handled)

    def node(self, republish_after: float = 2 * LOOK) -> Any:
        store = MemoryStore(self.database)
        return self.servers.node(store=store, clock=self.clock, republish_after=republish_after)

    async def look(self, node: Node, times: int = 1) -> None:
        """Let time pass between looks."""
        for _ in range(times):
            self.clock.advance(LOOK)
            await look_at_all(node)

    def mailbox(self, node: Node) -> Any:
        """What consumes for the account."""
        (dispatch,) = node.parts.durable._dispatches
        return dispatch._consumption


async def look_at_all(node: Node) -> None:
    """Look at the mailboxes of all durable actors, as the engine does every now and then."""
    for dispatch in tuple(node.parts.durable._dispatches):
        await dispatch.forget_handled(LOOK - 1)


@pytest.fixture
def world() -> World:
    return World()


async def handle_one(world: World, node: Node) -> None:
    await node.start(child(Account, "a"))
    await node.ref("a").tell(Put(1))
    await until(lambda: node.parts.dispatch.counters.finished >= 1)


async def test_an_hour_after_it_an_id_goes_once_the_mailbox_is_empty(world: World):
    async with world.node() as node:
        await handle_one(world, node)
        world.time.advance(HOUR)
        await until(lambda: (world.clock.advance(LOOK), world.handled == 0)[1], at_leisure=True)


async def test_within_the_hour_no_id_goes(world: World):
    async with world.node(NEVER) as node:
        await handle_one(world, node)
        world.time.advance(HOUR - 1)
        await world.look(node, 3)
        assert world.handled == 1
        world.time.advance(2)
        world.clock.advance(HOUR / 6)
        await world.look(node)
        assert world.handled == 0


async def test_no_id_goes_before_two_looks_found_the_mailbox_empty_at_all_brokers(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    async with world.node(NEVER) as node:
        await handle_one(world, node)
        world.time.advance(2 * HOUR)
        away = TransportHealth(ok=False, reason="one of two brokers is away")
        with monkeypatch.context() as patch:
            patch.setattr(world.mailbox(node), "health", lambda: away)
            await world.look(node, 3)
        await world.look(node)
        world.clock.advance(LOOK)
        await node.ref("a").tell(Put(1))
        await until(lambda: node.parts.dispatch.counters.finished >= 2)
        await look_at_all(node)
        await world.look(node)
        assert world.handled == 2
        await world.look(node)
        assert world.handled == 1


async def test_an_id_of_a_sender_that_may_repeat_it_for_long_is_kept_for_a_week(world: World):
    elsewhere = MemoryStore(MemoryDatabase())
    async with world.node() as node, world.servers.node("other", store=elsewhere) as other:
        await node.start(child(Account, "a"))
        await other.start(Herald)
        await other.ref("test.herald").tell(Tells("a"))
        await until(lambda: node.parts.dispatch.counters.finished >= 1)
        world.time.advance(6 * 24 * HOUR)
        await world.look(node, 3)
        assert world.handled == 1
        world.time.advance(24 * HOUR)
        await until(lambda: (world.clock.advance(LOOK), world.handled == 0)[1], at_leisure=True)


def test_a_node_that_keeps_copies_says_that_what_it_stores_may_come_again():
    def headers(verb: Any, **options: Any) -> dict[str, Any]:
        packer = Packer("n1", Serializer(), **options)
        _, data, _ = packer.new(Kind.TELL, "hi", {}, None, verb, "a")
        return packer.open_untrusted(data).headers  # type: ignore[union-attr]  # an envelope

    assert headers("store", repeats=REPEATS_LONG)["r"] == REPEATS_LONG
    assert "r" not in headers("request", repeats=REPEATS_LONG)
    assert "r" not in headers("store")
    copies = {"mailbox_options": {"copies": 2}}
    for options, says in (copies, True), ({"publish_timeout": 2 * HOUR}, True), ({}, False):
        assert _may_repeat_long(NodeConfig(**options)) is says
