"""A relay without a socket that does only what the test says.

`ScriptedRelay.dial` is the connection's dialler. Each dial makes a `Wire`, which
reads the client's packets with the protocol's relay side and answers nothing
but the handshake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from irismq_runtime.protocols.iris import packets as p
from irismq_runtime.protocols.iris.states import IrisProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.testing import ManualClock

#: Bytes that a transport holds before it says that it is full.
FULL = 16 * 1024

P = TypeVar("P")
T = TypeVar("T")


class Wire(asyncio.Transport):
    """One connection as the relay sees it."""

    def __init__(self, relay: ScriptedRelay, client: asyncio.Protocol) -> None:
        super().__init__()
        self.received: list[p.Packet] = []
        self.writes = 0
        self.lost = False
        #: Bytes that are written and not read, while the relay is slow.
        self.unread = bytearray()
        self._slow = self._full = False
        self._relay = relay
        self._client = client
        self._protocol = IrisProtocol(p.Role.RELAY)
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # What the client does with its transport.

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        self.writes += 1
        if not self._slow:
            self._read(bytes(data))
            return
        self.unread += data
        if not self._full and len(self.unread) > FULL:
            self._full = True
            self._client.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def _read(self, data: bytes) -> None:
        for packet in self._protocol.feed_untrusted(data):
            self.received.append(packet)
            if isinstance(packet, p.ClientInit) and self._relay.greets:
                self._loop.call_soon(self.send, p.RelayInit(p.RELAY_MAGIC, p.VERSION))
            if isinstance(packet, p.ClientClose) and self._relay.says_goodbye:
                self._loop.call_soon(self.send, p.RelayClose(""))
            if isinstance(packet, p.ClientRequest) and packet.cluster == "pyiris.ping":
                self.received.remove(packet)
                self._relay.pings += 1
                if self._relay.answers_pings:
                    self._loop.call_soon(self.send, p.RelayReply(packet.id, True, None, None))
        self._arrived.set()

    def is_closing(self) -> bool:
        return self.lost

    def abort(self) -> None:
        self.cut(None)

    def close(self) -> None:
        self.cut(None)

    # What the test does.

    def send(self, *packets: p.Packet) -> None:
        if not self.lost:
            self._client.data_received(b"".join(self._protocol.encode(each) for each in packets))

    def send_bytes(self, data: bytes) -> None:
        self._client.data_received(data)

    def cut(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = True
            self._loop.call_soon(self._client.connection_lost, error)

    def cut_now(self) -> None:
        """As `cut`, within this turn of the loop."""
        self.lost = True
        self._client.connection_lost(None)

    def slow(self) -> None:
        """Read nothing from now on but what `read` says."""
        self._slow = True

    def read(self, count: int) -> None:
        """Read so many bytes, as a transport between a client and a slow relay would."""
        while count > 0 and self.unread and not self.lost:
            taken = bytes(self.unread[:count])
            del self.unread[:count]
            count -= len(taken)
            self._read(taken)
            if self._full and len(self.unread) <= FULL // 4:
                self._full = False
                self._client.resume_writing()

    def stall(self) -> None:
        self._client.pause_writing()

    def flow(self) -> None:
        self._client.resume_writing()

    def of(self, kind: type[P]) -> list[P]:
        return [each for each in self.received if isinstance(each, kind)]

    async def next(self, kind: type[P]) -> P:
        """The first packet of `kind`, taken away; waits for it."""
        while True:
            for each in self.received:
                if isinstance(each, kind):
                    self.received.remove(each)
                    return each
            self._arrived.clear()
            await self._arrived.wait()


class ScriptedRelay:
    """Greets and answers pings and closes unless told otherwise; nothing else."""

    def __init__(self) -> None:
        self.greets = self.answers_pings = self.says_goodbye = True
        self.down: Exception | None = None
        self.dials = 0
        self.pings = 0
        self.wires: list[Wire] = []
        self._made = asyncio.Event()

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> object:
        self.dials += 1
        if self.down is not None:
            raise self.down
        client = factory()
        wire = Wire(self, client)
        self.wires.append(wire)
        client.connection_made(wire)
        self._made.set()
        return wire

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    async def next_wire(self, number: int) -> Wire:
        """The wire of the `number`-th successful dial, greeted."""
        while len(self.wires) < number:
            self._made.clear()
            await self._made.wait()
        await turns()
        return self.wires[number - 1]


async def turns(count: int = 8) -> None:
    """Let the loop turn until everything that was set off has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ends(
    work: Awaitable[T], clock: ManualClock, step: float = 0.25, limit: float = 30.0
) -> T:
    """The result of `work`, with the clock moved on while it waits."""
    task = asyncio.ensure_future(work)
    await turns()
    end = clock.monotonic() + limit
    while not task.done():
        assert clock.monotonic() < end, f"still waits after {limit} s"
        clock.advance(step)
        await turns()
    return task.result()
