"""What the shop's services say to each other: one dataclass a message.

The names given to `@message` are the contract with every other program, in any
language. A field of a wrong type is refused before it reaches an actor. `Request[int]`
says what the answer is; only a type checker looks at it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors import Request, message


@message("shop.restock")
@dataclass(frozen=True, slots=True)
class Restock(Request[int]):
    """Ask to add `count` of `sku`; the answer is how many there are now."""

    sku: str
    count: int


@message("shop.stock")
@dataclass(frozen=True, slots=True)
class Stock(Request[int]):
    """Ask how many of `sku` are left."""

    sku: str


@message("shop.reserve")
@dataclass(frozen=True, slots=True)
class Reserve(Request[int]):
    """Ask to set `count` of `sku` aside for `order`; the answer is how many are left."""

    order: str
    sku: str
    count: int


@message("shop.low_stock")
@dataclass(frozen=True, slots=True)
class LowStock:
    """Tell the buyer that only `left` of `sku` are left."""

    sku: str
    left: int


@message("shop.placed")
@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an order; `shipping` in cents."""

    order: str
    accepted: bool
    shipping: int = 0
    reason: str = ""


@message("shop.order")
@dataclass(frozen=True, slots=True)
class Order(Request[Placed]):
    """Tell, or ask, to place an order. `order` is its number, chosen by the customer's side."""

    order: str
    sku: str
    count: int
    country: str


@message("shop.reload")
@dataclass(frozen=True, slots=True)
class Reload:
    """Tell every member to read its settings again."""


@message("shop.reservation")
@dataclass(frozen=True, slots=True)
class Reservation:
    """One line of the statement."""

    order: str
    sku: str
    count: int


@message("shop.page")
@dataclass(frozen=True, slots=True)
class Page(Request[list[Reservation]]):
    """Ask for some reservations behind the one of the order `after`."""

    after: str = ""


@message("shop.statement")
@dataclass(frozen=True, slots=True)
class Statement(Request[AsyncIterator[Reservation]]):
    """Ask for a stream of all reservations."""
