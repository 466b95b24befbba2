"""Paths between hosts: how long they take, and what blocks them.

A path leads from one host to another, in one direction, and a partition blocks some. A
path is also blocked while the machine at either end is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from irismq_runtime.simulation.conditions import draw, draws

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from irismq_runtime.simulation.context import SimulationContext

__all__ = ["Block", "Path", "PathEnd"]


class PathEnd(Protocol):
    """What is at the end of a path. `up`: whether it is on."""

    up: bool


class Path:
    """From one host to another, or to itself.

    Attributes:
        back: The path that leads the other way.
        blocks: How many things block it now.
        slowness: What its delays are multiplied with.
        overdue: How many connections have something to send again on it: it was blocked.
    """

    back: Path

    def __init__(
        self, context: SimulationContext, source: PathEnd, target: PathEnd, chance: random.Random
    ) -> None:
        self.chance = chance
        self.blocks = 0
        self.slowness = 1.0
        self.overdue = 0
        self._ends = (source, target)
        conditions = context.conditions
        local = source is target
        self._latency = draws(chance, conditions.loopback_latency if local else conditions.latency)
        self._bandwidth = conditions.loopback_bandwidth if local else conditions.bandwidth
        self._loss = 0.0 if local else conditions.loss
        self._resent = conditions.resent

    @property
    def blocked(self) -> bool:
        """Whether nothing comes through."""
        source, target = self._ends
        return self.blocks > 0 or not (source.up and target.up)

    def bandwidth(self) -> float:
        """Return the bytes a second of one more connection."""
        return draw(self.chance, self._bandwidth)

    def delay(self) -> float:
        """Return the seconds that the next segment takes."""
        took = self._latency() * self.slowness
        if self._loss and self.chance.random() < self._loss:
            took += self._resent
        return took


class Block:
    """A partition, or any other set of blocked paths, until `heal`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        for path in self._paths:
            path.blocks += 1

    def heal(self) -> None:
        """Open the paths again. Idempotent; what else blocks one still does."""
        paths, self._paths = self._paths, ()
        for path in paths:
            path.blocks -= 1
