"""What the web application asks, tells and reads of the two services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors import Request, message


@message("auction.bid-placed")
@dataclass(frozen=True, slots=True)
class Bid:
    """The highest bid on an item, by whom."""

    item: str
    who: str
    amount: int


@message("auction.place")
@dataclass(frozen=True, slots=True)
class Place(Request[Bid]):
    """Ask to bid; the answer is the bid, which leads. `too-low` refuses it."""

    item: str
    who: str
    amount: int


@message("auction.leading")
@dataclass(frozen=True, slots=True)
class Leading(Request[Bid]):
    """Ask for the highest bid on an item. `no-bid` says that there is none."""

    item: str


@message("auction.watch")
@dataclass(frozen=True, slots=True)
class Watch(Request[AsyncIterator[Bid]]):
    """Read the bids on an item from now on; the leading one comes first."""

    item: str


@message("auction.outbid")
@dataclass(frozen=True, slots=True)
class Outbid:
    """Tell somebody that another one leads."""

    who: str
    by: Bid
