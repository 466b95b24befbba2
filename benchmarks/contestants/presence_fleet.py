"""Many nodes in one process, or one node with many addresses: what presence costs them.

    python -m contestants.presence_fleet fleet NODES SECONDS [NATS URLS]
    python -m contestants.presence_fleet addresses COUNT SECONDS NSQD IRIS
    python -m contestants.presence_fleet lonely NSQD IRIS

Prints one JSON object. Processor time is that of this process; in a fleet it has the
relays and the broker in it, so that nothing of the price is elsewhere. Other times of a fleet
are those of `own_time`, also that of a kill, since the relay goes by that clock. A fleet is quiet
when its relays carried no more in a second than the beats of its nodes. One node with
many addresses goes by the machine's clock: `own_time` looks 500 times a second how late it is,
which is much of what such a node does at rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from actors import Actor
from actors.clock import LoopClock
from contestants.own_time import OwnTime
from irismq_runtime import Node, loop
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay, RelayOptions
from irismq_runtime.embedded.relay.nats import NatsBackEnd
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors import Clock

ALL, LONELY = "bench.all", "bench.lonely"
#: Seconds after which a run is given up: its figures are then what it took up to there.
PATIENCE = float(os.environ.get("BENCHMARK_PATIENCE", "150"))


class Service(Actor):
    """Answers whatever it is asked."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def on_receive(self, message: Any) -> Any:
        return message


async def soon(clock: Clock, holds: Callable[[], Any], pause: float = 0.01) -> bool:
    """Wait until something holds; False when it does not in time."""
    end = clock.monotonic() + PATIENCE
    while not holds():
        if clock.monotonic() > end:
            return False
        await asyncio.sleep(pause)
    return True


