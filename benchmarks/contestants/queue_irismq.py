"""An actor whose mailbox is an NSQ channel, on the defaults of a node. A message is FINished
when its handler has returned; a receipt is done when nsqd has confirmed the tell.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors import Actor, message, receives
from contestants.tally import Tally
from irismq_runtime import Node, ServiceRef, loop
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Sender = Callable[[ServiceRef[Any], int, str], Awaitable[None]]

TALLY = Tally(os.environ["BENCH_TALLY"])
ADDRESS = "bench.items"
#: Tells between two looks at the receipts, and such turns whose receipts may be awaited.
TURN, AHEAD = 500, 40


@message("bench.queues.item")
@dataclass(frozen=True, slots=True)
class Item:
    payload: str


class Worker(Actor):
    address = ADDRESS

    @receives(Item)
    def item(self, message: Item) -> None:
        TALLY.hit()


def node() -> Node:
    return Node(nsqd=os.environ["BENCH_URL"], iris=os.environ["BENCH_RELAY"], name="bench")


def worker() -> list[str]:
    return ["-m", "contestants.queue_irismq"]


def send(count: int, payload: str, *, awaited: bool) -> float:
    return loop.run(_send(_each if awaited else _many, count, payload))


async def _send(
    how: Callable[[ServiceRef[Any], int, str], Awaitable[None]], count: int, payload: str
) -> float:
    async with node() as running:
        ref = running.ref(ADDRESS)
        await ref.tell(Item(payload))
        began = time.perf_counter()
        await how(ref, count, payload)
        return time.perf_counter() - began


async def _each(ref: ServiceRef[Any], count: int, payload: str) -> None:
    for _ in range(count):
        await ref.tell(Item(payload))


async def _many(ref: ServiceRef[Any], count: int, payload: str) -> None:
    waiting: list[list[Any]] = []
    for _ in range(count // TURN):
        waiting.append([ref.tell(Item(payload)) for _ in range(TURN)])
        await asyncio.sleep(0)
        if len(waiting) >= AHEAD:
            for receipt in waiting.pop(0):
                await receipt
    for receipts in waiting:
        for receipt in receipts:
            await receipt


async def _work() -> None:
    async with node() as running:
        await running.start(Supervisor.of(child(Worker)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    loop.run(_work())
