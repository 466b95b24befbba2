"""What a simulated second costs: loops alone, streams alone, and a cluster under load with faults.

    python benchmarks/simulation.py [--minutes 10] [--rate 20] [--seed 1]
    python benchmarks/simulation.py --nodes 50 100 200      # presence in large clusters

Steps are what happens one at a time: callbacks of loops, jobs of threads, arrivals at the
network. Times are those of the processor, so that a busy machine
tells the same, more or less; the digest is that of the seed.

With `--nodes` clusters of so many machines with a node each start at once, rest for ten virtual
seconds, and lose their relay for half a second. What is counted is the same on every machine:
the announcements of presence that a node hears, and their bytes, until all know all.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from dataclasses import dataclass

from actors import Actor, message, receives
from irismq_runtime.node.membership.presence import Presence
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


class Heard:
    """Counts the announcements that nodes hear, from now on."""

    def __init__(self) -> None:
        self.count = self.size = 0
        hear = Presence.on_broadcast

        def on_broadcast(presence: Presence, body: bytes) -> None:
            self.count += 1
            self.size += len(body)
            hear(presence, body)

        Presence.on_broadcast = on_broadcast

    def take(self) -> tuple[int, int]:
        taken = self.count, self.size
        self.count = self.size = 0
        return taken


def presence(nodes: int, seed: int, heard: Heard) -> None:
    """A cluster of so many nodes: its start, its rest, the return of its relay."""
    began, at = time.process_time(), 0.0

    def row(what: str, cluster: Cluster) -> None:
        nonlocal began, at
        count, size = heard.take()
        took = time.process_time() - began
        print(
            f"{nodes:5} {what:7} {cluster.now - at:6.1f} virtual s "
            f"{count / nodes:9.0f} heard by each, {size / nodes / 1000:8.1f} kB {took:7.2f} s"
        )
        began, at = time.process_time(), cluster.now

    async def scenario(cluster: Cluster) -> None:
        row("start", cluster)
        await asyncio.sleep(10.0)
        row("rest", cluster)
        cluster.strike("relay", "relay", lasts=0.5)
        await asyncio.sleep(1.0)
        await cluster.heal()
        row("return", cluster)

    with Simulation(seed) as simulation:
        simulation.run(Cluster(simulation, ClusterOptions(hosts=nodes), None).run, scenario)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes of load")
    parser.add_argument("--rate", type=float, default=20.0, help="tells and asks a second, each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, nargs="+", help="presence, in clusters of so many")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.nodes:
        heard = Heard()
        for nodes in options.nodes:
            presence(nodes, options.seed, heard)
        return

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
