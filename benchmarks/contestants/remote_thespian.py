"""Thespian with its multiprocTCPBase: an actor in a process of its own, over TCP."""

from __future__ import annotations

import time
from typing import Any

from thespian.actors import Actor, ActorSystem

from contestants.remote_meter import IN_FLIGHT, PAYLOAD, percentiles
from contestants.remote_servers import free_port


class Echo(Actor):  # type: ignore[misc]  # the package has no types
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        if isinstance(message, bytes):
            self.send(sender, message)


def measure(scale: float) -> dict[str, Any]:
    system = ActorSystem("multiprocTCPBase", {"Admin Port": free_port()}, logDefs={"version": 1})
    try:
        ref = system.createActor(Echo)
        for _ in range(20):
            system.ask(ref, PAYLOAD, 10)
        took = []
        for _ in range(int(3_000 * scale)):
            began = time.perf_counter()
            if system.ask(ref, PAYLOAD, 10) is None:
                raise RuntimeError("an ask was not answered")
            took.append(time.perf_counter() - began)
        return {**percentiles(took), "asks in flight": in_flight(system, ref, int(4_000 * scale))}
    finally:
        system.shutdown()


def in_flight(system: Any, ref: Any, count: int) -> float:
    """Messages told ahead, their answers listened for: Thespian's ask is one at a time."""
    began = time.perf_counter()
    for _ in range(IN_FLIGHT):
        system.tell(ref, PAYLOAD)
    for number in range(count):
        if system.listen(10) is None:
            raise RuntimeError("an answer did not come")
        if number + IN_FLIGHT < count:
            system.tell(ref, PAYLOAD)
    return count / (time.perf_counter() - began)
