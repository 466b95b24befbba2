"""A TCP proxy between a client and nsqd that breaks the connection where told.

It knows just enough of NSQ to name a place in the stream: the n-th FIN from the
client, the n-th message frame from the broker, its first half or its end. All
chance comes from a `random.Random` that the test seeds and prints. A delay holds
one unit and all behind it in its direction, by a timer of the loop: like a slow
network, it changes the times and never the order.

    async with NsqdProxy(server.port) as proxy:
        proxy.plan(Fault("FIN", nth=3, where="before"))
        ... connect to proxy.port ...
        await proxy.fired.wait()
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Literal, Self, cast

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

Where = Literal["before", "middle", "after"]
Action = Literal["cut", "black hole", "delay"]

_WITH_BODY = {b"IDENTIFY", b"AUTH", b"PUB", b"MPUB", b"DPUB"}
_FRAMES = {0: "RESPONSE", 1: "ERROR", 2: "MESSAGE"}


@dataclasses.dataclass
class Fault:
    """Break or delay the connection at the `nth` command or frame of this name."""

    name: str
    nth: int = 1
    where: Where = "before"
    action: Action = "cut"
    #: How long a "delay" holds what comes from there on.
    seconds: float = 0.0
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


class Side(asyncio.Protocol):
    """One of the two connections of a pipe."""

    def __init__(self, pipe: Pipe, *, client: bool) -> None:
        self.pipe = pipe
        self.client = client
        self.transport: asyncio.Transport | None = None
        self.scanner = Scanner(client=client)
        self.early: list[bytes] = []
        # When what was held last is written; nothing passes it.
        self._held_until = 0.0
        self._held: set[asyncio.TimerHandle] = set()

    @property
    def other(self) -> Side:
        return self.pipe.broker if self.client else self.pipe.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.client:
            self.pipe.dial()
        else:
            for data in self.early:
                self.write(data)

    def data_received(self, data: bytes) -> None:
        for name, unit in self.scanner.feed(data):
            self.pipe.pass_on(name, unit, self.other)

    def eof_received(self) -> bool:
        if not self.pipe.hole:
            self.other.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.pipe.hole:
            self.other.end()
        self.pipe.lost()

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self.early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def write_after(self, seconds: float, data: bytes) -> None:
        """Write after so long, behind what is held already."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not seconds and not self._held:
            self.write(data)
            return
        self._held_until = max(self._held_until, now + seconds)

        def due() -> None:
            self._held.discard(timer)
            self.write(data)

        timer = loop.call_at(self._held_until, due)
        self._held.add(timer)

    def _drop_held(self) -> None:
        for timer in self._held:
            timer.cancel()
        self._held.clear()

    def end(self) -> None:
        """Send what waits, and close; what is held is lost, as on a network."""
        self._drop_held()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        self._drop_held()
        if self.transport is not None:
            self.transport.abort()


class Pipe:
    """A client's connection and its own connection to the broker."""

    def __init__(self, proxy: NsqdProxy) -> None:
        self.proxy = proxy
        self.hole = False
        self.left = proxy.draw_life()
        self.client = Side(self, client=True)
        self.broker = Side(self, client=False)
        self.task: asyncio.Task[None] | None = None

    def dial(self) -> None:
        self.proxy.pipes.add(self)
        self.task = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.broker, "127.0.0.1", self.proxy.target)
        except OSError:
            self.client.abort()

    def pass_on(self, name: str, unit: bytes, to: Side) -> None:
        if self.hole:
            return
        self.left -= len(unit)
        if self.left < 0:
            to.write(unit[: int(self.left)])
            self._break("cut")
            return
        for fault in list(self.proxy.faults):
            passing = fault.cut_in(name, len(unit))
            if passing is not None:
                self.proxy.faults.remove(fault)
                if fault.action == "delay":
                    self.proxy.delayed += 1
                    self.proxy.fired.set()
                    to.write_after(0.0, unit[:passing])
                    to.write_after(fault.seconds, unit[passing:])
                    return
                to.write_after(0.0, unit[:passing])
                self._break(fault.action)
                return
        to.write_after(self.proxy.draw_lag(), unit)

    def _break(self, action: Action) -> None:
        self.hole = True
        self.proxy.broken += 1
        if action == "cut":
            # What was passed on is on its way before the end.
            self.client.end()
            self.broker.end()
        else:
            # Nothing is read any more, so large writes get stuck.
            for side in (self.client, self.broker):
                if side.transport is not None and side.transport.is_reading():
                    side.transport.pause_reading()
        self.proxy.fired.set()

    def cut(self) -> None:
        self.client.abort()
        self.broker.abort()

    def lost(self) -> None:
        """A side has ended; forget the pipe when both have."""
        sides = (self.client, self.broker)
        if all(side.transport is None or side.transport.is_closing() for side in sides):
            self.proxy.pipes.discard(self)


class NsqdProxy:
    """See the module."""

    def __init__(
        self,
        target: int,
        *,
        rng: random.Random | None = None,
        life: int = 0,
        lag: float = 0.0,
    ) -> None:
        self.target = target
        self.port = 0
        self.faults: list[Fault] = []
        #: Set whenever a fault has struck.
        self.fired = asyncio.Event()
        self.broken = 0
        self.delayed = 0
        self.connections = 0
        self.rng = rng
        #: Mean bytes that a connection lives; 0: for ever.
        self.life = life
        #: Mean seconds that one unit in eight is held.
        self.lag = lag
        self.pipes: set[Pipe] = set()
        self._server: asyncio.Server | None = None

    def draw_life(self) -> float:
        if self.rng is None or not self.life:
            return float("inf")
        return 600 + self.rng.expovariate(1 / self.life)

    def draw_lag(self) -> float:
        if self.rng is None or not self.lag or self.rng.random() >= 1 / 8:
            return 0.0
        self.delayed += 1
        return self.rng.expovariate(1 / self.lag)

    def plan(self, *faults: Fault) -> None:
        """Strike at these places, each once, on whatever connection comes there first."""
        self.fired.clear()
        self.faults.extend(faults)

    def cut_all(self) -> None:
        """Reset every connection of now."""
        for pipe in list(self.pipes):
            pipe.cut()

    def calm(self) -> None:
        """No more faults; connections live for ever from now on."""
        self.life = 0
        self.lag = 0.0
        self.faults.clear()
        for pipe in self.pipes:
            pipe.left = float("inf")

    def _accept(self) -> asyncio.Protocol:
        self.connections += 1
        return Pipe(self).client

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in list(self.pipes):
            if pipe.task is not None:
                await asyncio.wait([pipe.task])
            pipe.cut()
        while self.pipes:
            await asyncio.sleep(0)
        await self._server.wait_closed()
