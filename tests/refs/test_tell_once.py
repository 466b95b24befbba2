"""A tell with an id of its sender's: told again under it, it is the same message."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from actors import Actor, Reject, message, receives
from irismq_runtime import Durable, current_node
from irismq_runtime.wire import named_id
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.until import until


@message("once.state")
@dataclass
class Paid:
    amounts: list[int] = field(default_factory=list)


class Cashier(Actor):
    address = "once.cashier"

    def __init__(self, log):
        self.log = log

    @receives(int)
    def pay(self, amount):
        self.log.append(amount)
        if amount < 0:
            raise Reject("no")


class Ledger(Durable):
    address = "once.ledger"
    state: Paid

    @receives(int)
    def pay(self, amount: int) -> None:
        self.state.amounts.append(amount)

    @receives(str)
    def paid(self, _message: str) -> list[int]:
        return list(self.state.amounts)

    @receives(bytes)
    def told(self, message: bytes) -> None:
        current_node().ref("once.cashier").tell(1, id="in-a-unit")


@pytest.fixture
async def world():
    return MemoryServers()


async def test_it_is_handled_once_whoever_tells_it_again(world):
    log = []
    async with world.node("shop") as shop, world.node("other") as other:
        await shop.start(Supervisor.of(child(Cashier, log)))
        for teller in (shop, other, shop):
            receipt = teller.ref("once.cashier").tell(5, id="invoice-7")
            await receipt
            assert receipt.id == named_id("once.cashier", "invoice-7")
        await shop.ref("once.cashier").tell(6, id="invoice-8")
        await shop.ref("once.cashier").tell(7)
        await until(lambda: 7 in log)
        await until(lambda: shop.parts.dispatch.counters.duplicates == 2)
        assert log == [5, 6, 7]


async def test_what_was_put_aside_may_be_told_again(world):
    log = []
    async with world.node() as node:
        await node.start(Supervisor.of(child(Cashier, log)))
        for _ in range(2):
            await node.ref("once.cashier").tell(-1, id="invoice-7")
            await until(lambda: node.parts.dispatch.counters.buried == len(log) > 0)
        await until(lambda: log == [-1, -1])


async def test_a_durable_actor_handles_it_once_in_another_process_too(world):
    from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore

    database = MemoryDatabase()
    for _ in range(2):
        async with world.node(store=MemoryStore(database)) as node:
            await node.start(Ledger)
            ledger = node.ref("once.ledger")
            await ledger.tell(5, id="invoice-7", within=86_400)
            await ledger.tell(6, id="invoice-8")
            await until(lambda: node.parts.dispatch.counters.finished == 2)
            assert sorted(await ledger.ask("paid")) == [5, 6]


async def test_what_cannot_be_an_id_or_a_time_is_refused(world):
    async with world.node(store="memory:") as node:
        await node.start(Ledger)
        cashier = node.ref("once.cashier")
        for options in ({"id": ""}, {"id": "a\0b"}, {"id": 5}, {"id": "a", "within": 10**7}):
            with pytest.raises(ValueError, match=r"id|within"):
                cashier.tell(1, **options)
        with pytest.raises(ValueError, match="foreign"):
            node.ref("once.cashier", foreign="json").tell(1, id="a")
        with pytest.raises(Exception, match="leave `id` out"):
            await node.ref("once.ledger").ask(b"")


def test_an_id_belongs_to_its_address():
    assert named_id("a", "b") != named_id("b", "a") != named_id("a\0", "b")
    assert len(named_id("a", "b")) == 16
