"""A TCP proxy between a client and nsqd that breaks the connection where told.

It knows just enough of NSQ to name a place in the stream: the n-th FIN from the
client, the n-th message frame from the broker, its first half or its end. All
chance comes from a `random.Random` that the test seeds and prints.

    async with NsqdProxy(server.port) as proxy:
        proxy.plan(Fault("FIN", nth=3, where="before"))
        ... connect to proxy.port ...
        await proxy.fired.wait()
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

Where = Literal["before", "middle", "after"]
Action = Literal["cut", "black hole"]

_WITH_BODY = {b"IDENTIFY", b"AUTH", b"PUB", b"MPUB", b"DPUB"}
_FRAMES = {0: "RESPONSE", 1: "ERROR", 2: "MESSAGE"}


@dataclasses.dataclass
class Fault:
    """Break the connection at the `nth` command or frame of this name."""

    name: str
    nth: int = 1
    where: Where = "before"
    action: Action = "cut"
    seen: int = 0

    def cut_in(self, name: str, size: int) -> int | None:
        """How many bytes of this unit still pass, when it is the one."""
        if name != self.name:
            return None
        self.seen += 1
        if self.seen != self.nth:
            return None
        return {"before": 0, "middle": max(1, size // 2), "after": size}[self.where]


class Scanner:
    """Cuts a stream into named units: commands of the client, frames of the broker."""

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._rest = b""
        self._started = not client

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        self._rest += data
        while (size := self._unit()) is not None:
            unit, self._rest = self._rest[:size], self._rest[size:]
            yield self._name(unit), unit

    def _unit(self) -> int | None:
        rest = self._rest
        if not self._started:
            if len(rest) < 4:
                return None
            return 4
        if not self._client:
            size = int.from_bytes(rest[:4], "big") + 4
            return size if len(rest) >= 8 and len(rest) >= size else None
        end = rest.find(b"\n")
        if end < 0:
            return None
        if rest[:end].split(b" ")[0] not in _WITH_BODY:
            return end + 1
        size = end + 5 + int.from_bytes(rest[end + 1 : end + 5], "big")
        return size if len(rest) >= end + 5 and len(rest) >= size else None

    def _name(self, unit: bytes) -> str:
        if not self._started:
            self._started = True
            return "MAGIC"
        if self._client:
            return unit.split(b"\n")[0].split(b" ")[0].decode()
        return _FRAMES.get(int.from_bytes(unit[4:8], "big"), "?")


class Pipe:
    """One client connection and its own connection to the broker."""

    def __init__(self, proxy: NsqdProxy) -> None:
        self.proxy = proxy
        self.writers: list[asyncio.StreamWriter] = []
        self.hole = False
        self.left = proxy.draw_life()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.proxy.target)
        except OSError:
            self.cut()
            return
        self.writers.append(upstream[1])
        await asyncio.gather(
            self._pump(reader, upstream[1], client=True),
            self._pump(upstream[0], writer, client=False),
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool
    ) -> None:
        scanner = Scanner(client=client)
        try:
            while data := await reader.read(64 * 1024):
                for name, unit in scanner.feed(data):
                    self._pass(name, unit, writer)
                await writer.drain()
            if not self.hole:
                writer.close()
        except (OSError, RuntimeError):
            self.cut()

    def _pass(self, name: str, unit: bytes, writer: asyncio.StreamWriter) -> None:
        if self.hole or writer.is_closing():
            return
        self.left -= len(unit)
        if self.left < 0:
            writer.write(unit[: self.left])
            self._break("cut")
            return
        for fault in list(self.proxy.faults):
            passing = fault.cut_in(name, len(unit))
            if passing is not None:
                self.proxy.faults.remove(fault)
                writer.write(unit[:passing])
                self._break(fault.action)
                return
        writer.write(unit)

    def _break(self, action: Action) -> None:
        self.proxy.broken += 1
        if action == "black hole":
            self.hole = True
        else:
            # What was passed on is on its way before the end.
            for writer in self.writers:
                writer.close()
        self.proxy.fired.set()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class NsqdProxy:
    """See the module."""

    def __init__(self, target: int, *, rng: random.Random | None = None, life: int = 0) -> None:
        self.target = target
        self.port = 0
        self.faults: list[Fault] = []
        #: Set whenever a fault has struck.
        self.fired = asyncio.Event()
        self.broken = 0
        self.connections = 0
        self.rng = rng
        #: Mean bytes that a connection lives; 0: for ever.
        self.life = life
        self._pipes: set[Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def draw_life(self) -> float:
        if self.rng is None or not self.life:
            return float("inf")
        return 600 + self.rng.expovariate(1 / self.life)

    def plan(self, *faults: Fault) -> None:
        """Strike at these places, each once, on whatever connection comes there first."""
        self.fired.clear()
        self.faults.extend(faults)

    def cut_all(self) -> None:
        """Reset every connection of now."""
        for pipe in list(self._pipes):
            pipe.cut()

    def calm(self) -> None:
        """No more faults; connections live for ever from now on."""
        self.life = 0
        self.faults.clear()
        for pipe in self._pipes:
            pipe.left = float("inf")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pipe = Pipe(self)
        self._pipes.add(pipe)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await pipe.run(reader, writer)
        except asyncio.CancelledError:
            pipe.cut()
        finally:
            self._pipes.discard(pipe)
            self._tasks.discard(task)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
