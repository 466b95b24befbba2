"""A small service for simulated tests: a ledger that writes what it is told, and hears news."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors import Actor, Request, message, receives
from irismq_runtime import live
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.simulation.cluster import Cluster

ADDRESS = "sim.ledger"
NEWS = "sim.news"
#: Seconds in which a member works off what was stored while things went wrong.
_BACKLOG = 300.0


@message("sim.entry")
@dataclass(frozen=True, slots=True)
class Entry(Request[int]):
    """Write an amount; it takes `seconds`, and fails the first `crashes` times that it comes."""

    amount: int
    seconds: float = 0.0
    crashes: int = 0


@message("sim.headline")
@dataclass(frozen=True, slots=True)
class Headline:
    """Something new."""

    number: int


@message("sim.heard")
@dataclass(frozen=True, slots=True)
class Heard(Request[list[int]]):
    """Ask which headlines were heard."""


class Ledger(Actor):
    """One of several members; each has a sum of its own, which goes with it."""

    address = ADDRESS
    subscribes = (live(NEWS),)

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.heard: list[int] = []

    @receives(Entry)
    async def write(self, entry: Entry) -> int:
        await asyncio.sleep(entry.seconds)
        if self.context.attempt <= entry.crashes:
            raise ValueError("a slip of the pen")
        self.total += entry.amount
        return self.total

    @receives(Headline)
    def hear(self, news: Headline) -> None:
        self.heard.append(news.number)

    @receives(Heard)
    def tell_heard(self, _: Heard) -> list[int]:
        return self.heard


class Office(Supervisor):
    """A ledger that may slip often."""

    max_restarts = 1000
    children = (child(Ledger),)


def entries(
    *,
    rate: float = 5.0,
    seconds: float = 20.0,
    longest: float = 1.0,
    crashes: float = 0.0,
    asks: float = 0.3,
    **dials: float,
) -> Callable[[Cluster], Awaitable[None]]:
    """A test: entries are told and asked for while things go wrong; at the end all is well.

    `rate` a second for `seconds`; an entry takes up to `longest` seconds; shares of them
    crash at first, and are asked.
    """

    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Office)
        ledger = cluster.ref(ADDRESS)

        async def write(_: Cluster) -> None:
            takes = random.uniform(0.0, longest)
            entry = Entry(1, takes, crashes=int(random.random() < crashes))
            if random.random() < asks:
                await ledger.ask(entry, timeout=longest + 4.0)
            else:
                await ledger.tell(entry)

        async with cluster.faults(**dials):
            await cluster.workload(write, rate=rate, seconds=seconds)
        await cluster.heal()
        await everybody_answers_and_hears(cluster)

    return scenario


async def everybody_answers_and_hears(cluster: Cluster) -> None:
    """After all is healed no ask fails, and every member hears the news.

    Tells that were stored and never confirmed are no debt, and may wait before an ask.
    """
    ledger = cluster.ref(ADDRESS)
    for _ in range(3 * len(cluster.hosts)):
        await ledger.ask(Entry(0), timeout=_BACKLOG)
    cluster.node.publish(NEWS, Headline(1), durable=False)
    await asyncio.sleep(1.0)
    heard = await ledger.ask_all(Heard(), timeout=_BACKLOG)
    assert [1 in each for each in heard.values] == [True] * len(cluster.hosts)
