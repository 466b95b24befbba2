"""`actors.Actor` on uvloop."""

from __future__ import annotations

from typing import Any

import uvloop

from actors import Actor, ActorRef, System, receives
from contestants.meter import Rate, resident


class Sink(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_start(self) -> None:
        self.count = 0

    @receives(int)
    def add(self, number: int) -> int:
        self.count += 1
        return number

    @receives(str)
    def tell(self, text: str) -> None:
        self.count += 1


class AsyncSink(Actor):
    @receives(int)
    async def add(self, number: int) -> int:
        return number

    @receives(str)
    async def tell(self, text: str) -> None:
        pass


class Asker(Actor):
    @receives(tuple)
    async def ask(self, order: tuple[ActorRef[Sink], int]) -> None:
        ref, count = order
        for number in range(count):
            await ref.ask(number)


CHUNK = 1000


async def tells(ref: ActorRef[Any], count: int) -> float:
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for _ in range(CHUNK):
                ref.tell("x")
            await ref.ask(0)
    return rate.per_second


async def stream(ref: ActorRef[Any], count: int) -> float:
    with Rate(count) as rate:
        for _ in range(count):
            ref.tell("x")
        await ref.ask(0, timeout=600.0)
    return rate.per_second


async def asks(ref: ActorRef[Any], count: int) -> float:
    with Rate(count) as rate:
        for number in range(count):
            await ref.ask(number)
    return rate.per_second


async def in_flight(ref: ActorRef[Any], count: int) -> float:
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for future in [ref.ask(number) for number in range(CHUNK)]:
                await future
    return rate.per_second


async def population(system: System, count: int) -> dict[str, float]:
    before = resident()
    with Rate(count) as start:
        refs = [system.start(Sink) for _ in range(count)]
        await refs[-1].started()
    memory = (resident() - before) / count
    with Rate(count) as fan_out:
        for ref in refs:
            ref.tell("x")
        await refs[-1].ask(0)
    with Rate(count) as stop:
        stopped = [ref.stop() for ref in refs]
        for future in stopped:
            await future
    return {
        "start": start.per_second,
        "memory": memory,
        "fan-out": fan_out.per_second,
        "stop": stop.per_second,
    }


async def run(scale: float) -> dict[str, float]:
    system = System("benchmark", inbox_limit=1_000_000)
    ref = system.start(Sink)
    asker = system.start(Asker)
    await asks(ref, 1000)
    figures = {
        "tell": await tells(ref, int(500_000 * scale) // CHUNK * CHUNK),
        "tell, stream": await stream(ref, int(100_000 * scale)),
        "ask": await asks(ref, int(100_000 * scale)),
        "asks in flight": await in_flight(ref, int(200_000 * scale) // CHUNK * CHUNK),
    }
    waits = system.start(AsyncSink)
    figures |= {
        "tell, async handler": await tells(waits, int(500_000 * scale) // CHUNK * CHUNK),
        "ask, async handler": await asks(waits, int(100_000 * scale)),
    }
    count = int(100_000 * scale)
    with Rate(count) as rate:
        await asker.ask((ref, count), timeout=600.0)
    figures["ask between"] = rate.per_second
    figures |= await population(system, int(100_000 * scale))
    few = await population(system, int(30_000 * scale))
    many = await population(system, int(300_000 * scale))
    # Ten times the actors: how many times as long each one takes to start and stop.
    figures["growth"] = sum(1 / many[row] for row in ("start", "stop")) / sum(
        1 / few[row] for row in ("start", "stop")
    )
    await system.shutdown()
    return figures


def measure(scale: float) -> dict[str, float]:
    figures: dict[str, float] = uvloop.run(run(scale))
    return figures
