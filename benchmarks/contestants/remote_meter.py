"""Asks one after another and in flight, the same way for every contestant."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: What every ask carries, and what every answer gives back.
PAYLOAD = b"x" * 100
#: Asks that wait for their answer at any time, in the row that says so.
IN_FLIGHT = 256
#: Messages of the one-way rows between two asks that wait for their arrival.
BURST = 1000


def percentiles(took: list[float]) -> dict[str, float]:
    """The rate of asks that took so many seconds each, and their percentiles."""
    cuts = statistics.quantiles(took, n=100)
    return {
        "ask": 1 / statistics.fmean(took),
        "ask p50": cuts[49] * 1e6,
        "ask p99": cuts[98] * 1e6,
    }


async def one_after_another(ask: Callable[[], Awaitable[Any]], count: int) -> dict[str, float]:
    """Rate and percentiles of `count` asks, each awaited before the next."""
    for _ in range(200):
        await ask()
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return percentiles(took)


async def in_flight(ask: Callable[[], Awaitable[Any]], count: int) -> float:
    """Asks a second with `IN_FLIGHT` outstanding: so many tasks, each in a loop."""
    each = count // IN_FLIGHT

    async def asker() -> None:
        for _ in range(each):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(asker() for _ in range(IN_FLIGHT)))
    return each * IN_FLIGHT / (time.perf_counter() - began)


async def one_way(
    send: Callable[[], Any], arrived: Callable[[], Awaitable[int]], count: int
) -> tuple[float, int, int]:
    """Messages a second at the receiver; how many arrived of how many were sent.

    After each `BURST` of messages the receiver is asked for its count, so that
    no more than that many are on their way, and nothing needs to be dropped.
    """
    start = await arrived()
    began = time.perf_counter()
    for _ in range(count // BURST):
        for _ in range(BURST):
            send()
        await arrived()
    sent = count // BURST * BURST
    last, there = -1, await arrived() - start
    while there < sent and there != last:
        last, there = there, await arrived() - start
    return there / (time.perf_counter() - began), there, sent
