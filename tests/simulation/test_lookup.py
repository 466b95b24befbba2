"""Nodes that find brokers by a simulated nsqlookupd."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from irismq_runtime import Node, http_client
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.simulation import SimulatedHost, Simulation
from irismq_runtime.simulation.lookup import LookupDaemon, register_with
from tests.simulation.small_cluster import Add, Adder, Total

LOOKUP = "http://lookup:4161/lookup?topic="


async def broker(host: SimulatedHost) -> None:
    nsqd = EmbeddedNsqd(host=host.name, port=4150, http_port=None)
    await nsqd.start()
    host.broker = nsqd
    await register_with("lookup", nsqd, name=host.name)


async def relay() -> None:
    await EmbeddedRelay(host="relay", port=55555, open_to_network=True).start()


async def lookup() -> None:
    await LookupDaemon().start()


async def producers(topic: str) -> tuple[int, list[str]]:
    status, body, _ = await http_client.fetch(LOOKUP + topic, timeout=5)
    return status, sorted(
        each["broadcast_address"] for each in json.loads(body).get("producers", [])
    )


async def until(condition: Any) -> Any:
    async with asyncio.timeout(120):
        while not (found := await condition()):
            await asyncio.sleep(0.1)
    return found


def play(story: Any, seed: int = 1) -> Any:
    async def main(simulation: Simulation) -> Any:
        simulation.host("lookup").start(lookup)
        simulation.host("relay").start(relay)
        for name in ("n1", "n2"):
            simulation.host(name).start(broker, simulation.host(name))
        await asyncio.sleep(1)
        return await story(simulation)

    with Simulation(seed) as simulation:
        found = simulation.run(main, simulation)
        assert simulation.uncaught == []
        return found


def test_a_topic_is_found_where_it_is_and_a_broker_that_ends_is_forgotten():
    async def story(simulation: Simulation) -> None:
        assert await producers("t") == (404, [])
        simulation.host("n2").broker.context.broker.channel("t", "mailbox")

        async def n2_alone() -> bool:
            return await producers("t") == (200, ["n2"])

        await until(n2_alone)
        simulation.host("n2").kill()

        async def gone() -> bool:
            return await producers("t") == (404, [])

        await until(gone)
        assert (await producers(""))[0] == 404

    play(story)


def test_a_daemon_that_was_started_again_learns_what_there_is():
    async def story(simulation: Simulation) -> None:
        for name in ("n1", "n2"):
            simulation.host(name).broker.context.broker.topic("t")
        daemon = simulation.host("lookup")

        async def both() -> bool:
            return await producers("t") == (200, ["n1", "n2"])

        await until(both)
        daemon.kill()
        daemon.start(lookup)
        await until(both)

    play(story)


def test_a_node_consumes_from_brokers_that_it_was_not_told_of():
    async def story(simulation: Simulation) -> int:
        nodes = {}

        async def serve(name: str, told: dict[str, Any]) -> None:
            node = Node(iris="relay:55555", name=name, **told)
            async with node:
                if name == "consumer":
                    await node.start(Adder)
                nodes[name] = node
                await asyncio.Event().wait()

        where = {"nsqd": "n1:4150", "lookupd": "lookup:4161"}
        simulation.host("consumer").start(serve, "consumer", where)
        simulation.host("teller").start(serve, "teller", {"nsqd": "n2:4150"})

        async def up() -> bool:
            return len(nodes) == 2

        await until(up)

        async def tell() -> int:
            ref = nodes["teller"].ref("adder")
            await ref.tell(Add(7))
            while not (total := await ref.ask(Total())):
                await asyncio.sleep(1)
            return total

        return await simulation.host("teller").call(tell)

    assert play(story) == 7
