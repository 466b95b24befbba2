"""The broker alone: messages a second into and out of it, over one connection.

    python benchmarks/broker.py [--messages N] [--size BYTES]

Each server runs in a process of its own on 127.0.0.1: the embedded nsqd in
memory, the embedded one with a data folder, and the real nsqd where IRISMQ_NSQD
or PATH names one. The client is the same bare asyncio protocol for all of them.

published: MPUBs of 100 with eight of them unanswered at a time, until the last OK.
singles: PUBs with 500 of them unanswered at a time, until the last OK.
consumed: one consumer with RDY 2500, every message FINished, until the server
has settled the last of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdOptions
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import FrameDecoder, Message, Response

BATCH = 100


class Publisher(asyncio.Protocol):
    """Keeps `window` commands unanswered until `count` are answered."""

    def __init__(self, command: bytes, count: int, window: int) -> None:
        self.command, self.left, self.answers, self.window = command, count, count, window
        self.decoder = FrameDecoder()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        first = min(self.window, self.left)
        self.left -= first
        transport.write(nsq.MAGIC + self.command * first)

    def data_received(self, data):
        answered = 0
        for frame in self.decoder.feed(data):
            if not isinstance(frame, Response) or frame.data != b"OK":
                self.done.set_exception(RuntimeError(repr(frame)))
                return
            answered += 1
        self.answers -= answered
        again = min(answered, self.left)
        self.left -= again
        self.transport.write(self.command * again)
        if not self.answers and not self.done.done():
            self.done.set_result(None)


class Reader(asyncio.Protocol):
    """Takes `count` messages and FINishes each; CLS and a bad FIN mark the end."""

    def __init__(self, topic: str, count: int) -> None:
        self.topic, self.left = topic, count
        self.decoder = FrameDecoder()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(
            nsq.MAGIC
            + nsq.identify({"feature_negotiation": True, "output_buffer_timeout": 25})
            + nsq.sub(self.topic, "bench")
            + nsq.rdy(2500)
        )

    def data_received(self, data):
        settled = []
        for frame in self.decoder.feed(data):
            if type(frame) is Message:
                settled.append(frame.id)
            elif isinstance(frame, Response) and frame.data == b"CLOSE_WAIT":
                self.done.set_result(None)
        if settled:
            self.left -= len(settled)
            fins = b"FIN " + b"\nFIN ".join(settled) + b"\n"
            self.transport.write(fins + (nsq.cls() if not self.left else b""))


async def run(port: int, messages: int, size: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    body = b"x" * size
    rates = {}

    async def timed(name, factory, count):
        start = time.perf_counter()
        transport, protocol = await loop.create_connection(factory, "127.0.0.1", port)
        await asyncio.wait_for(protocol.done, 120)
        rates[name] = count / (time.perf_counter() - start)
        transport.abort()

    batch = nsq.mpub("bench", [body] * BATCH)
    await timed("published", lambda: Publisher(batch, messages // BATCH, 8), messages)
    await timed("consumed", lambda: Reader("bench", messages), messages)
    few = messages // 4
    await timed("singles", lambda: Publisher(nsq.pub("single", body), few, 500), few)
    return rates


async def serve(data: str | None, sync: bool) -> None:
    server = EmbeddedNsqd(data=Path(data) if data else None, options=NsqdOptions(sync=sync))
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


def embedded(*arguments: str) -> tuple[subprocess.Popen, int]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", *arguments], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def real(binary: str, folder: str) -> tuple[subprocess.Popen, int]:
    process = subprocess.Popen(
        [
            binary,
            "-tcp-address=127.0.0.1:0",
            "-http-address=127.0.0.1:0",
            f"-data-path={folder}",
            "-mem-queue-size=1000000",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "TCP: listening on" in line:
            return process, int(line.rsplit(":", 1)[1])
    raise RuntimeError("nsqd did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--no-sync", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.data, not options.no_sync))
        return
    table = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        servers = {
            "embedded, in memory": embedded,
            "embedded, durable": lambda: embedded("--data", f"{folder}/a"),
            "embedded, durable, no fsync": lambda: embedded("--data", f"{folder}/b", "--no-sync"),
        }
        binary = os.environ.get("IRISMQ_NSQD") or shutil.which("nsqd")
        if binary:
            servers["nsqd"] = lambda: real(binary, folder)
        for name, start in servers.items():
            process, port = start()
            try:
                table[name] = uvloop.run(run(port, options.messages, options.size))
            finally:
                process.kill()
                process.wait()
    report(table, options)


def report(table: dict[str, dict[str, float]], options: argparse.Namespace) -> None:
    print(f"messages/s, {options.size} bytes each, {os.cpu_count()} cores")
    columns = ["published", "singles", "consumed"]
    print(f"{'':30}" + "".join(f"{column:>12}" for column in columns))
    reference = table.get("nsqd")
    for name, rates in table.items():
        print(f"{name:30}" + "".join(f"{rates[column]:12,.0f}" for column in columns))
    if reference:
        for name, rates in table.items():
            if name != "nsqd":
                shown = "".join(f"{rates[c] / reference[c]:12.2f}" for c in columns)
                print(f"{name + ' / nsqd':30}{shown}")


if __name__ == "__main__":
    main()
