"""Where the time of one ask goes: between two nodes hop by hop, and within one process.

    python benchmarks/hops.py [--asks N] [--json FILE]

Asker, relay and member are in one process on one loop, so what happens in an ask that nobody
else disturbs happens one after the other, and a clock read where each part begins and ends
cuts it into pieces without a gap. Each piece is the median of N asks, in microseconds of the
clock. "Kernel and loop" is from the end of a write until the bytes are read at the other end:
what a bare protocol of uvloop takes for that stands below, and is nobody's of ours.

The clock is read 17 times an ask, which is about 1 us of the whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from actors import Actor, System, message, receives  # noqa: E402  # found by the lines above
from irismq_runtime import Node, loop  # noqa: E402  # as above
from irismq_runtime.embedded.nsqd import EmbeddedNsqd  # noqa: E402  # as above
from irismq_runtime.embedded.relay import EmbeddedRelay  # noqa: E402  # as above
from irismq_runtime.embedded.relay.client_connection import ClientConnection  # noqa: E402  # as above
from irismq_runtime.pyiris.connection import Connection  # noqa: E402  # as above
from supervisors import Supervisor, child  # noqa: E402  # as above

PAYLOAD = bytes(100)
#: The pieces of an ask between nodes, in order: what, and whose.
PIECES = (
    ("asker: pack the message, note the deadline, make the packet", "ours"),
    ("asker: write", "system call"),
    ("to the relay", "kernel and loop"),
    ("relay: read, choose a member, make the packet", "ours"),
    ("relay: write", "system call"),
    ("to the member", "kernel and loop"),
    ("member: read, unpack, handle, pack the answer", "ours"),
    ("member: write", "system call"),
    ("to the relay", "kernel and loop"),
    ("relay: read, find the asker, make the packet", "ours"),
    ("relay: write", "system call"),
    ("to the asker", "kernel and loop"),
    ("asker: read, unpack, end the ask", "ours"),
    ("asker: its task goes on", "loop"),
)


@message("bench.hops.echo")
@dataclass(frozen=True, slots=True)
class Echo:
    payload: bytes


class Member(Actor):
    address = "bench.hops"

    @receives(Echo)
    def echo(self, message: Echo) -> bytes:
        return message.payload


class Coming(Member):
    """The same with an async handler, in one process."""

    address = None

    @receives(Echo)
    async def echo(self, message: Echo) -> bytes:
        return message.payload


class Marks:
    """Reads of the clock of the ask under way."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.on = False

    def mark(self) -> None:
        if self.on:
            self.at.append(time.perf_counter())


class Timed:
    """A transport whose writes are marked."""

    def __init__(self, transport: Any, marks: Marks) -> None:
        self._transport = transport
        self._marks = marks

    def write(self, data: bytes) -> None:
        self._marks.mark()
        self._transport.write(data)
        self._marks.mark()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def watched(kind: type[Any], marks: Marks) -> None:
    """Mark what each connection of `kind` reads and writes, from now on."""
    made, read = kind.connection_made, kind.data_received

    def connection_made(self: Any, transport: Any) -> None:
        made(self, Timed(transport, marks))

    def data_received(self: Any, data: bytes) -> None:
        marks.mark()
        read(self, data)
        marks.mark()

    kind.connection_made, kind.data_received = connection_made, data_received


def pieces(at: list[float]) -> list[float] | None:
    """Cut one ask by its 18 marks; None where something else happened meanwhile."""
    if len(at) != 18:
        return None
    (began, a_write, a_wrote, r_read, r_write, r_wrote, r_done, m_read, m_write, m_wrote, m_done,
     s_read, s_write, s_wrote, s_done, b_read, b_done, ended) = at  # fmt: skip
    return [
        a_write - began,
        a_wrote - a_write,
        r_read - a_wrote,
        r_write - r_read + r_done - r_wrote,
        r_wrote - r_write,
        m_read - r_done,
        m_write - m_read + m_done - m_wrote,
        m_wrote - m_write,
        s_read - m_done,
        s_write - s_read + s_done - s_wrote,
        s_wrote - s_write,
        b_read - s_done,
        b_done - b_read,
        ended - b_done,
    ]


