"""The durable half of a node: telling, receiving, latency. One role in each process.

    python -m contestants.durable_node ROLE JSON

ROLE is a function below; JSON its arguments. A role prints one line of JSON, and
"ready" before it when the bench has to wait for it. Times of two processes are
compared on CLOCK_MONOTONIC, which they share.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import Actor, message, receives
from irismq_runtime import Node, loop

#: Tells between two looks at the receipts: what one turn of the loop tells.
TURN = 500
KEY = {"bench": b"0123456789abcdef0123456789abcdef"}


@message("bench.durable.item")
@dataclass(frozen=True, slots=True)
class Item:
    number: int
    payload: bytes


@message("bench.durable.stamped")
@dataclass(frozen=True, slots=True)
class Stamped:
    at: float
    payload: bytes


class Sink(Actor):
    """Counts items until `left` of them have come, and remembers how old they were."""

    mailbox_window = 2000

    def __init__(self, left: int, progress: Any = None) -> None:
        super().__init__()
        self.left = left
        self.progress = progress

    @receives(Item)
    def item(self, message: Item) -> None:
        self.left -= 1
        if not self.left % 10_000:
            if self.progress is not None:
                self.progress()
            if not self.left:
                DONE.set()

    @receives(Stamped)
    def stamped(self, message: Stamped) -> None:
        AGES.append((message.at, time.perf_counter() - message.at))


#: When each was told, and how old it was in its handler.
AGES: list[tuple[float, float]] = []
DONE = asyncio.Event()


def resident() -> float:
    """MB of resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def node(nsqd: str, iris: str, **options: Any) -> Node:
    if options.pop("signed", False):
        options["keys"] = KEY
    return Node(nsqd=nsqd, iris=iris, name="bench", **options)


async def tell(nsqd: str, iris: str, address: str, count: int, size: int, **options: Any) -> None:
    """Confirmed tells a second: told one by one, until the last is confirmed."""
    async with node(nsqd, iris, **options) as running:
        ref = running.ref(address)
        payload = bytes(size)
        await ref.tell(Item(-1, payload))
        # What waits for its receipt is bounded, in messages and in bytes.
        ahead = max(1, min(20_000, 8_000_000 // (size + 100)) // TURN)
        waiting: list[Any] = []
        began, cpu = time.perf_counter(), time.process_time()
        for turn in range(count // TURN):
            receipts = [ref.tell(Item(turn * TURN + n, payload)) for n in range(TURN)]
            waiting.append(receipts)
            await asyncio.sleep(0)
            if len(waiting) >= ahead:
                for receipt in waiting.pop(0):
                    await receipt
        for receipts in waiting:
            for receipt in receipts:
                await receipt
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    count = count // TURN * TURN
    print(json.dumps({"rate": count / took, "cpu_rate": count / cpu}), flush=True)


async def receive(nsqd: str, iris: str, address: str, count: int, **options: Any) -> None:
    """Messages a second: decoded, handled, FINished, until the last is handled."""
    async with node(nsqd, iris, **options) as running:
        kind = type("Sink", (Sink,), {"address": address})
        began, cpu = time.perf_counter(), time.process_time()
        await running.start(tree(kind, count))
        await DONE.wait()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"rate": count / took, "cpu_rate": count / cpu}), flush=True)


def tree(kind: type[Sink], *arguments: Any) -> Any:
    from supervisors import Supervisor, child

    return Supervisor.of(child(kind, *arguments))


async def backlog(nsqd: str, iris: str, address: str, count: int) -> None:
    """Resident memory of a consumer while it works through a backlog."""
    seen: list[float] = []
    async with node(nsqd, iris) as running:
        start = resident()
        kind = type("Sink", (Sink,), {"address": address})
        began = time.perf_counter()
        await running.start(tree(kind, count, lambda: seen.append(resident())))
        await DONE.wait()
        took = time.perf_counter() - began
    settled = seen[0]
    print(
        json.dumps(
            {
                "rate": count / took,
                "connected_mb": start,
                "after_first_10000_mb": settled,
                "peak_mb": max(seen),
                "last_mb": seen[-1],
                "growth_mb": max(seen) - settled,
                "growth_since_connected_mb": max(seen) - start,
            }
        ),
        flush=True,
    )


async def listen(nsqd: str, iris: str, address: str) -> None:
    """Take stamped messages until a line comes in; then say how old they were."""
    async with node(nsqd, iris) as running:
        kind = type("Sink", (Sink,), {"address": address})
        await running.start(tree(kind, 1))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    onset = min(AGES)[0] + 1.0
    steady = percentiles([age for at, age in AGES if at >= onset])
    first = percentiles([age for at, age in AGES if at < onset])
    print(json.dumps({**steady, "first second": first, "messages": len(AGES)}), flush=True)


def percentiles(ages: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ages.sort()
    last = len(ages) - 1
    return {f"p{p}": ages[round(last * p / 100)] * 1000 for p in (50, 99, 99.9)}


async def pace(
    nsqd: str, iris: str, address: str, *, rate: float, seconds: float, size: int
) -> None:
    """Tell `rate` stamped messages a second, evenly, for so many seconds."""
    async with node(nsqd, iris) as running:
        ref, payload = running.ref(address), bytes(size)
        for _ in range(5):
            await ref.tell(Stamped(time.perf_counter(), payload))
        began, told, receipt = time.perf_counter(), 0, None
        while (passed := time.perf_counter() - began) < seconds:
            while told < passed * rate:
                receipt = ref.tell(Stamped(time.perf_counter(), payload))
                told += 1
            await asyncio.sleep(0.001)
        if receipt is not None:
            await receipt
        await asyncio.sleep(0.3)
    print(json.dumps({"told": told}), flush=True)


ROLES = {"tell": tell, "receive": receive, "backlog": backlog, "listen": listen, "pace": pace}


if __name__ == "__main__":
    loop.run(ROLES[sys.argv[1]](**json.loads(sys.argv[2])))
