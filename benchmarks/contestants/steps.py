"""What against.py times: processor time of one step each, of whichever runtime is on the path.

    python -m contestants.steps local|durable|remote

Prints one line of JSON: microseconds by row, each the least of many short runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from actors import Actor, System, receives
from contestants import durable_node, remote_meter, remote_ours
from contestants.remote_servers import free_port, ours, running
from irismq_runtime import Node, loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Messages that are told before their receipts are awaited.
BATCH = 500
#: So many of which a stretch of the receiver has.
STRETCH = 10
#: Actors that are started and stopped at once.
CROWD = 300


class Sink(Actor):
    @receives(int)
    def add(self, number: int) -> int:
        return number

    @receives(str)
    def tell(self, text: str) -> None:
        pass


class AsyncSink(Actor):
    @receives(int)
    async def add(self, number: int) -> int:
        return number


async def least(run: Callable[[int], Awaitable[Any]], count: int, runs: int) -> float:
    """Microseconds of each of `count` in the quickest of so many runs, after one to warm up."""
    await run(count)
    best = float("inf")
    for _ in range(runs):
        gc.collect()
        began = time.process_time_ns()
        await run(count)
        best = min(best, time.process_time_ns() - began)
    return best / count / 1000


async def local() -> dict[str, float]:
    system = System("steps", inbox_limit=1_000_000)
    plain, waits = system.start(Sink), system.start(AsyncSink)

    async def tells(count: int) -> None:
        for _ in range(count - 1):
            plain.tell("x")
        await plain.ask(0)

    async def asks(count: int, ref: Any = plain) -> None:
        for number in range(count):
            await ref.ask(number)

    async def in_flight(count: int) -> None:
        for future in [plain.ask(number) for number in range(count)]:
            await future

    async def lives(count: int) -> None:
        refs = [system.start(Sink) for _ in range(count)]
        await refs[-1].started()
        for stopped in [ref.stop() for ref in refs]:
            await stopped

    found = {
        "local tell": await least(tells, 2000, 60),
        "local ask": await least(asks, 1000, 60),
        "local asks in flight": await least(in_flight, 1000, 60),
        "local ask, async handler": await least(lambda n: asks(n, waits), 500, 60),
        "start and stop": await least(lives, CROWD, 30),
    }
    await system.shutdown()
    return found


async def durable() -> dict[str, float]:
    nsqd, iris = free_port(), free_port()
    found: dict[str, float] = {}
    with running(ours("nsqd", nsqd), nsqd), running(ours("relay", iris), iris):
        servers = {"nsqd": f"127.0.0.1:{nsqd}", "iris": f"127.0.0.1:{iris}"}
        for label, size, keys in (
            ("", 100, None),
            (", signed", 100, True),
            (", 10 KB", 10_000, None),
        ):
            options = {"keys": durable_node.KEY} if keys else {}
            async with Node(**servers, name="steps", **options) as node:
                found |= await stored(node, label, size)
    return found


async def stored(node: Node, label: str, size: int) -> dict[str, float]:
    """A tell until it is confirmed, and a receive until it is finished."""
    address, payload, runs = f"steps.{time.time_ns()}", bytes(size), 40
    ref = node.ref(address)

    async def tells(count: int) -> None:
        for receipt in [ref.tell(durable_node.Item(number, payload)) for number in range(count)]:
            await receipt

    told = await least(tells, BATCH, runs)
    # Each run of the receiver is from one message in so many to the next.
    marks: list[int] = []
    total = (runs + 1) * BATCH

    class Taker(Actor):
        mailbox_window = 2000
        count = 0

        @receives(durable_node.Item)
        def item(self, message: durable_node.Item) -> None:
            self.count += 1
            if not self.count % BATCH:
                marks.append(time.process_time_ns())
                if self.count >= total:
                    done.set()

    done = asyncio.Event()
    await node.start(durable_node.tree(type("Taker", (Taker,), {"address": address})))
    await done.wait()
    # Over more than a window, as what was decoded ahead is not paid by who handles it.
    took = min(after - before for before, after in zip(marks, marks[STRETCH:], strict=False))
    return {f"durable tell{label}": told, f"durable receive{label}": took / BATCH / STRETCH / 1000}


async def remote() -> dict[str, float]:
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd
    from irismq_runtime.embedded.relay import EmbeddedRelay

    broker, relay = EmbeddedNsqd(port=0), EmbeddedRelay(port=0)
    await broker.start()
    await relay.start()
    servers = {"nsqd": f"127.0.0.1:{broker.port}", "iris": f"127.0.0.1:{relay.port}"}
    try:
        async with Node(**servers, name="member") as member:
            await member.start(remote_ours.Member)
            async with Node(**servers, name="asker") as node:
                await node.settled()
                ref = node.ref(remote_ours.ADDRESS)

                async def ask() -> None:
                    await ref.ask(remote_ours.Echo(remote_meter.PAYLOAD), timeout=20.0)

                async def asks(count: int) -> None:
                    for _ in range(count):
                        await ask()

                async def in_flight(count: int) -> None:
                    await remote_meter.in_flight(ask, count)

                return {
                    "remote ask": await least(asks, 100, 60),
                    "remote asks in flight": await least(in_flight, 2048, 15),
                }
    finally:
        await relay.stop()
        await broker.stop()


PARTS = {"local": local, "durable": durable, "remote": remote}


if __name__ == "__main__":
    print(json.dumps(loop.run(PARTS[sys.argv[1]]())))
