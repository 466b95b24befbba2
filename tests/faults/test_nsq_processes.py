"""Processes that are killed and stopped: the consumer (case 23, 14), the broker (case 1, 6)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.mailbox import MailboxConfig
from tests.faults.proxy import NsqdProxy
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic, mailbox
from tests.support.nsqd_http import channel_stats
from tests.support.nsqd_server import nsqd_server
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from tests.support.nsqd_server import NsqdServer

ROOT = Path(__file__).parents[2]
KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


class Child:
    """The process and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, line: str, seconds: float = 60.0) -> None:
        """Read until it says `line`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line not in self.lines:
                said = await self.process.stdout.readline()
                assert said, "the process ended"
                self.lines.append(said.decode().strip())


@asynccontextmanager
async def child_process(program: str, *arguments: object) -> AsyncIterator[Child]:
    """A program of this folder, ready; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "tests/faults" / program), *map(str, arguments),
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


def consumer_process(
    port: int, topic: str, hold: int, heartbeat: int = 1
) -> AbstractAsyncContextManager[Child]:
    return child_process("mailbox_process.py", port, topic, hold, heartbeat)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_killed_consumer_held_comes_after_its_lease(kind: Any):
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
        sink = Collector()
        async with promptly("its lease of 1 s is over, not nsqd's own of 60 s"):
            await sink.on(made, topic)
            await sink.until(lambda: len(sink.bodies) == 5)
        assert {message.attempts for message in sink.messages} == {2}


async def consumers(server: NsqdServer, topic: str) -> int:
    """How many the broker knows of; every question is a round trip."""
    return len((await channel_stats(server, topic, "mailbox"))["clients"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_was_stopped_consumes_again(kind: Any):
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
        async with asyncio.timeout(60):
            while await consumers(server, topic):
                continue
        sink = Collector()
        await sink.on(made, topic, window=1)
        await sink.count(1)
        assert sink.bodies == {b"held"}
        assert sink.messages[0].attempts >= 2
        await sink.consumption.stop(1.0)
        child.process.send_signal(signal.SIGCONT)
        await made.publish(topic, b"after")
        await child.until("done after")
        assert await consumers(server, topic) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stopped_process_does_not_use_up_the_attempts(kind: Any):
    """Its lease is 1 s, the beat of its options 5 s: the broker drops it after two leases."""
    topic = fresh_topic()
    async with (
        nsqd_server(kind) as server,
        mailbox(server.port) as made,
        consumer_process(server.port, topic, hold=1, heartbeat=5) as child,
    ):
        await made.publish(topic, b"held")
        await child.until("got held 1")
        child.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60):
            while await consumers(server, topic):
                continue
        sink = Collector()
        await sink.on(made, topic, window=1)
        await sink.count(1)
        assert sink.messages[0].attempts <= MailboxConfig().max_attempts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_stopped_for_longer_than_its_leases_only(kind: Any):
    """What it was sent meanwhile is not lost either."""
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

        async with asyncio.timeout(60):
            while not await timed_out():
                continue
        child.process.send_signal(signal.SIGCONT)
        await made.publish(topic, b"after")
        await child.until("done after")
        for n in range(5):
            await child.until(f"done {n}")
        assert await consumers(server, topic) == 1


@pytest.mark.soak
@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", KINDS)
async def test_three_hundred_mailboxes_come_back_spread_out_and_soon(kind: Any):
    dials: list[float] = []
    loop = asyncio.get_running_loop()

    class Counting(NsqdProxy):
        def _accept(self) -> asyncio.Protocol:
            dials.append(loop.time())
            return super()._accept()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(nsqd_server(kind))
        proxy = await stack.enter_async_context(Counting(server.port))
        crowd = await asyncio.gather(
            *(
                stack.enter_async_context(child_process("crowd_process.py", proxy.port, first, 100))
                for first in (0, 100, 200)
            )
        )
        dials.clear()
        await server.stop()
        proxy.cut_all()
        down = loop.time()
        await eventually(lambda: len(dials) >= 300)  # they try, and are refused
        await server.start()
        made = await stack.enter_async_context(mailbox(server.port))
        await made.publish_many("crowd.0", [b"x"])
        for number in range(1, 300):
            made.publish(f"crowd.{number}", b"x")
        for child, first in zip(crowd, (0, 100, 200), strict=True):
            for number in range(first, first + 100):
                await child.until(f"got {number}")
    # Each process dials 50 times a second at most, and a burst of 16 once.
    for second in range(int(dials[-1] - down) + 1):
        at = down + second
        assert sum(at <= dial < at + 1.0 for dial in dials) <= 3 * (50 + 16) + 3
    assert dials[99] - dials[0] > 0.1  # jitter: not in one instant


@pytest.mark.soak
@pytest.mark.real_nsqd
@pytest.mark.timeout(600)
async def test_at_full_size():
    """100,000 messages of 10 KB, 10 ms each: what is held is the window and no more."""
    topic = fresh_topic()
    body = bytes(10_000)
    async with (
        nsqd_server("real", flags=["-mem-queue-size=100"]) as server,
        mailbox(server.port, outbox_bytes=8_000_000) as made,
    ):
        for _ in range(100_000 // 500):
            await made.publish_many(topic, [body] * 500)
        sink = Collector()
        done = 0
        most = 0
        before = resident()

        def handle(message: Any) -> None:
            nonlocal done, most
            done += 1
            if done % 500 == 0:
                most = max(most, resident())
            asyncio.get_running_loop().call_later(0.01, message.finish)
            sink.changed()

        sink.consumption = await made.consume(topic, "mailbox", handle, window=100)
        await sink.until(lambda: done >= 100_000, seconds=500.0)
        assert most - before < 50_000_000


@pytest.mark.slow
@pytest.mark.real_nsqd
async def test_a_slow_consumer_of_a_large_backlog_stays_small():
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
        await sink.until(lambda: done >= 20_000)
        assert sink.consumption.in_flight <= 100
        assert resident() - before < 50_000_000


def resident() -> int:
    """This process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
