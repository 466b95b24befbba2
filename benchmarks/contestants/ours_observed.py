"""`actors.Actor` under a supervisor, watched, with an observer of events."""

from __future__ import annotations

import asyncio

import uvloop

from actors import Actor, System, runtime
from contestants.ours import Sink, asks, in_flight, stream, tells


class Watcher(Actor):
    def __init__(self, slot: runtime.Slot) -> None:
        super().__init__()
        self.target = slot.ref

    def on_start(self) -> None:
        self.watch(self.target)


class Metrics:
    async def started(self, ref: object, actor: object) -> None: ...
    async def restarting(self, ref: object, exit_: object) -> None: ...
    async def restarted(self, ref: object, actor: object) -> None: ...
    async def ended(self, ref: object, exit_: object) -> None: ...


async def run(scale: float) -> dict[str, float]:
    system = System("benchmark", inbox_limit=1_000_000)
    system.events.subscribe(lambda event: None)
    system.lifecycle.append(Metrics())
    slot = runtime.new_slot(system, Sink)
    slot.on_down = lambda *_: None
    await runtime.start(slot)
    await system.start(Watcher, slot).started()
    await asyncio.sleep(0)
    await asks(slot.ref, 1000)
    figures = {
        "tell": await tells(slot.ref, int(500_000 * scale) // 1000 * 1000),
        "tell, stream": await stream(slot.ref, int(100_000 * scale)),
        "ask": await asks(slot.ref, int(100_000 * scale)),
        "asks in flight": await in_flight(slot.ref, int(200_000 * scale) // 1000 * 1000),
    }
    await system.shutdown()
    return figures


def measure(scale: float) -> dict[str, float]:
    figures: dict[str, float] = uvloop.run(run(scale))
    return figures
