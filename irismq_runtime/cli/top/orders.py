"""Sort keys of the rows, by column: the largest first, names from a to z. Pure.

A place in a tree comes up with what is below it, so that what is searched for is
found where the tree begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from irismq_runtime.observer import places

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.observer import NodeView, PlaceView, ServiceView

__all__ = ["NODE_ORDERS", "PLACE_ORDERS", "SERVICE_ORDERS"]

Key: TypeAlias = "str | float"


def _falling(number: float | None) -> float:
    return -1.0 * (number if number is not None else -1.0)


NODE_ORDERS: Final[dict[int, Callable[[NodeView], Key]]] = {
    0: lambda node: node.name,
    2: lambda node: _falling(node.restarts),
    3: lambda node: _falling(sum(place.inbox for place in places(node.trees))),
    4: lambda node: _falling(node.handled),
}


def _worst(place: PlaceView, number: Callable[[PlaceView], float]) -> float:
    """The largest below and at a place, so that what is searched for comes up with it."""
    return max(number(one) for one in places((place,)))


PLACE_ORDERS: Final[dict[int, Callable[[PlaceView], Key]]] = {
    0: lambda place: place.name,
    2: lambda place: _falling(_worst(place, lambda one: one.restarts)),
    3: lambda place: _falling(_worst(place, lambda one: one.inbox)),
    4: lambda place: _falling(_worst(place, lambda one: one.rate)),
}
SERVICE_ORDERS: Final[dict[int, Callable[[ServiceView], Key]]] = {
    0: lambda service: service.address,
    1: lambda service: _falling(len(service.members)),
    2: lambda service: _falling(service.waiting),
    3: lambda service: _falling(service.in_flight),
    4: lambda service: _falling(service.dead),
    5: lambda service: _falling(service.told),
    6: lambda service: _falling(service.done),
    7: lambda service: _falling(service.asked),
    8: lambda service: _falling(service.p50),
    9: lambda service: _falling(service.p99),
}
