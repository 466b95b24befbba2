"""The stock, as an actor: it answers questions and sets goods aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors import Refused, ThreadActor, receives

from .messages import LowStock, Page, Reservation, Reserve, Restock, Stock
from .store import Store

if TYPE_CHECKING:
    import pathlib

    from actors import ActorRef
    from irismq_runtime import ServiceRef

#: The buyer hears of a sku when fewer are left,
LOW = 5
#: and then not again for so many seconds.
SILENCE = 3600.0
#: Reservations on one page of the statement.
PAGE = 100


@dataclass(frozen=True, slots=True)
class _Forget:
    """To itself: the silence about `sku` is over."""

    sku: str


class Inventory(ThreadActor[Stock | Restock | Reserve | Page]):
    """Keeps the stock in SQLite, which blocks: so it has a thread of its own."""

    address = "shop.inventory"

    def __init__(self, path: pathlib.Path | str, buyer: ServiceRef[LowStock] | ActorRef) -> None:
        super().__init__()
        self._path = path
        self._buyer = buyer
        self._warned: set[str] = set()

    def on_start(self) -> None:
        """Open the store, in the actor's own thread."""
        self._store = Store(self._path)

    def on_stop(self) -> None:
        """Close it."""
        self._store.close()

    @receives(Stock)
    def stock(self, question: Stock) -> int:
        """How many are left."""
        return self._store.count(question.sku)

    @receives(Restock)
    def restock(self, request: Restock) -> int:
        """Add some; how many there are now."""
        return self._store.add(request.sku, request.count)

    @receives(Reserve)
    def reserve(self, request: Reserve) -> int:
        """Set some aside; how many are left."""
        if not self._store.reserve(request.order, request.sku, request.count):
            left = self._store.count(request.sku)
            raise Refused(f"only {left} {request.sku} left", code="sold-out")
        left = self._store.count(request.sku)
        if left < LOW and request.sku not in self._warned:
            self._buyer.tell(LowStock(request.sku, left))
            self._warned.add(request.sku)
            self.send_after(SILENCE, _Forget(request.sku))
        return left

    @receives(_Forget)
    def forget(self, over: _Forget) -> None:
        """The buyer may hear of it again."""
        self._warned.discard(over.sku)

    @receives(Page)
    def page(self, question: Page) -> list[Reservation]:
        """Some reservations, in the order of their numbers."""
        return self._store.page(question.after, PAGE)
