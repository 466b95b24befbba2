"""A node that is lost: what its relay says for it, and what the others make of that."""

from __future__ import annotations

import pytest

from actors.testing import ManualClock, settle
from irismq_runtime.messaging import PRESENCE_CLUSTER
from irismq_runtime.refs import PeerRef
from supervisors import Supervisor, child
from tests.node.helpers import Counter, MemoryServers
from tests.node.test_nodes import Watcher
from tests.support.transports import MemoryBroker
from tests.support.until import until

KEY = bytes(range(32))
#: Nobody is forgotten for its silence while a test runs.
PERIOD = 60.0


@pytest.fixture
def world():
    return MemoryServers()


def addresses(node):
    return node.parts.addresses


@pytest.mark.parametrize("keys", [{}, {"k": KEY}], ids=["unsigned", "signed"])
async def test_who_is_lost_is_gone_at_once_and_its_watchers_are_told(world, keys):
    options = {"presence_period": PERIOD, "keys": keys}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        counter = await server.start(Supervisor.of(child(Counter)))
        await until(lambda: client.members("test.counter"))
        (member,) = client.members("test.counter")
        log = []
        client.system.start(Watcher, log).tell(
            PeerRef(client.parts.outbound, server.id, member.urn)
        )
        await until(lambda: server.parts.death_watch._watchers)
        addresses(server).lose()
        await until(lambda: log)
        assert server.id not in client.nodes()
        assert not client.members("test.counter")
        assert server.id not in client.overview.goodbyes()
        await counter.stop()


async def test_who_is_taken_for_lost_and_lives_says_so(world):
    options = {"presence_period": PERIOD}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        await server.start(Supervisor.of(child(Counter)))
        await until(lambda: client.members("test.counter"))
        changes = []
        client.parts.presence.on_change(lambda change: changes.append(change.kind))
        addresses(server).broadcast(*addresses(server).will)
        await until(lambda: "joined" in changes)
        assert changes == ["left", "gone", "joined"]
        assert server.members("test.counter") == client.members("test.counter")


async def test_a_signed_will_is_left_anew_while_its_signature_is_good():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    options = {"clock": clock, "presence_period": 1.0, "signature_window": 60.0, "keys": {"k": KEY}}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        wills = {addresses(server).will}
        for _ in range(240):
            clock.advance(1.0)
            await settle(client.system)
            wills.add(addresses(server).will)
        assert len(wills) == 13
        assert {cluster for cluster, _ in wills} == {PRESENCE_CLUSTER}
        addresses(server).lose()
        await settle(client.system)
        assert server.id not in client.nodes()


async def test_a_signed_will_that_was_said_is_followed_by_one_that_is_believed():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    options = {"clock": clock, "presence_period": PERIOD, "keys": {"k": KEY}}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        gone = []
        client.parts.presence.on_change(lambda change: gone.append(change.node))
        for times in (1, 2, 3):
            addresses(server).broadcast(*addresses(server).will)
            for _ in range(3):
                clock.advance(0.5)
                await settle(client.system)
            assert gone == [server.id] * times
            assert server.id in client.nodes()
            addresses(server).on_back()  # its connections are back
            for _ in range(3):
                clock.advance(0.5)
                await settle(server.system)
