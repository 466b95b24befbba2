"""What a simulated second costs: loops alone, streams alone, and a cluster under load with faults.

    python benchmarks/simulation.py [--minutes 10] [--rate 20] [--seed 1]

Steps are what happens one at a time: callbacks of loops, jobs of threads, arrivals at the
network. Times are those of the processor, so that a busy machine
tells the same, more or less; the digest is that of the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from dataclasses import dataclass

from actors import Actor, message, receives
from irismq_runtime.simulation import Cluster, ClusterOptions, Simulation


@message("bench.add")
@dataclass(frozen=True)
class Add:
    amount: int


class Adder(Actor):
    address = "adder"

    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    def add(self, add: Add) -> int:
        self.total += add.amount
        return self.total


async def loops(simulation: Simulation) -> None:
    async def spin() -> None:
        for _ in range(100_000):
            await asyncio.sleep(0)

    for process in [simulation.host(name).start(spin) for name in "abc"]:
        await process.wait()


async def streams(simulation: Simulation) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("b", 7)
        for _ in range(25_000):
            writer.write(b"x")
            await reader.read(100)
        writer.close()

    await simulation.host("b").start(asyncio.start_server, echo, "b", 7).wait()
    await simulation.host("a").start(ask).wait()


def measured(name: str, seed: int, main, *args) -> None:
    with Simulation(seed) as simulation:
        arguments = args or (simulation,)
        began, wall = time.process_time(), time.perf_counter()
        simulation.run(main(simulation) if args else main, *arguments)
        took, wall = time.process_time() - began, time.perf_counter() - wall
        print(
            f"{name:8} {simulation.now:9.1f} virtual s {simulation.steps:9} steps "
            f"{took:7.2f} s ({wall:.2f} on the wall) {simulation.steps / took:9.0f} steps/s  "
            f"{simulation.digest()}"
        )


def cluster(simulation: Simulation):
    return Cluster(simulation, ClusterOptions(hosts=3, brokers=2), None).run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes of load")
    parser.add_argument("--rate", type=float, default=20.0, help="tells and asks a second, each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    async def both(cluster: Cluster) -> None:
        ref = cluster.ref("adder")
        await ref.tell(Add(1))
        await ref.ask(Add(0))

    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Adder)
        async with cluster.faults(kill=0.5, partition=0.5, pause=0.5, broker=0.2, relay=0.2):
            await cluster.workload(both, rate=options.rate, seconds=options.minutes * 60)

    measured("loops", options.seed, loops)
    measured("streams", options.seed, streams)
    measured("cluster", options.seed, cluster, scenario)


if __name__ == "__main__":
    main()
