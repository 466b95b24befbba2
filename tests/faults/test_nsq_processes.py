"""Processes that are killed and stopped: the consumer (case 23, 14), the broker (case 1, 6)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from tests.mailbox.on_nsqd import Collector, fresh_topic, mailbox
from tests.support.nsqd_http import channel_stats
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.nsqd_server import NsqdServer

ROOT = Path(__file__).parents[2]
KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


class Child:
    """The process and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, line: str) -> None:
        """Read until it says `line`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while line not in self.lines:
                said = await self.process.stdout.readline()
                assert said, "the process ended"
                self.lines.append(said.decode().strip())


@asynccontextmanager
async def consumer_process(
    port: int, topic: str, hold: int, heartbeat: int = 1
) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "tests/faults/mailbox_process.py"),
        str(port), topic, str(hold), str(heartbeat),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    child = Child(process)
    try:
        await child.until("ready")
        yield child
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
        await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_case_23_what_a_killed_consumer_held_comes_after_its_lease(kind: Any):
    topic = fresh_topic()
    async with (
        nsqd_server(kind) as server,
        mailbox(server.port) as made,
        consumer_process(server.port, topic, hold=5) as child,
    ):
        await made.publish_many(topic, [b"%d" % n for n in range(5)])
        for n in range(5):
            await child.until(f"got {n} 1")
        child.process.kill()
        start = time.monotonic()
        sink = Collector()
        await sink.on(made, topic)
        await sink.until(lambda: len(sink.bodies) == 5)
        assert time.monotonic() - start < 8.0  # a lease of 1 s; nsqd looks after 5 s
        assert {message.attempts for message in sink.messages} == {2}


async def consumers(server: NsqdServer, topic: str) -> int:
    """How many the broker knows of; every question is a round trip."""
    return len((await channel_stats(server, topic, "mailbox"))["clients"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_case_14_a_process_that_was_stopped_consumes_again(kind: Any):
    topic = fresh_topic()
    async with (
        nsqd_server(kind) as server,
        mailbox(server.port) as made,
        consumer_process(server.port, topic, hold=1) as child,
    ):
        await made.publish(topic, b"held")
        await child.until("got held 1")
        assert await consumers(server, topic) == 1
        child.process.send_signal(signal.SIGSTOP)
        # After its heartbeats the broker gives it up, and what it held goes to another.
        async with asyncio.timeout(12):
            while await consumers(server, topic):
                continue
        sink = Collector()
        await sink.on(made, topic, window=1)
        await sink.count(1, seconds=12.0)
        assert sink.bodies == {b"held"}
        assert sink.messages[0].attempts >= 2
        await sink.consumption.stop(1.0)
        child.process.send_signal(signal.SIGCONT)
        start = time.monotonic()
        await made.publish(topic, b"after")
        await child.until("done after")
        assert time.monotonic() - start < 5.0
        assert await consumers(server, topic) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_case_14_a_process_stopped_for_longer_than_its_leases_only(kind: Any):
    """Its connection stands all the time; what it was sent meanwhile is not lost either."""
    topic = fresh_topic()
    async with (
        nsqd_server(kind, options=NsqdOptions(msg_timeout=1.0)) as server,
        mailbox(server.port) as made,
        consumer_process(server.port, topic, hold=0, heartbeat=30) as child,
    ):
        await made.publish(topic, b"before")
        await child.until("done before")
        child.process.send_signal(signal.SIGSTOP)
        await made.publish_many(topic, [b"%d" % n for n in range(5)])

        async def timed_out() -> bool:
            return (await channel_stats(server, topic, "mailbox"))["timeout_count"] >= 1

        async with asyncio.timeout(12):
            while not await timed_out():
                continue
        child.process.send_signal(signal.SIGCONT)
        await made.publish(topic, b"after")
        await child.until("done after")
        for n in range(5):
            await child.until(f"done {n}")
        assert await consumers(server, topic) == 1


@pytest.mark.slow
@pytest.mark.real_nsqd
async def test_case_40_a_slow_consumer_of_a_large_backlog_stays_small():
    topic = fresh_topic()
    body = bytes(10_000)
    async with (
        nsqd_server("real", flags=["-mem-queue-size=100"]) as server,
        mailbox(server.port, outbox_bytes=8_000_000) as made,
    ):
        for _ in range(20_000 // 500):
            await made.publish_many(topic, [body] * 500)
        before = resident()
        sink = Collector()
        done = 0

        def handle(message: Any) -> None:
            nonlocal done
            asyncio.get_running_loop().call_later(0.005, message.finish)
            done += 1
            sink.changed()

        sink.consumption = await made.consume(topic, "mailbox", handle, window=100)
        await sink.until(lambda: done >= 20_000, seconds=25.0)
        assert sink.consumption.in_flight <= 100
        assert resident() - before < 50_000_000


def resident() -> int:
    """This process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
