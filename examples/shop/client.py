"""A customer's program: it orders, and reads the statement.

    python -m shop.client

It finds the servers at their usual ports, or where IRISMQ_NSQD_ADDRESS and
IRISMQ_IRIS_ADDRESS say.
"""

from __future__ import annotations

import os

from irismq_runtime import Node, ServiceRef, run

from .messages import Order, Statement


async def main() -> None:
    """Order twice, then print what is set aside."""
    nsqd = os.environ.get("IRISMQ_NSQD_ADDRESS", "127.0.0.1:4150")
    iris = os.environ.get("IRISMQ_IRIS_ADDRESS", "127.0.0.1:55555")
    async with Node(name="customer", nsqd=nsqd, iris=iris) as node:
        orders: ServiceRef[Order | Statement] = node.ref("shop.orders")
        placed = await orders.ask(Order("6", "tea", 1, "FR"))
        print(f"order {placed.order}: {placed.shipping} cents for shipping")
        await orders.tell(Order("7", "tea", 1000, "FR"))  # the broker has it; the rest is theirs
        async for line in orders.stream(Statement()):
            print(f"order {line.order}: {line.count} {line.sku}")


if __name__ == "__main__":
    run(main())
