"""One of two nodes on two relays, and every verb tried on the other one.

It serves `pair.shop`, as the other does, and `pair.NAME`, which only it does. Tests
start two in their own process; test_two_relays runs this file on two hosts, as
`python -m ... NAME OTHER`: for each line on its standard input it tries every verb
and prints what it saw as one line of JSON; at the end of the input it leaves.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from typing import Any

from actors import Actor, AskTimeout, Terminated, receives
from irismq_runtime import Node, NoSuchService, live
from irismq_runtime.embedded import EmbeddedNsqd
from supervisors import Supervisor, child
from tests.integration.service import CountTo, Put, Reset, Sold, Who
from tests.support.until import until

NEWS = "pair.news"
BROADCASTS = 200
ASKS = 200
BIG = "x" * 300_000


class Shop(Actor):
    """Knows its node, counts what it is told and what it hears."""

    subscribes = (live(NEWS),)

    def __init__(self, address: str, name: str) -> None:
        super().__init__()
        self.address = address
        self.name = name
        self.told = 0
        self.heard = 0

    @receives(Who)
    def who(self, who: Who) -> list[Any]:
        return [self.name, self.actor_ref]

    @receives(Put)
    def put(self, put: Put) -> int:
        self.told += put.count
        return self.told

    @receives(Sold)
    def sold(self, sold: Sold) -> int:
        self.heard += bool(sold.sku)
        return self.heard

    @receives(Reset)
    def reset(self, reset: Reset) -> int:
        told, self.told = self.told, 0
        return told

    @receives(CountTo)
    async def count(self, asked: CountTo):
        for number in range(asked.last):
            yield number

    @receives(str)
    def end(self, word: str) -> None:
        self.actor_ref.stop(block=False)

    async def on_tunnel(self, tunnel: Any) -> None:
        async for item in tunnel:
            await tunnel.send(item)


class Clerk(Shop):
    """Is watched from the other node, and ends there."""


class Watcher(Actor):
    """Hears of the end of whom it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    @receives(Terminated)
    def heard(self, terminated: Terminated) -> None:
        self.ended.set()

    def on_receive(self, ref: Any) -> None:
        self.watch(ref)


async def try_everything(node: Node, other: str) -> dict[str, Any]:
    """Every verb, on the node `other`."""
    theirs, shared = node.ref(f"pair.{other}"), node.ref("pair.shop")
    await until(lambda: len(node.members("pair.shop")) == 2 and node.members(f"pair.{other}"))
    seen: dict[str, Any] = {"members": sorted(m.name for m in node.members("pair.shop"))}
    seen["lost"] = await _settle(theirs)
    name, peer = await theirs.ask(Who())
    seen["ask"] = name
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(ASKS):
        began = loop.time()
        await theirs.ask(Put("one"))
        times.append(loop.time() - began)
    seen["ask_us"] = round(statistics.median(times) * 1e6)
    answers = await asyncio.gather(*(theirs.ask(Put("many")) for _ in range(ASKS)))
    seen["in flight"] = sorted(answers) == list(range(ASKS + 1, 2 * ASKS + 1))
    gathered = await shared.ask_all(Who())
    seen["ask_all"] = sorted(value[0] for value in gathered.values)
    seen["complete"] = gathered.complete
    await theirs.ask(Reset())
    for _ in range(BROADCASTS):
        theirs.tell_all(Put("all"))
    told = 0
    while told < BROADCASTS:
        told = await theirs.ask(Put("none", 0))
    seen["tell_all"] = told
    seen["event"] = await _publish(node, theirs)
    async with theirs.tunnel(timeout=10.0) as tunnel:
        for item in [*range(100), BIG]:
            await tunnel.send(item)
        echo = [await tunnel.receive() for _ in range(101)]
    seen["tunnel"] = echo == [*range(100), BIG]
    seen["stream"] = [n async for n in theirs.stream(CountTo(200), timeout=10.0)] == [*range(200)]
    seen["peer"] = [peer.node_id.partition("-")[0], (await peer.ask(Who()))[0]]
    seen["nowhere"] = await _nowhere(node)
    seen["watch"] = await _watch(node, f"pair.clerk.{other}")
    return seen


async def _settle(theirs: Any) -> int:
    """Ask until 50 in a row are answered: two relays that have just met lose some."""
    lost = row = 0
    while row < 50:
        try:
            await theirs.ask(Who(), timeout=1.0)
        except AskTimeout:
            lost, row = lost + 1, 0
        else:
            row += 1
    await theirs.ask(Reset())
    return lost


async def _publish(node: Node, theirs: Any) -> bool:
    """Publish live events until the other node has heard one more."""
    before = heard = await theirs.ask(Sold(""))
    while heard == before:
        node.publish(NEWS, Sold("tea"), durable=False)
        heard = await theirs.ask(Sold(""))
    return True


async def _nowhere(node: Node) -> str:
    try:
        await node.ref("pair.nowhere").ask(Who())
    except NoSuchService as error:
        return type(error).__name__
    return "an answer"


async def watch(node: Node, peer: Any) -> asyncio.Event:
    """Watch an actor of another node; the event comes with its end."""
    watcher = node.system.start(Watcher)
    await watcher.started()
    ended: asyncio.Event = watcher._slot.actor.ended
    watcher.tell(peer)
    await until(lambda: peer in node.parts.death_watch._watched or ended.is_set())
    return ended


async def _watch(node: Node, address: str) -> bool:
    _, clerk = await node.ref(address).ask(Who())
    ended = await watch(node, clerk)
    await clerk.ask("end")
    await ended.wait()
    return ended.is_set()


def expected(other: str) -> dict[str, Any]:
    """What `try_everything` must see, beside times and losses."""
    return {
        "members": ["a", "b"],
        "ask": other,
        "in flight": True,
        "ask_all": ["a", "b"],
        "complete": True,
        "tell_all": BROADCASTS,
        "event": True,
        "tunnel": True,
        "stream": True,
        "peer": [other, other],
        "nowhere": "NoSuchService",
        "watch": True,
    }


def tree(name: str) -> Any:
    """What the node of this name runs."""
    return Supervisor.of(
        child(Shop, "pair.shop", name, name="shared"),
        child(Shop, f"pair.{name}", name, name="own"),
        child(Clerk, f"pair.clerk.{name}", name, name="clerk", restart="transient"),
    )


def tree_of_b() -> Any:
    """What the node `b` runs, for the command line."""
    return tree("b")


def say(value: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def main(name: str, other: str) -> None:
    nsqd = EmbeddedNsqd()
    await nsqd.start()
    iris = "127.0.0.1:55555"
    at = f"127.0.0.1:{nsqd.port}"
    async with Node(name=name, nsqd=at, iris=iris, presence_period=0.5, drain=2.0) as node:
        await node.start(tree(name))
        say("runs")
        while await asyncio.to_thread(sys.stdin.readline):
            say(await try_everything(node, other))
        say(len(node.members("pair.shop")))
    await nsqd.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
