"""When things happen: not early, and the embedded nsqd not late either.

The time of the embedded broker is a manual clock: a story lets it pass up to a
moment before what it expects, sees that nothing has come, and lets the moment
pass. The real nsqd has its own clock; it is only asked not to be early, because
how late it seems says how busy the machine is. It looks only every 5 s for new
channels to scan, so there each story begins once its channel is known to be
scanned.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import pytest

from actors.testing import ManualClock
from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import HEARTBEAT, Frame
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_server import NsqdServer, nsqd_server

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger(__name__)

Read = Callable[[NsqClient], Awaitable[Frame | None]]

#: Answers heartbeats on the way.
NEXT = NsqClient.frame

OPTIONS = NsqdOptions(max_msg_timeout=6.0, max_req_timeout=2.0, msg_timeout=1.5)

#: Binary fractions add up exactly, whatever their order.
MOMENT = 1 / 64


class Times(Protocol):
    """The time of one broker."""

    def mark(self) -> None:
        """Something that takes its time is about to be caused."""

    async def comes_after(self, seconds: float, client: NsqClient, read: Read) -> Frame | None:
        """What `read` gives, which comes `seconds` after the mark."""
        ...

    async def touch(self, client: NsqClient, message: nsq.Message) -> None:
        """Touch the message about one, two and three seconds after the mark."""

    def a_second(self) -> None:
        """Let one more second pass."""

    def passed(self) -> float:
        """Seconds since the mark."""
        ...


class ManualTimes:
    """Time passes when the story says so."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._mark = 0.0

    def mark(self) -> None:
        self._mark = self._clock.monotonic()

    async def comes_after(self, seconds: float, client: NsqClient, read: Read) -> Frame | None:
        await client.synced()  # what was sent has been read; nothing is there at once
        self._clock.advance(seconds - MOMENT - self.passed())
        await client.synced()
        self._clock.advance(MOMENT)
        return await read(client)

    async def touch(self, client: NsqClient, message: nsq.Message) -> None:
        for _ in range(3):
            self._clock.advance(1.0)
            client.send(nsq.touch(message.id))
            await client.synced()

    def a_second(self) -> None:
        self._clock.advance(1.0)

    def passed(self) -> float:
        return self._clock.monotonic() - self._mark


class RealTimes:
    """Time passes by itself; the log says how much."""

    def __init__(self) -> None:
        self._mark = 0.0

    def mark(self) -> None:
        self._mark = time.monotonic()

    async def comes_after(self, seconds: float, client: NsqClient, read: Read) -> Frame | None:
        frame = await read(client)
        _log.info("%.3f s, %s s were asked for", self.passed(), seconds)
        assert self.passed() > seconds - 0.01, "nsqd counts in milliseconds"
        return frame

    async def touch(self, client: NsqClient, message: nsq.Message) -> None:
        for _ in range(3):  # the heartbeats come one a second
            assert await client.any_frame() == HEARTBEAT
            client.send(nsq.nop(), nsq.touch(message.id))

    def a_second(self) -> None:
        return

    def passed(self) -> float:
        return time.monotonic() - self._mark


async def scanned(server: NsqdServer, client: NsqClient, topic: str, **fields: int) -> None:
    """Subscribe to a channel that the server looks after already."""
    await client.subscribe(topic, ready=1, **{"msg_timeout": 1000, **fields})
    if server.kind == "real":
        await told(client, topic)
        client.send(nsq.fin((await client.message()).id))


async def told(client: NsqClient, topic: str) -> nsq.Message:
    """Publish to the topic that this client reads; the message, which may overtake its OK."""
    client.send(nsq.pub(topic, b"x"))
    one, other = await client.frame(), await client.frame()
    message, answer = (one, other) if isinstance(one, nsq.Message) else (other, one)
    assert answer == nsq.Response(b"OK")
    assert isinstance(message, nsq.Message)
    return message


