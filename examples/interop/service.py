"""Our side of the conversation: one address, for strangers and for peers.

`interop.desk` takes orders as bare JSON (a stranger's) and as typed messages (a
peer's), publishes what it sold both ways, listens to `interop.news`, and visits
other addresses when it is told to. What it was told is in `Desk.log`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from actors import Actor, Refused, Reject, Request, exposed, message, receives
from irismq_runtime import RemoteFault, current_node, durable, live
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from irismq_runtime import Tunnel

__all__ = ["CountTo", "Desk", "DeskTree", "Order", "Receipt"]

NEWS = "interop.news"
SOLD = "interop.sold"
SOLD_JSON = "interop.sold.json"


@message("desk.receipt")
@dataclass(frozen=True)
class Receipt:
    """What an order became."""

    number: int
    item: str
    price: Decimal


@message("desk.order")
@dataclass(frozen=True)
class Order(Request[Receipt]):
    """Some of an item."""

    item: str
    count: int = 1


@message("desk.do")
@dataclass(frozen=True)
class Do(Request[object]):
    """Something that shows one way in which a message can end."""

    what: str


@message("desk.count")
@dataclass(frozen=True)
class CountTo(Request[AsyncIterator[int]]):
    """Ask for a stream of the numbers below `last`."""

    last: int


@message("desk.visit")
@dataclass(frozen=True)
class Visit:
    """Talk to the peer at `address`, with every verb there is."""

    address: str


class Clerk(Actor):
    """Somebody whose ref can be sent, watched, asked and dismissed."""

    def on_receive(self, message: object) -> str:
        """Answer; end when told to."""
        if message == "retire":
            self.actor_ref.stop(block=False)
        return f"the clerk heard {message}"


class Desk(Actor):
    """Sells what it is asked for, and is out of gold."""

    address = "interop.desk"
    subscribes = (live(NEWS), durable(NEWS, channel="desk"))

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__()
        self.log = [] if log is None else log
        self.sold = 0
        self.receipts: list[Receipt] = []

    def sell(self, item: str, count: int = 1) -> Receipt:
        """Sell it and tell the world, in both forms."""
        self.log.append((self.context.kind, item))
        if item == "gold":
            raise Refused("no gold left", code="sold-out")
        self.sold += count
        receipt = Receipt(self.sold, item, Decimal("1.50") * count)
        self.receipts.append(receipt)
        node = current_node()
        for durable_too in (True, False):
            node.publish(SOLD, receipt, durable=durable_too)
            event = {"number": receipt.number, "item": item}
            node.publish(SOLD_JSON, event, durable=durable_too, foreign="json")
        return receipt

    @receives(Order)
    def order(self, order: Order) -> Receipt:
        """Take a peer's order."""
        return self.sell(order.item, order.count)

    @receives(dict)
    async def from_a_stranger(self, message: dict[str, Any]) -> object:
        """Take bare JSON: an order, news, or an invitation."""
        if "order" in message:
            return {"number": self.sell(message["order"]).number}
        if "visit" in message:
            await self.visit_stranger(message["visit"])
        else:
            self.log.append((self.context.kind, message))
        return None

    async def visit_stranger(self, address: str) -> None:
        """Ask, tell and tell all a program that knows nothing of us."""
        stranger = current_node().ref(address, foreign="json")
        self.log.append(await stranger.ask({"any": "tea"}))
        try:
            await stranger.ask({"any": "coffee"})
        except RemoteFault as fault:
            self.log.append(fault.text)
        await stranger.tell({"bring": "sugar"})
        stranger.tell_all({"closing": "soon"})

    @receives(Visit)
    async def visit(self, visit: Visit) -> None:
        """Talk to a peer as to any other service."""
        peer = current_node().ref(visit.address)
        self.log.append(await peer.ask(Order("scone")))
        try:
            await peer.ask(Order("gold"))
        except Refused as refused:
            self.log.append((refused.reason, refused.code))
        self.log.append((await peer.ask_all(Order("roll"))).values)
        self.log.append([item async for item in peer.stream(CountTo(3))])
        async with peer.tunnel() as tunnel:
            await tunnel.send("good day")
            self.log.append(await tunnel.receive())
        await peer.tell(Order("butter"))
        peer.tell_all("closing soon")

    @receives(Do)
    async def do(self, do: Do) -> object:
        """Crash, reject, tell what was sold, lend a clerk, or wait for ever."""
        match do.what:
            case "crash":
                raise ValueError("the desk fell over")
            case "reject":
                raise Reject("not at this desk")
            case "history":
                return self.receipts
            case "clerk":
                return current_node().system.start(Clerk)
            case "wait":
                await self.wait()
        return None

    async def wait(self) -> None:
        """Wait until cancelled, and say so."""
        node = current_node()
        node.publish(SOLD, "waiting", durable=False)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            node.publish(SOLD, "cancelled", durable=False)
            raise

    @receives(CountTo)
    async def count(self, asked: CountTo) -> AsyncIterator[int]:
        """Yield the numbers below `last`."""
        for number in range(asked.last):
            yield number

    @exposed
    def price(self, item: str, *, count: int = 1) -> Decimal:
        """Return what so many of it cost."""
        return Decimal("1.50") * count if item else Decimal(0)

    async def on_tunnel(self, tunnel: Tunnel) -> None:
        """Answer each message of a conversation in capitals."""
        async for text in tunnel:
            await tunnel.send(text.upper())

    def on_receive(self, message: object) -> None:
        """Keep everything else: news, and what is told to all."""
        self.log.append((self.context.kind, message))


class DeskTree(Supervisor):
    """One desk that may fall over now and then."""

    max_restarts = 10
    children = (child(Desk),)
