"""The counter, as an actor: it takes orders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from actors import Actor, AskTimeout, Refused, Retry, receives
from irismq_runtime import ConnectionLost, NoSuchService

from .messages import Order, Page, Placed, Reload, Reservation, Reserve, Statement

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from irismq_runtime import ServiceRef


class Orders(Actor[Order | Reload | Statement]):
    """Takes orders, and has the goods set aside by the inventory."""

    address = "shop.orders"

    def __init__(self, rates: pathlib.Path, inventory: ServiceRef[Reserve | Page]) -> None:
        super().__init__()
        self._path = rates
        self._inventory = inventory

    def on_start(self) -> None:
        """Read what shipping costs in each country, in cents."""
        self._rates: dict[str, int] = json.loads(self._path.read_text())

    @receives(Order)
    async def place(self, order: Order) -> Placed:
        """Accept an order, or decline it."""
        shipping = self._rates[order.country]  # a country that is not listed: let it crash
        try:
            # Under the order's number: it is handled once, however often the order comes.
            await self._inventory.ask(Reserve(order.order, order.sku, order.count), id=order.order)
        except Refused as refused:
            return Placed(order.order, accepted=False, reason=refused.reason)
        except (NoSuchService, ConnectionLost, AskTimeout) as error:
            raise Retry(penalty=False) from error  # the inventory is away: once more, later
        return Placed(order.order, accepted=True, shipping=shipping)

    @receives(Reload)
    def reload(self, _: Reload) -> None:
        """Read the shipping costs again."""
        self.on_start()

    @receives(Statement)
    async def statement(self, _: Statement) -> AsyncIterator[Reservation]:
        """All reservations, one at a time, as fast as the reader takes them."""
        after = ""
        while page := await self._inventory.ask(Page(after)):
            for line in page:
                yield line
            after = page[-1].order