async def timeout(server: NsqdServer, times: Times) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "timeout")
        times.mark()
        first = await told(client, "timeout")
        again = await times.comes_after(1.0, client, NEXT)
        assert isinstance(again, nsq.Message)
        assert (again.id, again.attempts) == (first.id, 2)


async def requeue(server: NsqdServer, times: Times) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "requeue")
        first = await told(client, "requeue")
        times.mark()
        client.send(nsq.req(first.id, 1500))
        again = await times.comes_after(1.5, client, NEXT)
        assert isinstance(again, nsq.Message)
        assert again.attempts == 2


async def clamped_requeue(server: NsqdServer, times: Times) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "clamped")
        first = await told(client, "clamped")
        times.mark()
        client.send(nsq.req(first.id, 36_000_000))
        assert isinstance(await times.comes_after(2.0, client, NEXT), nsq.Message)


async def deferred(server: NsqdServer, times: Times) -> None:
    async with nsq_client(server.port) as client:
        await scanned(server, client, "deferred")
        times.mark()
        assert await client.ask(nsq.dpub("deferred", 1250, b"x")) == b"OK"
        message = await times.comes_after(1.25, client, NEXT)
        assert isinstance(message, nsq.Message)
        assert message.attempts == 1


async def touched(server: NsqdServer, times: Times) -> None:
    """TOUCH restarts the lease, but not past max-msg-timeout, and says nothing."""
    async with nsq_client(server.port) as client:
        beats = {"heartbeat_interval": 1000} if server.kind == "real" else {}
        await scanned(server, client, "touched", msg_timeout=4000, **beats)
        times.mark()
        first = await told(client, "touched")
        await times.touch(client, first)
        again = await times.comes_after(6.0, client, NEXT)
        assert isinstance(again, nsq.Message)
        assert again.attempts == 2


async def lost_consumer(server: NsqdServer, times: Times) -> None:
    async with nsq_client(server.port) as watcher:
        async with nsq_client(server.port) as client:
            await scanned(server, client, "lost")
            times.mark()
            await told(client, "lost")
            client.abort()
        await watcher.subscribe("lost", ready=1)
        message = await times.comes_after(1.0, watcher, NEXT)
        assert isinstance(message, nsq.Message)
        assert message.attempts == 2


async def heartbeats(server: NsqdServer, times: Times) -> None:
    """One a second; unanswered, the connection is closed after two."""
    async with nsq_client(server.port) as client:
        times.mark()
        await client.identify(heartbeat_interval=1000)
        assert await times.comes_after(1.0, client, NsqClient.any_frame) == HEARTBEAT
        frame: Frame | None = HEARTBEAT
        while frame == HEARTBEAT:
            times.a_second()
            frame = await client.any_frame()
        assert frame is None
        assert times.passed() > 1.99


async def lone_message(server: NsqdServer, times: Times) -> None:
    """A single message waits for no buffer to fill: it comes while the clock stands still."""
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe(
            "lone", ready=2500, output_buffer_size=65536, output_buffer_timeout=1000
        )
        assert await publisher.ask(nsq.pub("lone", b"x")) == b"OK"
        assert (await client.message()).body == b"x"


STORIES: list[Callable[[NsqdServer, Times], Coroutine[None, None, None]]] = [
    timeout,
    requeue,
    clamped_requeue,
    deferred,
    touched,
    lost_consumer,
    heartbeats,
    lone_message,
]


@pytest.mark.parametrize("story", STORIES)
async def test_times_are_those_that_were_asked_for(story):
    clock = ManualClock()
    async with nsqd_server("embedded", options=OPTIONS, clock=clock) as server:
        await story(server, ManualTimes(clock))


@pytest.mark.slow
@pytest.mark.real_nsqd
async def test_the_real_nsqd_is_not_early_either():
    async with nsqd_server("real", options=OPTIONS) as server, asyncio.TaskGroup() as group:
        for story in STORIES:
            group.create_task(story(server, RealTimes()))
