"""Ours: two nodes in two processes, the relay in a third (embedded, or a real Iris)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from actors import Actor, message, receives
from contestants.remote_meter import (
    PAYLOAD,
    in_flight,
    one_after_another,
    one_way,
)
from contestants.remote_servers import REAL_IRIS, free_port, listens, nsqd_command, ours, running
from irismq_runtime import Node, Tunnel, live, loop

ADDRESS, TOPIC = "bench.remote", "bench.events"
CHUNK = bytes(64 * 1024)


@message("bench.remote.echo")
@dataclass(frozen=True, slots=True)
class Echo:
    payload: bytes


@message("bench.remote.all")
@dataclass(frozen=True, slots=True)
class All:
    payload: bytes


@message("bench.remote.event")
@dataclass(frozen=True, slots=True)
class Happened:
    payload: bytes


@message("bench.remote.count")
@dataclass(frozen=True, slots=True)
class Count:
    what: int


class Member(Actor):
    address = ADDRESS
    subscribes = (live(TOPIC),)

    def on_start(self) -> None:
        self.counts = [0, 0]

    @receives(Echo)
    def echo(self, message: Echo) -> bytes:
        return message.payload

    @receives(All)
    def told(self, message: All) -> None:
        self.counts[0] += 1

    @receives(Happened)
    def happened(self, message: Happened) -> None:
        self.counts[1] += 1

    @receives(Count)
    def count(self, message: Count) -> int:
        return self.counts[message.what]

    async def on_tunnel(self, tunnel: Tunnel) -> None:
        async for body in tunnel:
            if body is None:
                await tunnel.send(None)


async def serve(nsqd: str, iris: str) -> None:
    async with Node(nsqd=nsqd, iris=iris, name="member") as node:
        await node.start(Member)
        print("ready", flush=True)
        await asyncio.Event().wait()


async def run(scale: float, nsqd: str, iris: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with Node(nsqd=nsqd, iris=iris, name="asker") as node:
        await node.settled()
        ref = node.ref(ADDRESS)

        async def ask() -> None:
            await ref.ask(Echo(PAYLOAD), timeout=10.0)

        figures |= await one_after_another(ask, int(10_000 * scale))
        figures["asks in flight"] = await in_flight(ask, int(60_000 * scale))

        async def told() -> int:
            return int(await ref.ask(Count(0), timeout=10.0))

        async def happened() -> int:
            return int(await ref.ask(Count(1), timeout=10.0))

        rate, there, sent = await one_way(
            lambda: ref.tell_all(All(PAYLOAD)), told, int(50_000 * scale)
        )
        figures |= {"broadcasts": rate, "broadcasts lost": sent - there}
        rate, there, sent = await one_way(
            lambda: node.publish(TOPIC, Happened(PAYLOAD), durable=False),
            happened,
            int(50_000 * scale),
        )
        figures |= {"events": rate, "events lost": sent - there}
        figures["tunnel"] = await tunnelled(ref, int(200_000_000 * scale))
    return figures


async def tunnelled(ref: Any, total: int) -> float:
    """Megabytes a second through one tunnel, in messages of 64 KiB."""
    async with ref.tunnel() as tunnel:
        began = time.perf_counter()
        for _ in range(total // len(CHUNK)):
            await tunnel.send(CHUNK)
        await tunnel.send(None)
        await tunnel.receive()
        return total / (time.perf_counter() - began) / 1e6


def between(scale: float, iris: str) -> dict[str, Any]:
    """Figures over the relay at `iris`; the broker, which has nothing to do, is ours."""
    port = free_port()
    nsqd = f"127.0.0.1:{port}"
    member = [sys.executable, "-m", "contestants.remote_ours", nsqd, iris]
    with running(nsqd_command(port, embedded=True), port), running(member) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError("the member did not start")
        return loop.run(run(scale, nsqd, iris))


def measure(scale: float) -> dict[str, Any]:
    if os.environ.get("BENCHMARK_RELAY") == "real":
        if not listens(*REAL_IRIS):
            raise RuntimeError(f"no Iris node on {REAL_IRIS[0]}:{REAL_IRIS[1]}")
        return between(scale, f"{REAL_IRIS[0]}:{REAL_IRIS[1]}")
    port = free_port()
    with running(ours("relay", port), port):
        return between(scale, f"127.0.0.1:{port}")


if __name__ == "__main__":
    loop.run(serve(*sys.argv[1:]))
