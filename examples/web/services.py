"""The services: an auctioneer, who is asked and streamed from, and letters, which are told.

They know nothing of HTTP. `irismq run examples.web.services:Services` runs both; so may two
processes, one each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actors import Actor, Refused, receives
from irismq_runtime import RetryPolicy, current_node
from supervisors import Supervisor

from .messages import Bid, Leading, Outbid, Place, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["AUCTIONEER", "LETTERS", "Auctioneer", "Letters", "Services"]

AUCTIONEER = "auction.auctioneer"
LETTERS = "auction.letters"


class Letters(Actor):
    """Writes to those who were outbid. A letter waits in the mailbox while nobody writes."""

    address = LETTERS
    retry_policy = RetryPolicy(attempts=10, first=1.0, longest=60.0)

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    @receives(Outbid)
    def write(self, message: Outbid) -> None:
        """One letter."""
        self.written.append(f"{message.who}: {message.by.who} bids {message.by.amount}")


class Auctioneer(Actor):
    """Knows who leads, and tells whoever watches."""

    address = AUCTIONEER

    def __init__(self) -> None:
        super().__init__()
        self._leading: dict[str, Bid] = {}
        self._watching: dict[str, set[asyncio.Queue[Bid]]] = {}

    @receives(Place)
    def place(self, message: Place) -> Bid:
        """A bid leads if it is above the one before."""
        before = self._leading.get(message.item)
        if before is not None and message.amount <= before.amount:
            raise Refused(f"{before.who} bids {before.amount} already", code="too-low")
        bid = Bid(message.item, message.who, message.amount)
        self._leading[message.item] = bid
        for watcher in self._watching.get(message.item, ()):
            watcher.put_nowait(bid)
        if before is not None and before.who != bid.who:
            current_node().ref(LETTERS).tell(Outbid(before.who, bid))
        return bid

    @receives(Leading)
    def leading(self, message: Leading) -> Bid:
        """The bid that leads."""
        if message.item not in self._leading:
            raise Refused(f"nobody has bid on {message.item}", code="no-bid")
        return self._leading[message.item]

    @receives(Watch)
    async def bids(self, message: Watch) -> AsyncIterator[Bid]:
        """The bids from now on, until the reader goes."""
        coming: asyncio.Queue[Bid] = asyncio.Queue()
        if message.item in self._leading:
            coming.put_nowait(self._leading[message.item])
        watching = self._watching.setdefault(message.item, set())
        watching.add(coming)
        try:
            while True:
                yield await coming.get()
        finally:
            watching.discard(coming)


class Services(Supervisor):
    """Each is restarted alone."""

    children = (Letters, Auctioneer)
