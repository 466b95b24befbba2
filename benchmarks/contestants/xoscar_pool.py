"""xoscar: actors in the main pool of one process, on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import xoscar

from contestants.meter import Rate, resident


class Sink(xoscar.Actor):  # type: ignore[misc]  # the package has no types
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def add(self, number: int) -> int:
        self.count += 1
        return number


class Asker(xoscar.Actor):  # type: ignore[misc]  # the package has no types
    async def ask(self, ref: Any, count: int) -> None:
        for number in range(count):
            await ref.add(number)


async def run(scale: float) -> dict[str, float]:
    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
    address = pool.external_address
    ref = await xoscar.create_actor(Sink, address=address)
    asker = await xoscar.create_actor(Asker, address=address)
    figures = {}
    count = int(20_000 * scale)
    with Rate(count) as rate:
        for number in range(count):
            await ref.add.send(number) if hasattr(ref.add, "send") else await ref.add(number)
    figures["tell"] = rate.per_second
    with Rate(count) as rate:
        for number in range(count):
            await ref.add(number)
    figures["ask"] = rate.per_second
    with Rate(count) as rate:
        for _ in range(count // 1000):
            await asyncio.gather(*(ref.add(number) for number in range(1000)))
    figures["asks in flight"] = rate.per_second
    with Rate(count) as rate:
        await asker.ask(ref, count)
    figures["ask between"] = rate.per_second
    count = int(5000 * scale)
    before = resident()
    with Rate(count) as rate:
        refs = [await xoscar.create_actor(Sink, address=address) for _ in range(count)]
    figures["start"] = rate.per_second
    figures["memory"] = (resident() - before) / count
    with Rate(count) as rate:
        await asyncio.gather(*(each.add(1) for each in refs))
    figures["fan-out"] = rate.per_second
    with Rate(count) as rate:
        for each in refs:
            await xoscar.destroy_actor(each)
    figures["stop"] = rate.per_second
    await pool.stop()
    return figures


def measure(scale: float) -> dict[str, float]:
    return asyncio.run(run(scale))
