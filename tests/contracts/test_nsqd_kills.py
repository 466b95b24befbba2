"""Kills of the embedded nsqd at random moments: what it confirmed is never lost.

The rule that is checked, for every channel of every topic: a message whose
publish was confirmed is there after the kills unless a FIN was sent for it on
that channel. A message that was delivered, held, requeued or deferred counts as
there only when it comes out again. A seed in a failure tells which run it was.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.protocols import nsq
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_http import call, stats
from tests.support.nsqd_process import NsqdProcess, nsqd_process

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = {"t": ("ch", "other"), "u": ("ch",)}
PLACES = [(topic, channel) for topic, channels in CHANNELS.items() for channel in channels]


@dataclass
class Ledger:
    """What was sent, what was confirmed, and what has been FINished where."""

    number: int = 0
    sent: dict[str, set[bytes]] = field(default_factory=lambda: {t: set() for t in CHANNELS})
    confirmed: dict[str, set[bytes]] = field(default_factory=lambda: {t: set() for t in CHANNELS})
    finished: dict[tuple[str, str], set[bytes]] = field(
        default_factory=lambda: {place: set() for place in PLACES}
    )

    def take(self, topic: str, count: int) -> list[bytes]:
        bodies = [b"%d" % n for n in range(self.number, self.number + count)]
        self.number += count
        self.sent[topic].update(bodies)
        return bodies

    def owed(self, topic: str, channel: str) -> set[bytes]:
        """What must still come out of a channel."""
        return self.confirmed[topic] - self.finished[topic, channel]


def publication(rng: random.Random, topic: str, bodies: list[bytes]) -> bytes:
    """One command that publishes `bodies`."""
    if len(bodies) > 1:
        return nsq.mpub(topic, bodies)
    if rng.random() < 0.5:
        return nsq.dpub(topic, rng.randrange(1, 40), bodies[0])
    return nsq.pub(topic, bodies[0])


async def one_life(server: NsqdProcess, rng: random.Random, ledger: Ledger) -> None:
    """Publish and consume for a random number of commands, then kill."""
    async with AsyncExitStack() as stack:
        consumers = []
        for topic, channel in PLACES:
            client = await stack.enter_async_context(nsq_client(server.port))
            await client.subscribe(topic, channel, ready=rng.randrange(1, 50))
            consumers.append(asyncio.create_task(consume(client, rng, ledger, topic, channel)))
        publisher = await stack.enter_async_context(nsq_client(server.port))
        waiting: list[tuple[str, list[bytes]]] = []
        for _ in range(rng.randrange(1, 60)):
            topic = rng.choice(list(CHANNELS))
            bodies = ledger.take(topic, rng.choice([1, 1, rng.randrange(2, 20)]))
            waiting.append((topic, bodies))
            publisher.send(publication(rng, topic, bodies))
            if rng.random() < 0.5:
                assert await publisher.response() == b"OK"
                confirm(ledger, waiting)
        server.process.kill()
        try:
            while waiting and await publisher.response() == b"OK":
                confirm(ledger, waiting)
        except (AssertionError, ConnectionError):
            # The stream ended: what is left was not confirmed.
            await server.kill()
        await asyncio.gather(*consumers)


def confirm(ledger: Ledger, waiting: list[tuple[str, list[bytes]]]) -> None:
    topic, bodies = waiting.pop(0)
    ledger.confirmed[topic].update(bodies)


async def consume(
    client: NsqClient, rng: random.Random, ledger: Ledger, topic: str, channel: str
) -> None:
    """Finish most of what comes, requeue or hold the rest, until the connection ends."""
    try:
        while isinstance(frame := await client.frame(), nsq.Message):
            if client.writer.transport.is_closing():
                return
            fate = rng.random()
            if fate < 0.7:
                ledger.finished[topic, channel].add(frame.body)
                client.send(nsq.fin(frame.id))
            elif fate < 0.85:
                client.send(nsq.req(frame.id, rng.choice([0, 30])))
    except ConnectionError:
        return


async def drained(server: NsqdProcess, topic: str, channel: str, count: int) -> set[bytes]:
    """FINish all that a channel holds."""
    async with nsq_client(server.port) as client:
        await client.subscribe(topic, channel, ready=500)
        bodies = set()
        for _ in range(count):
            message = await client.message()
            client.send(nsq.fin(message.id))
            bodies.add(message.body)
        await client.synced_around_messages()
    return bodies


async def check(server: NsqdProcess, ledger: Ledger, seed: int) -> None:
    """Every channel of every topic holds what it owes, and nothing that was never sent."""
    topics = {topic["topic_name"]: topic for topic in (await stats(server))["topics"]}
    for topic, channels in CHANNELS.items():
        found = {c["channel_name"]: c for c in topics[topic]["channels"]}
        assert sorted(found) == sorted(channels), f"seed {seed}"
        assert topics[topic]["depth"] == 0, f"seed {seed}"
        for channel in channels:
            count = found[channel]["depth"] + found[channel]["deferred_count"]
            bodies = await drained(server, topic, channel, count)
            lost = ledger.owed(topic, channel) - bodies
            assert not lost, f"seed {seed}: {topic}:{channel} lost {sorted(lost)[:20]}"
            assert bodies <= ledger.sent[topic], f"seed {seed}: {topic}:{channel} made some up"


async def kill_story(folder: Path, seed: int, kills: int) -> Ledger:
    """Kill the server under load, `kills` times, and look for what was confirmed."""
    rng = random.Random(seed)
    ledger = Ledger()
    for life in range(kills):
        async with nsqd_process(folder) as server:
            if life == 0:
                for topic, channel in PLACES:
                    await call(server, "POST", f"/topic/create?topic={topic}")
                    await call(server, "POST", f"/channel/create?topic={topic}&channel={channel}")
            await one_life(server, rng, ledger)
    async with nsqd_process(folder) as server:
        await check(server, ledger, seed)
    return ledger


async def test_kills_at_random_moments_lose_nothing_confirmed(tmp_path):
    await kill_story(tmp_path / "data", random.randrange(2**32), kills=3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(50))
async def test_five_hundred_kills_lose_nothing_confirmed(tmp_path, part):
    """Ten kills each, so that they may be spread over processes."""
    ledger = await kill_story(tmp_path / "data", random.randrange(2**32), kills=10)
    assert sum(map(len, ledger.confirmed.values())) > 0
    assert sum(len(ledger.owed(*place)) for place in PLACES) > 0
