"""Pykka's ThreadingActor, from a plain thread, as its documentation shows it."""

from __future__ import annotations

from typing import Any

import pykka

from contestants.meter import Rate, resident

CHUNK = 1000


class Sink(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_start(self) -> None:
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, tuple):
            ref, count = message
            for number in range(count):
                ref.ask(number)
            return None
        self.count += 1
        return message


def measure(scale: float) -> dict[str, float]:
    ref = Sink.start()
    asker = Sink.start()
    ref.ask(0)
    figures = {}
    count = int(100_000 * scale) // CHUNK * CHUNK
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for _ in range(CHUNK):
                ref.tell("x")
            ref.ask(0)
    figures["tell"] = rate.per_second
    count = int(100_000 * scale)
    with Rate(count) as rate:
        for _ in range(count):
            ref.tell("x")
        ref.ask(0)
    figures["tell, stream"] = rate.per_second
    count = int(10_000 * scale)
    with Rate(count) as rate:
        for number in range(count):
            ref.ask(number)
    figures["ask"] = rate.per_second
    count = int(50_000 * scale) // CHUNK * CHUNK
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for future in [ref.ask(number, block=False) for number in range(CHUNK)]:
                future.get()
    figures["asks in flight"] = rate.per_second
    count = int(10_000 * scale)
    with Rate(count) as rate:
        asker.ask((ref, count))
    figures["ask between"] = rate.per_second
    figures |= population(int(1000 * scale))
    pykka.ActorRegistry.stop_all()
    return figures


def population(count: int) -> dict[str, float]:
    before = resident()
    with Rate(count) as start:
        refs = [Sink.start() for _ in range(count)]
        for future in [ref.ask(0, block=False) for ref in refs]:
            future.get()
    memory = (resident() - before) / count
    with Rate(count) as fan_out:
        for ref in refs:
            ref.tell("x")
        for future in [ref.ask(0, block=False) for ref in refs]:
            future.get()
    with Rate(count) as stop:
        for future in [ref.stop(block=False) for ref in refs]:
            future.get()
    return {
        "start": start.per_second,
        "memory": memory,
        "fan-out": fan_out.per_second,
        "stop": stop.per_second,
    }
