"""What the suite of address transports needs: handlers, and waiting for a number of things."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.ports import InboundRequest, InboundTunnel


class Echo:
    """A member that answers b"<name>:<body>", keeps what it gets and echoes tunnels.

    `faults` makes it answer with faults, `silent` not at all.
    """

    def __init__(self, name: str = "", *, faults: bool = False, silent: bool = False) -> None:
        self.name = name
        self.faults = faults
        self.silent = silent
        self.requests: list[InboundRequest] = []
        self.broadcasts = Collected()
        self.lost = Collected()
        self.joined = Collected()
        self.arrived = Collected()
        self.tunnels = Collected()
        self.tasks: set[asyncio.Task[None]] = set()

    def on_request(self, request: InboundRequest) -> None:
        self.requests.append(request)
        if not self.silent:
            if self.faults:
                request.fail(f"no {request.body.decode()}")
            else:
                request.reply(f"{self.name}:".encode() + request.body)
        self.arrived.add(request.body)

    def on_broadcast(self, body: bytes) -> None:
        self.broadcasts.add(body)

    def on_tunnel(self, tunnel: InboundTunnel) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(tunnel))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, offer: InboundTunnel) -> None:
        tunnel = await offer.accept()
        async for body in tunnel:
            await tunnel.send(body)
        await tunnel.close()
        self.tunnels.add(tunnel)

    def on_lost(self, reason: str) -> None:
        self.lost.add(reason)

    def on_joined(self) -> None:
        self.joined.add(True)


class Collected:
    """A list whose growth can be waited for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._grown = asyncio.Event()

    def add(self, item: Any) -> None:
        self.items.append(item)
        self._grown.set()

    async def reach(self, count: int, timeout: float = 60.0) -> list[Any]:
        """The items, once there are `count` of them."""
        return await self.until(lambda items: len(items) >= count, timeout)

    async def until(self, enough: Callable[[list[Any]], bool], timeout: float = 60.0) -> list[Any]:
        """The items, once they are `enough`."""
        async with asyncio.timeout(timeout):
            while not enough(self.items):
                self._grown.clear()
                await self._grown.wait()
        return self.items
