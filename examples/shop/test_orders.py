"""The counter, with a probe in the place of the inventory; and the whole shop in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Refused
from irismq_runtime import Node, current_node
from supervisors import Supervisor, child

from .inventory import Inventory
from .messages import Order, Placed, Reservation, Reserve, Restock, Statement
from .orders import Orders

if TYPE_CHECKING:
    from pathlib import Path

    from actors import System
    from actors.testing import ManualClock, Probe


class Played:
    """An inventory that a probe plays."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def ask(self, message: object, *, id: str) -> Any:  # noqa: A002  # as that of a service
        """As a service does; `id`: under which it is handled once."""
        assert id == "1"
        return self.probe.ref.ask(message)


@pytest.fixture
def inventory(probe: Probe) -> Any:
    """What the orders ask."""
    return Played(probe)


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    """What shipping costs."""
    path = tmp_path / "shipping.json"
    path.write_text('{"DE": 490}')
    return path


async def test_an_order_has_its_goods_set_aside(
    actor_system: System, probe: Probe, inventory: Any, rates: Path
) -> None:
    orders = actor_system.start(Orders, rates, inventory)
    placed = orders.ask(Order("1", "tea", 3, "DE"))
    asked = await probe.expect_received(Reserve)
    assert asked.message == Reserve("1", "tea", 3)
    asked.reply(7)
    assert await placed == Placed("1", accepted=True, shipping=490)


async def test_an_inventory_that_is_away_is_asked_again(
    actor_system: System, manual_clock: ManualClock, probe: Probe, inventory: Any, rates: Path
) -> None:
    orders = actor_system.start(Orders, rates, inventory)
    placed = orders.ask(Order("1", "tea", 3, "DE"), timeout=10.0)
    await probe.expect(Reserve)
    manual_clock.advance(5.0)  # no answer: AskTimeout, and so Retry
    (await probe.expect_received(Reserve)).reply(7)
    assert (await placed).accepted


async def test_a_country_that_is_not_listed_is_a_crash(
    actor_system: System, inventory: Any, rates: Path
) -> None:
    orders = actor_system.start(Orders, rates, inventory)
    with pytest.raises(KeyError):
        await orders.ask(Order("1", "tea", 3, "JP"))
    assert not orders.is_alive()  # nobody supervises it here


class Shop(Supervisor):
    """All of it, for one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def children(self) -> list[object]:
        """As in service.py, in a folder of the test's."""
        inventory = current_node().ref("shop.inventory")
        orders = child(Orders, self.folder / "shipping.json", inventory)
        return [child(Inventory), orders.with_options(instances=2)]


async def test_the_whole_shop_on_real_sockets(rates: Path) -> None:
    async with Node.embedded(name="test", data=rates.parent, drain=1.0) as node:
        await node.start(child(Shop, rates.parent))
        await node.ref("shop.inventory").ask(Restock("tea", 10))
        orders = node.ref("shop.orders")
        assert (await orders.ask(Order("1", "tea", 3, "DE"), timeout=30)).accepted
        assert not (await orders.ask(Order("2", "tea", 30, "DE"), timeout=30)).accepted
        with pytest.raises(Refused, match="Expected `int`"):
            await orders.ask(Order("3", "tea", "many", "DE"))  # type: ignore[arg-type]  # on purpose
        lines = [line async for line in orders.stream(Statement())]
    assert lines == [Reservation("1", "tea", 3)]
