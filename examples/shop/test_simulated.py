"""The shop in a simulated cluster: any of it is killed and cut off, each order is placed once."""

from __future__ import annotations

from irismq_runtime.simulation import Cluster, simulate

from .messages import Order, Restock, Statement, Stock
from .service import Counter, Warehouse

STOCK = 1000


@simulate(seeds=2, hosts=3, node={"store": "sqlite:///shop.db"})
async def test_every_order_is_placed_once_whatever_is_killed(cluster: Cluster) -> None:
    await cluster.start(Warehouse, on=["a"])
    await cluster.start(Counter, on=["b", "c"])
    orders, inventory = cluster.ref("shop.orders"), cluster.ref("shop.inventory")
    assert await inventory.ask(Restock("tea", STOCK)) == STOCK
    told: list[str] = []

    async def order(cluster: Cluster) -> None:
        number = str(cluster.random.randrange(10**9))
        await orders.tell(Order(number, "tea", 1, "FR"))
        told.append(number)
        if cluster.random.random() < 0.15:  # in the middle of it
            cluster.strike("kill", cluster.random.choice("abc"), lasts=1.0)

    async with cluster.faults(cut=8.0):
        await cluster.workload(order, rate=10.0, seconds=12.0)
    await cluster.heal()
    placed = [line.order async for line in orders.stream(Statement())]
    assert sorted(placed) == sorted(told)
    assert await inventory.ask(Stock("tea")) == STOCK - len(placed)
