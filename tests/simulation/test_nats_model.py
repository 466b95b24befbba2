"""Relays over a model of a NATS server: their members reach each other; and a cluster of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import pytest

from irismq_runtime import Node
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.embedded.relay.nats import NatsBackEnd
from irismq_runtime.simulation import Simulation
from irismq_runtime.simulation.nats_model import NatsServerModel, _matches
from tests.simulation.small_cluster import Add, Adder, Total

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


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


# -- a cluster ---------------------------------------------------------------------------------


class _Raw:
    """A client of one server, line by line."""

    def __init__(self, server: str) -> None:
        self._server = server

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._server, 4222)
        await self._reader.readline()
        self.send('CONNECT {"no_responders":true,"headers":true}')
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def heard(self) -> list[str]:
        """All that has come within a second."""
        lines = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while line := await self._reader.readline():
                    lines.append(line.decode().strip())
        return lines


def in_a_cluster(story: Callable[[Simulation], Awaitable[None]]) -> None:
    """Play it on three servers that know each other: n1, n2, n3."""
    names = ("n1", "n2", "n3")

    async def main(simulation: Simulation) -> None:
        for name in names:
            await start(simulation, name)
        await asyncio.sleep(3.0)
        await story(simulation)

    with Simulation(1) as simulation:
        simulation.run(main, simulation)
        assert simulation.uncaught == []


async def start(simulation: Simulation, name: str) -> None:
    others = [each for each in ("n1", "n2", "n3") if each != name]
    await simulation.host(name).start(NatsServerModel(name=name, others=others).start).wait()


def test_of_a_queue_group_over_several_servers_one_hears_each_message_the_nearest_first():
    async def story(_: Simulation) -> None:
        async with _Raw("n1") as one, _Raw("n2") as two, _Raw("n3") as three:
            one.send("SUB work crew 1", "SUB news 2")
            two.send("SUB work crew 1", "SUB news 2")
            await asyncio.sleep(0.5)
            one.send("PUB work 1", "a", "PUB news 1", "n")
            await asyncio.sleep(0.5)
            three.send(*("PUB work 1", "b") * 40)
            at_one, at_two = await one.heard(), await two.heard()
            assert at_one[:2] == ["MSG work 1 1", "a"]
            assert "a" not in at_two
            assert at_one.count("n") == at_two.count("n") == 1
            assert at_one.count("b") + at_two.count("b") == 40
            assert min(at_one.count("b"), at_two.count("b")) > 5

    in_a_cluster(story)


def test_a_subscription_that_ended_anywhere_is_asked_nowhere():
    async def story(_: Simulation) -> None:
        async with _Raw("n1") as one, _Raw("n2") as two:
            one.send("SUB once 1", "UNSUB 1 1", "SUB gone 2")
            await asyncio.sleep(0.5)
            one.send("UNSUB 2")
            await asyncio.sleep(0.5)
            two.send("SUB inbox 9", "PUB once inbox 1", "a")
            await asyncio.sleep(0.5)
            assert (await one.heard()) == ["MSG once 1 inbox 1", "a"]
            two.send("PUB once inbox 1", "b", "PUB gone inbox 1", "c")
            said = await two.heard()
            assert said.count("NATS/1.0 503") == 2

    in_a_cluster(story)


def test_a_route_comes_back_with_its_server_and_with_all_that_is_wanted():
    async def story(simulation: Simulation) -> None:
        async with _Raw("n1") as one:
            one.send("SUB news 2")
            await asyncio.sleep(0.5)
            simulation.host("n2").kill()
            await asyncio.sleep(2.0)
            await start(simulation, "n2")
            await asyncio.sleep(3.0)
            async with _Raw("n2") as two:
                two.send("PUB news 1", "n")
                assert (await one.heard())[-1] == "n"

    in_a_cluster(story)
