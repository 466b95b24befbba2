"""The inventory on a node of its own, and somebody in the buyer's place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from actors import Actor, Refused, receives
from irismq_runtime import Node
from supervisors import child

from .inventory import Inventory
from .messages import LowStock, Reserve, Restock, Stock

if TYPE_CHECKING:
    from pathlib import Path


class Desk(Actor[LowStock]):
    """In the buyer's place: hands on what it hears."""

    address = "shop.buyer"

    def __init__(self, heard: asyncio.Queue[LowStock]) -> None:
        super().__init__()
        self.heard = heard

    @receives(LowStock)
    def low(self, news: LowStock) -> None:
        """As the buyer."""
        self.heard.put_nowait(news)


async def test_what_is_asked_twice_is_done_once(tmp_path: Path) -> None:
    async with Node.embedded(data=tmp_path, drain=1.0) as node:
        await node.start(Inventory)
        inventory = node.ref("shop.inventory")
        assert await inventory.ask(Restock("tea", 10)) == 10
        assert await inventory.ask(Reserve("1", "tea", 3), id="order 1") == 7
        assert await inventory.ask(Reserve("1", "tea", 3), id="order 1") == 7
        with pytest.raises(Refused, match="only 7 tea left"):
            await inventory.ask(Reserve("2", "tea", 8), id="order 2")
    async with Node.embedded(data=tmp_path, drain=1.0) as node:  # the next day
        await node.start(Inventory)
        assert await node.ref("shop.inventory").ask(Stock("tea")) == 7


async def test_the_buyer_hears_of_it_when_few_are_left(tmp_path: Path) -> None:
    heard: asyncio.Queue[LowStock] = asyncio.Queue()
    async with Node.embedded(data=tmp_path, drain=1.0) as node:
        await node.start(child(Desk, heard))
        await node.start(Inventory)
        inventory = node.ref("shop.inventory")
        await inventory.ask(Restock("tea", 6))
        await inventory.ask(Reserve("1", "tea", 2))
        await inventory.ask(Reserve("2", "tea", 1))
        assert await asyncio.wait_for(heard.get(), 60.0) == LowStock("tea", 4)
    assert heard.empty()