class Fleet:
    """The nodes, and the relays between them."""

    def __init__(
        self, clock: OwnTime, nodes: Sequence[Node], relays: Sequence[EmbeddedRelay]
    ) -> None:
        self.clock, self.nodes, self.relays = clock, nodes, relays

    def carried(self) -> tuple[int, int]:
        """Packets that the relays took from nodes, and bytes that they wrote to them."""
        totals = [relay.stats().totals for relay in self.relays]
        packets = sum(each.broadcasts + each.requests for each in totals)
        return packets, sum(each.bytes_out for each in totals)

    async def all(self, holds: Callable[[Node], Any]) -> bool:
        """Wait until something holds for every node; False when it does not in time."""
        for node in self.nodes:
            if not await soon(self.clock, lambda node=node: holds(node)):
                return False
        return True

    async def quiet(self) -> None:
        """Wait until the relays carry little more than beats."""
        end = self.clock.monotonic() + PATIENCE
        most = 1.5 * len(self.nodes) + 5
        while self.clock.monotonic() < end:
            before, began = self.carried()[0], self.clock.monotonic()
            await self.clock.sleep(1.0)
            if (self.carried()[0] - before) / (self.clock.monotonic() - began) <= most:
                return

    async def measured(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Do it, until it is quiet again; what that took."""
        packets, sent = self.carried()
        wall, processor = self.clock.monotonic(), time.process_time()
        done = await work()
        there = self.clock.monotonic() - wall
        await self.quiet()
        more, written = self.carried()
        return {
            "done": done,
            "wall": round(there, 2),
            "span": round(self.clock.monotonic() - wall, 2),
            "processor": round(time.process_time() - processor, 2),
            "packets": more - packets,
            "bytes": written - sent,
        }


async def fleet(count: int, seconds: float, urls: Sequence[str]) -> dict[str, Any]:
    """Start at once, rest, lose the relays and have them back, lose one that is killed."""
    async with AsyncExitStack() as stack:
        clock = OwnTime()
        nsqd = EmbeddedNsqd(clock=clock)
        await nsqd.start()
        stack.push_async_callback(nsqd.stop)
        back_ends = [NatsBackEnd([urls[n % len(urls)]]) for n in range(count)] if urls else [None]
        relays = [EmbeddedRelay(back_end=each, options=_many(), clock=clock) for each in back_ends]
        for relay in relays:
            await stack.enter_async_context(relay)
        nodes = [
            Node(
                nsqd=f"127.0.0.1:{nsqd.port}",
                iris=f"127.0.0.1:{relays[n % len(relays)].port}",
                name="bench",
                connect_timeout=PATIENCE,
                clock=clock,
            )
            for n in range(count)
        ]
        ships = Fleet(clock, nodes, relays)

        async def start() -> bool:
            await asyncio.gather(*map(stack.enter_async_context, nodes))
            await asyncio.gather(
                *(node.start(Supervisor.of(child(Service, ALL))) for node in nodes)
            )
            return await ships.all(lambda node: len(node.members(ALL)) == count)

        async def back() -> bool:
            for relay in relays:
                relay.crash()
            await clock.sleep(0.5)
            for relay in relays:
                await relay.start()
            return await ships.all(lambda node: node.health().ready)

        found = {"start": await ships.measured(start)}
        packets, sent = ships.carried()
        processor = time.process_time()
        await clock.sleep(seconds)
        more, written = ships.carried()
        found["rest"] = {
            "processor": round((time.process_time() - processor) / seconds, 3),
            "packets": round((more - packets) / seconds, 1),
            "bytes": round((written - sent) / seconds),
        }
        found["return"] = await ships.measured(back)
        found["answers"] = len((await nodes[0].ref(ALL).ask_all("?", timeout=10.0)).replies)
        found["kill"] = await _kill(ships, nsqd.port, relays[-1].port)
    return found


async def _kill(ships: Fleet, nsqd: int, relay: int) -> dict[str, Any]:
    """Kill a node of a process of its own; seconds until the first and the last know."""
    place = (f"127.0.0.1:{nsqd}", f"127.0.0.1:{relay}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "contestants.presence_fleet", "lonely", *place
    )
    try:
        known = await ships.all(lambda node: node.members(LONELY))
        process.send_signal(signal.SIGKILL)
        clock, began = ships.clock, ships.clock.monotonic()
        await soon(clock, lambda: not all(node.members(LONELY) for node in ships.nodes), 0.005)
        first = clock.monotonic() - began
        gone = await ships.all(lambda node: not node.members(LONELY))
        return {
            "done": known and gone,
            "first": round(first, 3),
            "last": round(clock.monotonic() - began, 3),
        }
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def addresses(count: int, seconds: float, nsqd: str, iris: str) -> dict[str, Any]:
    """One node that starts so many actors, each with an address of its own, and rests."""
    length = int(os.environ.get("BENCHMARK_LENGTH", "31"))
    names = [f"bench.{n:06}".ljust(length, "x") for n in range(count)]

    def unknown_to(other: Node) -> int:
        return sum(not other.members(name) for name in names)

    clock = LoopClock()
    place: dict[str, Any] = {"nsqd": nsqd, "iris": iris, "clock": clock}
    async with Node(name="witness", **place) as witness, Node(name="bench", **place) as node:
        wall, processor = clock.monotonic(), time.process_time()
        await node.start(Supervisor.of(*(child(Service, name, name=name) for name in names)))
        started = clock.monotonic() - wall
        await soon(clock, lambda: not unknown_to(witness))
        known = clock.monotonic() - wall
        spent = time.process_time() - processor
        await asyncio.sleep(2.0)
        processor = time.process_time()
        await asyncio.sleep(seconds)
        rest = (time.process_time() - processor) / seconds
        missing = unknown_to(witness)
        async with Node(name="late", **place) as late:
            await soon(clock, lambda: not unknown_to(late), 0.1)
            missing_late = unknown_to(late)
        # What became of it is said; how its thousands of connections close is not measured.
        _say(
            wall=round(started, 2),
            known=round(known, 2),
            processor=round(spent, 2),
            rest=round(100 * rest, 2),
            missing=missing,
            missing_late=missing_late,
        )
        os._exit(0)


async def lonely(nsqd: str, iris: str) -> None:
    """A node that waits to be killed."""
    async with Node(name="lonely", nsqd=nsqd, iris=iris) as node:
        await node.start(Supervisor.of(child(Service, LONELY)))
        await asyncio.Event().wait()


def _many() -> RelayOptions:
    return RelayOptions(max_connections=100_000)


def _say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


async def main(mode: str, *rest: str) -> None:
    if mode == "lonely":
        await lonely(*rest)
    elif mode == "addresses":
        await addresses(int(rest[0]), float(rest[1]), *rest[2:])
    else:
        urls = rest[2].split(",") if len(rest) > 2 else []
        _say(**await fleet(int(rest[0]), float(rest[1]), urls))


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop.run(main(*sys.argv[1:]))
