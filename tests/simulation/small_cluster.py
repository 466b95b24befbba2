"""Two nodes, a broker and a relay, simulated: the smallest cluster that does everything.

Run as a program with a seed, it prints what came out and the digest of the run.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors import Actor, message, receives
from irismq_runtime import Node
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NSQD = "broker:4150"
RELAY = "relay:55555"


@message("simulated.add")
@dataclass(frozen=True)
class Add:
    amount: int


@message("simulated.total")
@dataclass(frozen=True)
class Total:
    pass


class Adder(Actor):
    address = "adder"

    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    def add(self, add: Add) -> None:
        self.total += add.amount

    @receives(Total)
    async def answer(self, asked: Total) -> int:
        await asyncio.sleep(0.001)
        return self.total


async def broker() -> None:
    await EmbeddedNsqd(host="broker", port=4150, http_port=None).start()


async def relay() -> None:
    await EmbeddedRelay(host="relay", port=55555, open_to_network=True).start()


class SmallCluster:
    """`run(story)` starts all of it and calls `story(self)`."""

    def __init__(self, seed: int) -> None:
        self.simulation = Simulation(seed)
        self.nodes: dict[str, Node] = {}

    async def serve(self, name: str, actor: type[Actor] | None) -> None:
        node = Node(nsqd=NSQD, iris=RELAY, name=name)
        async with node:
            if actor is not None:
                await node.start(actor)
            self.nodes[name] = node
            await asyncio.Event().wait()

    async def ready(self, *names: str) -> None:
        while not self.nodes.keys() >= set(names):
            await asyncio.sleep(0.1)

    async def _main(self, story: Callable[[SmallCluster], Awaitable[object]]) -> object:
        self.simulation.host("broker").start(broker)
        self.simulation.host("relay").start(relay)
        await asyncio.sleep(0.1)
        self.simulation.host("a").start(self.serve, "a", Adder)
        self.simulation.host("b").start(self.serve, "b", None)
        await self.ready("a", "b")
        return await story(self)

    def run(self, story: Callable[[SmallCluster], Awaitable[object]]) -> object:
        with self.simulation:
            return self.simulation.run(self._main, story)

    async def tell(self, amount: int, times: int) -> int:
        """Tell `amount` so many times on `b`, and return the total that `a` has then."""

        async def told() -> int:
            ref = self.nodes["b"].ref("adder")
            for _ in range(times):
                await ref.tell(Add(amount))
            while (total := await ref.ask(Total())) < amount * times:
                await asyncio.sleep(0.1)
            return total

        return await self.simulation.host("b").call(told)


if __name__ == "__main__":
    cluster = SmallCluster(int(sys.argv[1]))
    total = cluster.run(lambda cluster: cluster.tell(2, 20))
    print(total, cluster.simulation.steps, cluster.simulation.digest())  # noqa: T201  # a program
