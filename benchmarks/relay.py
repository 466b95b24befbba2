"""The relay alone: requests, broadcasts, events and tunnel bytes a second through it.

    python benchmarks/relay.py [--seconds S] [--size BYTES] [--real PORT]

The embedded relay runs in a process of its own; caller and member are bare
asyncio protocols in this one, the same for every relay. `--real PORT` measures
the relay that listens there too: start a real Iris node for it in a network
namespace of its own.

latency: one request after the other. requests: with that many in flight.
broadcasts, events: from one client to one other, with 1,000 under way.
tunnel: messages of 64 KiB through one tunnel, within its allowance.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.protocols.iris import IrisProtocol
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Publish,
    RelayBroadcast,
    RelayInit,
    RelayReply,
    RelayRequest,
    RelayTunnelConfirm,
    RelayTunnelInit,
    Role,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER, TOPIC = "bench", "bench"
CHUNK = 65_536


class Peer(asyncio.Protocol):
    """A client whose packets go to `on_packet`; what it sends in a turn is one write."""

    def __init__(self, cluster: str) -> None:
        self.protocol = IrisProtocol(Role.CLIENT)
        self.cluster = cluster
        self.accepted = asyncio.Event()
        self.on_packet: Callable[..., None] = lambda packet: None
        self.out: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.send(ClientInit(CLIENT_MAGIC, VERSION, self.cluster))
        self.flush()

    def send(self, packet) -> None:
        self.out.append(self.protocol.encode(packet))

    def flush(self) -> None:
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def data_received(self, data: bytes) -> None:
        for packet in self.protocol.feed_untrusted(data):
            if isinstance(packet, RelayInit):
                self.accepted.set()
            else:
                self.on_packet(packet)
        self.flush()


async def connect(port: int, cluster: str = "") -> Peer:
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_connection(lambda: Peer(cluster), "127.0.0.1", port)
    await peer.accepted.wait()
    return peer


class Run:
    """Keeps `window` things under way for `seconds`, and counts those that came back."""

    def __init__(self, seconds: float, window: int, begin: Callable[[int], None]) -> None:
        self.begin, self.window, self.seconds = begin, window, seconds
        self.count = self.begun = 0
        self.latencies: list[float] = []
        self.times: dict[int, float] = {}
        self.over = asyncio.get_running_loop().create_future()

    def start_one(self) -> None:
        self.begun += 1
        if self.window == 1:
            self.times[self.begun] = time.perf_counter()
        self.begin(self.begun)

    def one_back(self) -> None:
        self.count += 1
        now = time.perf_counter()
        if self.window == 1:
            self.latencies.append(now - self.times.pop(self.count))
        if now < self.end:
            self.start_one()
        elif self.count == self.begun and not self.over.done():
            self.over.set_result(None)

    async def rate(self, flush: Callable[[], None]) -> float:
        begun = time.perf_counter()
        self.end = begun + self.seconds
        for _ in range(self.window):
            self.start_one()
        flush()
        try:
            await asyncio.wait_for(asyncio.shield(self.over), self.seconds + 5)
        except TimeoutError:
            print(f"{self.begun - self.count} of {self.begun} never came back", file=sys.stderr)
        return self.count / (time.perf_counter() - begun)


async def requests(port: int, seconds: float, size: int, window: int) -> tuple[float, list[float]]:
    member, caller, body = await connect(port, CLUSTER), await connect(port), b"x" * size
    await asyncio.sleep(0.3)  # a real node spreads a membership first

    def serve(packet) -> None:
        if isinstance(packet, RelayRequest):
            member.send(ClientReply(packet.id, packet.body, None))

    run = Run(seconds, window, lambda n: caller.send(ClientRequest(n, CLUSTER, body, 10_000)))

    def back(packet) -> None:
        if isinstance(packet, RelayReply) and not packet.timeout:
            run.one_back()

    member.on_packet, caller.on_packet = serve, back
    rate = await run.rate(caller.flush)
    for peer in (member, caller):
        peer.transport.close()
    return rate, sorted(run.latencies)


async def one_way(port: int, seconds: float, size: int, *, events: bool) -> float:
    listener, sender, body = await connect(port, CLUSTER), await connect(port), b"x" * size
    if events:
        listener.send(Subscribe(TOPIC))
        listener.flush()
    await asyncio.sleep(0.3)
    packet = Publish(TOPIC, body) if events else ClientBroadcast(CLUSTER, body)
    run = Run(seconds, 1000, lambda _: sender.send(packet))

    def back(received) -> None:
        if isinstance(received, Publish | RelayBroadcast):
            run.one_back()
            if len(sender.out) >= 100:
                sender.flush()

    listener.on_packet = back
    rate = await run.rate(sender.flush)
    for peer in (listener, sender):
        peer.transport.close()
    return rate


async def tunnel(port: int, seconds: float) -> float:
    member, caller = await connect(port, CLUSTER), await connect(port)
    await asyncio.sleep(0.3)
    chunk, got, room = b"x" * CHUNK, 0, 0
    begun = time.perf_counter()
    over = asyncio.get_running_loop().create_future()

    def take(packet) -> None:
        nonlocal got
        if isinstance(packet, RelayTunnelInit):
            member.send(ClientTunnelConfirm(packet.init_id, 2))
            member.send(TunnelAllow(2, 64 * 1024 * 1024))
        elif isinstance(packet, TunnelTransfer):
            got += len(packet.chunk)
            member.send(TunnelAllow(2, len(packet.chunk)))
            if time.perf_counter() - begun > seconds and not over.done():
                over.set_result(None)

    def give(packet) -> None:
        nonlocal room
        if isinstance(packet, RelayTunnelConfirm) and packet.timeout:
            over.set_result(None)
        if isinstance(packet, TunnelAllow):
            room += packet.granted
            while room >= CHUNK and not over.done():
                room -= CHUNK
                caller.send(TunnelTransfer(1, CHUNK, chunk))

    member.on_packet, caller.on_packet = take, give
    caller.send(ClientTunnelInit(1, CLUSTER, 3000))
    caller.flush()
    await over
    passed = time.perf_counter() - begun
    for peer in (member, caller):
        peer.transport.abort()
    return got / passed / 1e6


async def measure(name: str, port: int, seconds: float, size: int) -> None:
    _, latencies = await requests(port, seconds, size, 1)
    cells = [f"{latencies[int(len(latencies) * part)] * 1e6:.0f}" for part in (0.5, 0.99)]
    for window in (16, 128, 1024):
        rate, _ = await requests(port, seconds, size, window)
        cells.append(f"{rate:,.0f}")
    cells.append(f"{await one_way(port, seconds, size, events=False):,.0f}")
    cells.append(f"{await one_way(port, seconds, size, events=True):,.0f}")
    cells.append(f"{await tunnel(port, seconds):,.0f}")
    print("| " + " | ".join([name, *cells]) + " |", flush=True)


async def serve() -> None:
    async with EmbeddedRelay() as relay:
        print(relay.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--real", type=int, metavar="PORT")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    print(f"Python {platform.python_version()}, bodies of {options.size} bytes\n")
    print(
        "| relay | latency p50 us | p99 us | requests/s at 16 | at 128 | at 1024 "
        "| broadcasts/s | events/s | tunnel MB/s |"
    )
    print("| --- " * 9 + "|")
    child = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        port = int(child.stdout.readline())
        uvloop.run(measure("embedded", port, options.seconds, options.size))
    finally:
        child.stdin.close()
        child.wait()
    if options.real:
        uvloop.run(measure("real Iris", options.real, options.seconds, options.size))


if __name__ == "__main__":
    main()
