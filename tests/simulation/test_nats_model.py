"""Two relays over a model of a NATS server: their members reach each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from irismq_runtime import Node
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.embedded.relay.nats import NatsBackEnd
from irismq_runtime.simulation import Simulation
from irismq_runtime.simulation.nats_model import NatsServerModel, _matches
from tests.simulation.small_cluster import Add, Adder, Total


async def broker() -> None:
    await EmbeddedNsqd(host="broker", port=4150, http_port=None).start()


async def nats() -> None:
    await NatsServerModel().start()


@pytest.mark.parametrize(
    ("pattern", "subject", "hears"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b", "a.b", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_a_pattern_hears_what_nats_says_it_does(pattern, subject, hears):
    assert _matches(pattern, subject) is hears


async def _run(simulation: Simulation) -> list[int]:
    """What is counted on `a` when `b`, at another relay, tells and asks; the server dies once."""
    nodes: dict[str, Node] = {}

    async def serve(name: str) -> None:
        relay = EmbeddedRelay(back_end=NatsBackEnd(["nats://nats:4222"]), port=55555)
        await relay.start()
        async with Node(nsqd="broker:4150", iris="127.0.0.1:55555", name=name) as node:
            if name == "a":
                await node.start(Adder)
            nodes[name] = node
            await asyncio.Event().wait()

    server = simulation.host("nats")
    server.start(nats)
    simulation.host("broker").start(broker)
    await asyncio.sleep(0.1)
    for name in ("a", "b"):
        simulation.host(name).start(serve, name)
    async with asyncio.timeout(60):
        while len(nodes) < 2:
            await asyncio.sleep(0.1)

    async def tell_and_ask() -> int:
        ref = nodes["b"].ref("adder")
        await ref.tell(Add(5))
        await asyncio.sleep(5)
        return await ref.ask(Total(), timeout=5)

    first = await simulation.host("b").call(tell_and_ask)
    server.kill()
    await asyncio.sleep(2)
    server.start(nats)
    await asyncio.sleep(15)
    return [first, await simulation.host("b").call(tell_and_ask)]


def test_members_of_two_relays_meet_over_nats_and_again_after_its_server_died():
    found: list[Any] = []
    for _ in range(2):
        with Simulation(3) as simulation:
            found.append((simulation.run(_run, simulation), simulation.digest()))
            assert simulation.uncaught == []
    assert found[0] == found[1]
    assert found[0][0] == [5, 10]
