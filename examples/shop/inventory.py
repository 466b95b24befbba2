"""The stock, as a durable actor: it answers questions and sets goods aside."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors import Refused, message, receives
from irismq_runtime import Durable, current_node

from .messages import LowStock, Page, Reservation, Reserve, Restock, Stock

#: The buyer hears of a sku when fewer are left.
LOW = 5
#: Reservations on one page of the statement.
PAGE = 100
#: A table of its own, in the same database and the same commits as the state.
TABLE = """create table if not exists reservation
(number text not null, sku text not null, count integer not null)"""


@message("shop.shelves")
@dataclass
class Shelves:
    """How many of each sku are left: the inventory's state, as it is stored."""

    left: dict[str, int] = field(default_factory=dict)


class Inventory(Durable[Stock | Restock | Reserve | Page]):
    """Keeps the stock, and a line for each order."""

    address = "shop.inventory"
    state: Shelves

    @receives(Stock)
    def stock(self, question: Stock) -> int:
        """How many are left."""
        return self.state.left.get(question.sku, 0)

    @receives(Restock)
    def restock(self, request: Restock) -> int:
        """Add some; how many there are now."""
        now = self.state.left[request.sku] = self.stock(Stock(request.sku)) + request.count
        return now

    @receives(Reserve)
    async def reserve(self, request: Reserve) -> int:
        """Set some aside; how many are left."""
        before = self.stock(Stock(request.sku))
        left = before - request.count
        if left < 0:
            raise Refused(f"only {before} {request.sku} left", code="sold-out")
        self.state.left[request.sku] = left
        async with self.sql() as sql:
            await sql.execute(TABLE)
            line = (request.order, request.sku, request.count)
            await sql.execute("insert into reservation values (?, ?, ?)", *line)
        if left < LOW <= before:
            current_node().ref("shop.buyer").tell(LowStock(request.sku, left))
        return left

    @receives(Page)
    async def page(self, question: Page) -> list[Reservation]:
        """Some reservations, in the order of their numbers."""
        async with self.sql() as sql:
            await sql.execute(TABLE)
            rows = await sql.fetch(
                "select * from reservation where number > ? order by number limit ?",
                question.after,
                PAGE,
            )
        return [Reservation(*row) for row in rows]
