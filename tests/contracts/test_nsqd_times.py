"""When things happen: the embedded nsqd within 10 % of the time that was asked for.

Each time is measured between two events that the server caused; the test waits
for events alone. The stories of one server run side by side. The real nsqd
looks only every 5 s for new channels to scan, so there each story begins once
its channel is known to be scanned.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import HEARTBEAT
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_server import NsqdServer, nsqd_server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

OPTIONS = NsqdOptions(max_msg_timeout=3.0, max_req_timeout=2.0, msg_timeout=1.5)


def within(seconds: float, expected: float) -> None:
    """Not early at all, and at most 10 % late (one scan of nsqd is 0.1 s)."""
    assert expected * 0.99 <= seconds <= expected * 1.1 + 0.1, (seconds, expected)


async def scanned(server: NsqdServer, client: NsqClient, topic: str) -> None:
    """Subscribe to a channel that the server looks after already."""
    await client.subscribe(topic, ready=1, msg_timeout=1000)
    if server.kind == "real":
        client.send(nsq.pub(topic, b"warm"))
        assert await client.response() == b"OK"
        message = await client.message()
        message = await client.message()
        client.send(nsq.fin(message.id))


async def timed_message(client: NsqClient) -> tuple[nsq.Message, float]:
    message = await client.message()
    return message, time.monotonic()


async def timeout(server: NsqdServer) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "timeout")
        assert await client.ask(nsq.pub("timeout", b"x")) == b"OK"
        first, start = await timed_message(client)
        again, end = await timed_message(client)
        assert (again.id, again.attempts) == (first.id, 2)
        within(end - start, 1.0)


async def requeue(server: NsqdServer) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "requeue")
        assert await client.ask(nsq.pub("requeue", b"x")) == b"OK"
        first, start = await timed_message(client)
        client.send(nsq.req(first.id, 1500))
        again, end = await timed_message(client)
        assert again.attempts == 2
        within(end - start, 1.5)


async def clamped_requeue(server: NsqdServer) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "clamped")
        assert await client.ask(nsq.pub("clamped", b"x")) == b"OK"
        first, start = await timed_message(client)
        client.send(nsq.req(first.id, 36_000_000))
        _, end = await timed_message(client)
        within(end - start, 2.0)


async def deferred(server: NsqdServer) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "deferred")
        start = time.monotonic()
        assert await client.ask(nsq.dpub("deferred", 1200, b"x")) == b"OK"
        message, end = await timed_message(client)
        assert message.attempts == 1
        within(end - start, 1.2)


async def touched(server: NsqdServer) -> None:
    """TOUCH restarts the lease, but not past max-msg-timeout, and says nothing."""
    async with nsq_client(server.port) as client:
        await client.identify(msg_timeout=1000, heartbeat_interval=1000)
        await client.subscribe("touched", ready=1)
        if server.kind == "real":
            assert await client.ask(nsq.pub("touched", b"warm")) == b"OK"
            await client.message()
            client.send(nsq.fin((await client.message()).id))
        assert await client.ask(nsq.pub("touched", b"x")) == b"OK"
        first, start = await timed_message(client)
        frame = None
        while not isinstance(frame, nsq.Message):
            client.send(nsq.touch(first.id))
            reading = asyncio.ensure_future(client.frame())
            done, _ = await asyncio.wait([reading], timeout=0.4)
            frame = reading.result() if done else await quiet(client, reading, first.id)
        assert frame.attempts == 2
        within(time.monotonic() - start, 3.0)


async def quiet(client: NsqClient, reading: asyncio.Future, message_id: bytes) -> nsq.Frame | None:
    """Touch again and again while nothing comes; the frame that comes at last."""
    while True:
        client.send(nsq.touch(message_id))
        done, _ = await asyncio.wait([reading], timeout=0.4)
        if done:
            return reading.result()


async def lost_consumer(server: NsqdServer) -> None:
    async with nsq_client(server.port) as watcher:
        async with nsq_client(server.port) as client:
            await scanned(server, client, "lost")
            assert await client.ask(nsq.pub("lost", b"x")) == b"OK"
            _, start = await timed_message(client)
            client.abort()
        await watcher.subscribe("lost", ready=1)
        message, end = await timed_message(watcher)
        assert message.attempts == 2
        within(end - start, 1.0)


async def heartbeats(server: NsqdServer) -> None:
    """One a second; unanswered, the connection is closed after two."""
    async with nsq_client(server.port) as client:
        await client.identify(heartbeat_interval=1000)
        start = time.monotonic()
        assert await client.any_frame() == HEARTBEAT
        within(time.monotonic() - start, 1.0)
        while await client.any_frame() == HEARTBEAT:
            continue
        within(time.monotonic() - start, 2.0)


async def lone_message(server: NsqdServer) -> None:
    """A single message waits neither for the buffer to fill nor for its timeout."""
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe(
            "lone", ready=2500, output_buffer_size=65536, output_buffer_timeout=1000
        )
        start = time.monotonic()
        assert await publisher.ask(nsq.pub("lone", b"x")) == b"OK"
        await client.message()
        took = time.monotonic() - start
        assert took < (1.2 if server.kind == "real" else 0.25), took


STORIES: list[Callable[[NsqdServer], Coroutine[None, None, None]]] = [
    timeout,
    requeue,
    clamped_requeue,
    deferred,
    touched,
    lost_consumer,
    heartbeats,
    lone_message,
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)])
async def test_case_121_times_are_those_that_were_asked_for(kind):
    async with nsqd_server(kind, options=OPTIONS) as server, asyncio.TaskGroup() as group:
        for story in STORIES:
            group.create_task(story(server))
