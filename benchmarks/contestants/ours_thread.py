"""`actors.ThreadActor`, used from a plain thread as Pykka is."""

from __future__ import annotations

import uvloop

from actors import System, ThreadActor
from contestants.meter import Rate, resident
from contestants.ours import CHUNK, Sink


class ThreadSink(ThreadActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_start(self) -> None:
        self.count = 0

    add = Sink.add
    tell = Sink.tell

    def on_receive(self, order: object) -> None:
        ref, count = order  # type: ignore[misc]  # the asker's only message
        for number in range(count):
            ref.ask(number, block=True)


def measure(scale: float) -> dict[str, float]:
    system = System("benchmark", inbox_limit=1_000_000, loop_factory=uvloop.new_event_loop)
    ref = system.start(ThreadSink)
    asker = system.start(ThreadSink)
    ref.ask(0, block=True)
    figures = {}
    count = int(100_000 * scale) // CHUNK * CHUNK
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for _ in range(CHUNK):
                ref.tell("x")
            ref.ask(0, block=True)
    figures["tell"] = rate.per_second
    count = int(100_000 * scale)
    with Rate(count) as rate:
        for _ in range(count):
            ref.tell("x")
        ref.ask(0, block=True, timeout=600.0)
    figures["tell, stream"] = rate.per_second
    count = int(10_000 * scale)
    with Rate(count) as rate:
        for number in range(count):
            ref.ask(number, block=True)
    figures["ask"] = rate.per_second
    count = int(50_000 * scale) // CHUNK * CHUNK
    with Rate(count) as rate:
        for _ in range(count // CHUNK):
            for future in [ref.ask(number) for number in range(CHUNK)]:
                future.get()
    figures["asks in flight"] = rate.per_second
    count = int(10_000 * scale)
    with Rate(count) as rate:
        asker.ask((ref, count), block=True, timeout=600.0)
    figures["ask between"] = rate.per_second
    figures |= population(system, int(1000 * scale))
    system.close()
    return figures


def population(system: System, count: int) -> dict[str, float]:
    before = resident()
    with Rate(count) as start:
        refs = [system.start(ThreadSink) for _ in range(count)]
        for future in [ref.ask(0) for ref in refs]:
            future.get()
    memory = (resident() - before) / count
    with Rate(count) as fan_out:
        for ref in refs:
            ref.tell("x")
        for future in [ref.ask(0) for ref in refs]:
            future.get()
    with Rate(count) as stop:
        for future in [ref.stop() for ref in refs]:
            future.get()  # type: ignore[union-attr]  # block=False gives a future
    return {
        "start": start.per_second,
        "memory": memory,
        "fan-out": fan_out.per_second,
        "stop": stop.per_second,
    }
