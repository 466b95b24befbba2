"""A clock that strikes for simulated tests: a schedule, and an entity that counts its strokes.

Each stroke says how many were missed before it. So the strokes that the listener knows of, and
the time at which the next one is due, say whether one was lost or told twice, whatever the clocks
of the machines did meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from actors import Actor, Request, message, receives
from irismq_runtime import Entity, current_node
from irismq_runtime.entities.placement import LEASE
from supervisors import child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.simulation.cluster import Cluster

LISTENER: Final = "sim.listener"
KEEPER: Final = "sim.clock-keeper"
NAME: Final = "stroke"
#: Seconds between two strokes.
PERIOD: Final = 4.0
#: Virtual seconds within which each answers: see tests/simulation/bank.py.
_ANSWERS: Final = LEASE + 5.0
#: Seconds by which a clock leaps, at most: a stroke told by one that is ahead has the next one wait
#: for the time of day.
_LEAP: Final = 40
#: Virtual seconds until all is heard once all is healed.
_SETTLED: Final = 300.0


@message("sim.stroke")
@dataclass(frozen=True, slots=True)
class Stroke:
    """It strikes."""


@message("sim.strokes-heard")
@dataclass
class StrokesHeard:
    """How many were missed before each stroke that was heard."""

    missed: list[int] = field(default_factory=list)


@message("sim.strokes")
@dataclass(frozen=True, slots=True)
class Strokes(Request[list[int]]):
    """Ask for them."""


@message("sim.clock")
@dataclass(frozen=True, slots=True)
class ClockState(Request[list[float]]):
    """Ask how often it was told, and when it strikes next, in seconds since 1970."""


class Listener(Entity):
    """Hears the strokes."""

    address = LISTENER
    shards = 2
    state: StrokesHeard

    @receives(Stroke)
    def stroke(self, _: Stroke) -> None:
        self.state.missed.append(self.context.headers.get("missed", 0))

    @receives(Strokes)
    def strokes(self, _: Strokes) -> list[int]:
        return self.state.missed


class Keeper(Actor):
    """Sets the clock when it starts, as each machine does, and tells how it stands."""

    address = KEEPER

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start_at = datetime.fromtimestamp(start, UTC)

    async def on_start(self) -> None:
        to = current_node().entity(LISTENER, NAME)
        schedules = current_node().schedules
        await schedules.add(NAME, Stroke(), to=to, every=PERIOD, at=self.start_at)

    @receives(ClockState)
    async def clock(self, _: ClockState) -> list[float]:
        found = await current_node().schedules.find(NAME)
        return [] if found is None or found.due is None else [found.told, found.due.timestamp()]


def strokes(*, seconds: float, **dials: float) -> Callable[[Cluster], Awaitable[None]]:
    """A test: a clock strikes for `seconds` while things go wrong; each stroke is heard once.

    The clock of each machine leaps once, ahead or back.
    """

    async def scenario(cluster: Cluster) -> None:
        start = cluster.node.system.clock.time() + PERIOD
        await cluster.start(Listener)
        await cluster.start(child(Keeper, start))
        async with cluster.faults(**dials):
            for host in cluster.hosts:
                await asyncio.sleep(seconds / (len(cluster.hosts) + 1))
                amount = float(cluster.random.randrange(-_LEAP, _LEAP))
                cluster.strike("clock", host, lasts=seconds / 4, amount=amount)
            await asyncio.sleep(seconds / (len(cluster.hosts) + 1))
        await cluster.heal()
        await _settled(cluster, start)

    return scenario


async def _settled(cluster: Cluster, start: float) -> None:
    keeper = cluster.ref(KEEPER)
    listener = cluster.node.entity(LISTENER, NAME, shards=Listener.shards)
    deadline = cluster.now + _SETTLED
    while True:
        told, due = await keeper.ask(ClockState(), timeout=_ANSWERS)
        missed = await listener.ask(Strokes(), timeout=_ANSWERS)
        if len(missed) == told:
            break
        assert cluster.now < deadline, f"{told:g} told, {len(missed)} heard"
        await asyncio.sleep(0.3)
    passed = round((due - start) / PERIOD)
    assert abs(due - start - passed * PERIOD) < 0.001, "its times have not moved"
    assert len(missed) + sum(missed) == passed, "each occurrence was told, or counted as missed"
    assert passed > 2, "it has struck"