async def remote(asks: int, marks: Marks) -> dict[str, Any]:
    """One ask after the other between two nodes, cut into its pieces."""
    nsqd, relay = EmbeddedNsqd(port=0), EmbeddedRelay(port=0)
    await nsqd.start()
    await relay.start()
    at = {"nsqd": f"127.0.0.1:{nsqd.port}", "iris": f"127.0.0.1:{relay.port}"}
    found: list[list[float]] = []
    async with Node(name="member", **at) as member, Node(name="asker", **at) as asker:
        await member.start(Supervisor.of(child(Member)))
        await asker.settled()
        ref = asker.ref("bench.hops")
        for count in range(asks + 200):
            marks.at, marks.on = [], True
            marks.mark()
            await ref.ask(Echo(PAYLOAD), timeout=20.0)
            marks.mark()
            marks.on = False
            cut = pieces(marks.at)
            if cut is not None and count >= 200:
                found.append(cut)
    await relay.stop()
    await nsqd.stop()
    if len(found) < asks / 2:
        raise SystemExit(f"only {len(found)} of {asks} asks were undisturbed: try again")
    medians = [statistics.median(column) * 1e6 for column in zip(*found, strict=True)]
    whole = statistics.median(map(sum, found)) * 1e6
    return {"pieces": medians, "whole": whole, "asks": len(found)}


class Echoing(asyncio.Protocol):
    """Answers what it reads; or with `left`, asks anew until that many have been answered."""

    def __init__(self, left: int = 0) -> None:
        self.left = left
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.left == 1:
            self.over.set_result(None)
            return
        self.left -= 1
        self.transport.write(data)


async def bare(asks: int) -> float:
    """Microseconds of one hop between two bare protocols: write, kernel, loop, read."""
    running = asyncio.get_running_loop()
    server = await running.create_server(Echoing, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    best = []
    for _ in range(5):
        transport, protocol = await running.create_connection(lambda: Echoing(asks), host, port)
        began = time.perf_counter()
        transport.write(bytes(180))
        await protocol.over
        best.append((time.perf_counter() - began) / (2 * asks))
        transport.close()
    server.close()
    await server.wait_closed()
    return statistics.median(best) * 1e6


async def local(asks: int) -> dict[str, float]:
    """An ask within one process, and what Python itself takes for parts of one."""
    system = System("hops")
    system.attach()
    plain, coming = Member.start(system=system), Coming.start(system=system)
    running = asyncio.get_running_loop()
    echo = Echo(PAYLOAD)
    told = Member()

    async def step() -> bytes:
        return PAYLOAD

    async def woken() -> None:
        future = running.create_future()
        running.call_soon(future.set_result, None)
        await future

    async def each(one: Any) -> float:
        best = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(asks):
                await one()
            best.append((time.perf_counter() - began) / asks)
        return min(best) * 1e6

    async def called() -> bytes:
        return told.echo(echo)

    nothing = await each(step)
    found = {
        "an ask, plain handler": await each(lambda: plain.ask(echo)),
        "an ask, async handler": await each(lambda: coming.ask(echo)),
        "the handler called as a method, in a coroutine": await each(called),
        "a coroutine that returns at once": nothing,
        "a future of the loop, set by it and awaited": await each(woken),
    }
    await system.shutdown()
    return found


def printed(found: dict[str, Any]) -> list[str]:
    """The tables."""
    lines = ["| an ask between nodes | | us | share |", "| --- | --- | ---: | ---: |"]
    whole = sum(found["remote"]["pieces"])
    for (what, whose), took in zip(PIECES, found["remote"]["pieces"], strict=True):
        lines.append(f"| {what} | {whose} | {took:.1f} | {took / whole:.0%} |")
    lines.append(f"| all of it | | {found['remote']['whole']:.1f} | |")
    sums: dict[str, float] = {}
    for (_, whose), took in zip(PIECES, found["remote"]["pieces"], strict=True):
        sums[whose] = sums.get(whose, 0.0) + took
    lines += ["", "| whose | us | share |", "| --- | ---: | ---: |"]
    lines += [f"| {whose} | {took:.1f} | {took / whole:.0%} |" for whose, took in sums.items()]
    lines += [
        f"| four hops of bare protocols, writes included | {4 * found['bare']:.1f} | |",
        "",
        "| within one process | us |",
        "| --- | ---: |",
    ]
    lines += [f"| {what} | {took:.2f} |" for what, took in found["local"].items()]
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Where the time of one ask goes.")
    parser.add_argument("--asks", type=int, default=5000, help="asks that are cut into pieces")
    parser.add_argument("--json", metavar="FILE", help="keep the figures there")
    given = parser.parse_args()
    found: dict[str, Any] = {
        "local": loop.run(local(4 * given.asks)),
        "bare": loop.run(bare(given.asks)),
    }
    marks = Marks()
    watched(Connection, marks)
    watched(ClientConnection, marks)
    found["remote"] = loop.run(remote(given.asks, marks))
    print("\n".join(printed(found)))
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
