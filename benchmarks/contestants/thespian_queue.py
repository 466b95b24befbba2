"""Thespian with its simpleSystemBase: all actors in this process, one after another."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor, ActorSystem

from contestants.meter import Rate, resident


class Sink(Actor):  # type: ignore[misc]  # the package has no types
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        if isinstance(message, int):
            self.send(sender, message)


def measure(scale: float) -> dict[str, float]:
    system = ActorSystem("simpleSystemBase")
    ref = system.createActor(Sink)
    system.ask(ref, 0, 5)
    figures = {}
    count = int(50_000 * scale)
    with Rate(count) as rate:
        for _ in range(count):
            system.tell(ref, "x")
        system.ask(ref, 0, 5)
    figures["tell"] = rate.per_second
    count = int(20_000 * scale)
    with Rate(count) as rate:
        for number in range(count):
            system.ask(ref, number, 5)
    figures["ask"] = rate.per_second
    count = int(2000 * scale)
    before = resident()
    with Rate(count) as rate:
        refs = [system.createActor(Sink) for _ in range(count)]
        system.ask(refs[-1], 0, 5)
    figures["start"] = rate.per_second
    figures["memory"] = (resident() - before) / count
    with Rate(count) as rate:
        for each in refs:
            system.tell(each, "x")
        system.ask(refs[-1], 0, 5)
    figures["fan-out"] = rate.per_second
    system.shutdown()
    return figures
