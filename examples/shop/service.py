"""The trees of the shop; each can be a process of its own, and run several times.

Warehouse: an Inventory, at the address shop.inventory. Counter: two Orders, at
shop.orders.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from irismq_runtime import current_node
from supervisors import Supervisor, child

from .inventory import Inventory
from .orders import Orders

if TYPE_CHECKING:
    from supervisors import ChildSpec

RATES = pathlib.Path(__file__).with_name("shipping.json")


class Warehouse(Supervisor):
    """One inventory."""

    children = (child(Inventory),)


class Counter(Supervisor):
    """Two members of the address shop.orders."""

    max_restarts = 10  # within max_seconds, which is 5: we are going to crash it

    def children(self) -> list[ChildSpec]:
        """Both ask the inventory, wherever it runs."""
        inventory = current_node().ref("shop.inventory")
        return [child(Orders, RATES, inventory).with_options(instances=2)]
