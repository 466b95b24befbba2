"""The inventory alone, with a clock that stands still and a probe for the buyer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors import Refused

from .inventory import Inventory
from .messages import LowStock, Reserve, Restock, Stock

if TYPE_CHECKING:
    from pathlib import Path

    from actors import System
    from actors.testing import ManualClock, Probe


async def test_an_order_reserves_once(actor_system: System, probe: Probe, tmp_path: Path) -> None:
    inventory = actor_system.start(Inventory, tmp_path / "stock.sqlite", buyer=probe.ref)
    assert await inventory.ask(Restock("tea", 10)) == 10
    assert await inventory.ask(Reserve("1", "tea", 3)) == 7
    assert await inventory.ask(Reserve("1", "tea", 3)) == 7  # it came a second time
    with pytest.raises(Refused, match="only 7 tea left"):
        await inventory.ask(Reserve("2", "tea", 8))
    assert await inventory.ask(Stock("tea")) == 7


async def test_the_buyer_hears_of_it_once_an_hour(
    actor_system: System, manual_clock: ManualClock, probe: Probe, tmp_path: Path
) -> None:
    inventory = actor_system.start(Inventory, tmp_path / "stock.sqlite", buyer=probe.ref)
    await inventory.ask(Restock("tea", 6))
    await inventory.ask(Reserve("1", "tea", 2))
    assert await probe.expect() == LowStock("tea", 4)
    await inventory.ask(Reserve("2", "tea", 1))
    await probe.expect_none()
    manual_clock.advance(3600)
    await inventory.ask(Reserve("3", "tea", 1))
    assert await probe.expect() == LowStock("tea", 2)
