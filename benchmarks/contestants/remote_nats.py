"""nats-py: request and reply through its server, raw bytes, two processes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from contestants.remote_meter import PAYLOAD, in_flight, one_after_another
from contestants.remote_servers import free_port, nats_command, running
from irismq_runtime import loop


async def serve(url: str) -> None:
    import nats

    client = await nats.connect(url)
    counted = 0

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    async def event(message: Any) -> None:
        nonlocal counted
        counted += 1
        if message.reply:
            await message.respond(b"%d" % counted)

    await client.subscribe("bench.echo", cb=echo)
    await client.subscribe("bench.event", cb=event)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def run(scale: float, url: str) -> dict[str, Any]:
    import nats

    client = await nats.connect(url)

    async def ask() -> None:
        await client.request("bench.echo", PAYLOAD, timeout=10)

    figures: dict[str, Any] = await one_after_another(ask, int(10_000 * scale))
    figures["asks in flight"] = await in_flight(ask, int(40_000 * scale))
    figures["events"] = await published(client, int(50_000 * scale))
    await client.close()
    return figures


async def published(client: Any, count: int) -> float:
    """Events a second at the one subscriber, which counts its own counting as one."""
    import time

    began = time.perf_counter()
    for _ in range(count // 1000):
        for _ in range(999):
            await client.publish("bench.event", PAYLOAD)
        await client.request("bench.event", PAYLOAD, timeout=10)
    return count // 1000 * 1000 / (time.perf_counter() - began)


def measure(scale: float) -> dict[str, Any]:
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    member = [sys.executable, "-m", "contestants.remote_nats", url]
    with running(nats_command(port), port), running(member) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError("the responder did not start")
        return loop.run(run(scale, url))


if __name__ == "__main__":
    loop.run(serve(sys.argv[1]))
