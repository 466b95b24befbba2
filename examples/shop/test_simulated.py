"""The counters in a simulated cluster: they are killed and cut off, and no order is lost.

The inventory has a thread of its own, which a simulation refuses; a stand-in with the same
store answers in its place. The counters are those of service.py, unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Actor, Refused, receives
from irismq_runtime.simulation import Cluster, simulate
from supervisors import Supervisor, child

from .messages import Order, Page, Reserve, Statement
from .service import Counter
from .store import Store

if TYPE_CHECKING:
    from .messages import Reservation

STOCK = 1000


class Shelf(Actor[Reserve | Page]):
    """The inventory, without a thread: its database is in memory, outside of all machines."""

    address = "shop.inventory"

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    @receives(Reserve)
    def reserve(self, request: Reserve) -> int:
        """As the inventory does."""
        if not self._store.reserve(request.order, request.sku, request.count):
            raise Refused("too few", code="sold-out")
        return self._store.count(request.sku)

    @receives(Page)
    def page(self, question: Page) -> list[Reservation]:
        """As the inventory does."""
        return self._store.page(question.after, 100)


@simulate(seeds=3, hosts=3)
async def test_every_order_is_placed_once_whatever_happens_to_the_counters(
    cluster: Cluster,
) -> None:
    store, told = Store(":memory:"), set()
    store.add("tea", STOCK)
    await cluster.start(Supervisor.of(child(Shelf, store)), on=["a"])
    await cluster.start(Counter, on=["b", "c"])
    orders = cluster.ref("shop.orders")

    async def order(cluster: Cluster) -> None:
        if cluster.random.random() < 0.02:
            cluster.strike("kill", cluster.random.choice("bc"), lasts=1.0)
        number = str(cluster.random.randrange(10**9))
        await orders.tell(Order(number, "tea", 1, "FR"))
        told.add(number)

    async with cluster.faults(cut=12.0):
        await cluster.workload(order, rate=10.0, seconds=20.0)
    await cluster.heal()
    placed = [line.order async for line in orders.stream(Statement())]
    assert set(placed) == told
    assert store.count("tea") == STOCK - len(placed)
    store.close()
