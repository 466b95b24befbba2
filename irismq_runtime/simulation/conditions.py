"""How fast machines and networks are, as ranges that each thing draws its own value from.

The defaults are those of a local network with busy machines: what usually takes
microseconds sometimes takes far longer, for it is the rare delay that changes the order
of things.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

__all__ = ["Conditions", "Range", "draw", "draws"]

#: The least and the most of a quantity.
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Conditions:
    """The quantities of a simulation. Ranges are (least, most), seconds unless said otherwise."""

    #: Between two callbacks of one loop.
    step: Range = (2e-6, 40e-6)
    #: From something being ready to the loop having noticed.
    wake: Range = (5e-6, 200e-6)
    #: From one host to another, one way; most are near the least.
    latency: Range = (50e-6, 5e-3)
    #: Bytes a second of one connection and direction.
    bandwidth: Range = (2e6, 200e6)
    #: Both within one host.
    loopback_latency: Range = (5e-6, 100e-6)
    loopback_bandwidth: Range = (200e6, 2e9)
    #: Bytes that the systems at both ends hold of one direction, drawn for each connection.
    buffers: Range = (8 * 1024, 512 * 1024)
    #: The share of writes that arrive in two pieces, cut anywhere.
    split: float = 0.05
    #: The share of segments that are lost once, and come after `resent` seconds.
    loss: float = 0.0005
    resent: float = 0.2
    #: What a call in a thread takes.
    thread: Range = (20e-6, 2e-3)


def draw(chance: random.Random, bounds: Range) -> float:
    """Return a value of the range, its logarithm evenly spread: small ones are frequent."""
    return draws(chance, bounds)()


def draws(chance: random.Random, bounds: Range) -> Callable[[], float]:
    """Return a function that gives one value after the other, each as `draw` does.

    Args:
        chance: Where they come from.
        bounds: Between what they are.
    """
    return _values(chance.random, *bounds).__next__


def _values(chance: Callable[[], float], least: float, most: float) -> Iterator[float]:
    growth, exp = math.log(most / least) if most > least else 0.0, math.exp
    while True:
        yield least * exp(growth * chance())
