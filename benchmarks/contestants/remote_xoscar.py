"""xoscar between processes: the actor's pool in one process, its caller in another."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import xoscar

from contestants.remote_meter import PAYLOAD, in_flight, one_after_another
from contestants.remote_servers import free_port, running


class Echo(xoscar.Actor):  # type: ignore[misc]  # the package has no types
    def echo(self, payload: bytes) -> bytes:
        return payload


async def serve(address: str) -> None:
    pool = await xoscar.create_actor_pool(address, n_process=0)
    await xoscar.create_actor(Echo, address=address, uid="echo")
    print("ready", flush=True)
    await pool.join()


async def run(scale: float, address: str) -> dict[str, Any]:
    ref = await xoscar.actor_ref(address=address, uid="echo")

    async def ask() -> None:
        await ref.echo(PAYLOAD)

    figures: dict[str, Any] = await one_after_another(ask, int(5_000 * scale))
    figures["asks in flight"] = await in_flight(ask, int(10_000 * scale))
    return figures


def measure(scale: float) -> dict[str, Any]:
    address = f"127.0.0.1:{free_port()}"
    with running([sys.executable, "-m", "contestants.remote_xoscar", address]) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError("the pool did not start")
        return asyncio.run(run(scale, address))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
