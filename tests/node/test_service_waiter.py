"""Waiting for members of a cluster, and what ends it: time is a manual clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from actors.errors import AskTimeout
from actors.testing import ManualClock, settle
from irismq_runtime.errors import NoSuchService
from irismq_runtime.messaging import PRESENCE_CLUSTER
from irismq_runtime.node.membership.announcements import Announcement
from irismq_runtime.node.membership.member_table import MemberTable
from irismq_runtime.node.membership.service_waiter import (
    RETURN_AT_MOST,
    SEARCH,
    SEARCH_ALONE,
    ServiceWaiter,
)
from irismq_runtime.node.membership.settling import SETTLE
from supervisors import Supervisor, child
from tests.node.helpers import Counter, MemoryServers, Total
from tests.support.transports import MemoryBroker


@dataclass
class Scene:
    """A `ServiceWaiter` over a table in which n1 serves "a", the time, and what was called."""

    trusted: bool = True
    settling: bool = False
    asked: int = 0
    clock: ManualClock = field(default_factory=ManualClock)
    called: list[str] = field(default_factory=list)
    table: MemberTable = field(default_factory=MemberTable)

    def __post_init__(self):
        self.waiter = ServiceWaiter(self.table, self, self.clock, self.ask_all)
        self.says("n0")
        self.says("n1", "a")

    def ask_all(self):
        self.asked += 1

    def says(self, node, *serves, version=1, away=()):
        pairs, cut = (tuple((each, node) for each in names) for names in (serves, away))
        said = Announcement(node, node, "up", version, 1.0, serves=pairs, away=cut)
        self.table.take(said, self.clock.monotonic())
        self.waiter.table_changed()

    def wait(self, cluster):
        self.waiter.when_known(cluster, lambda: self.called.append(cluster))


def test_who_is_heard_is_not_waited_for():
    scene = Scene()
    scene.wait("a")
    assert scene.called == ["a"]


def test_while_the_relay_is_away_nobody_waits_here():
    scene = Scene()
    scene.waiter.disconnected()
    scene.wait("a")
    assert scene.called == ["a"]
    assert not scene.asked


def test_who_waits_when_the_relay_goes_is_let_go():
    scene = Scene()
    scene.waiter.reconnected()
    scene.wait("a")
    assert not scene.called
    scene.waiter.disconnected()
    assert scene.called == ["a"]


@pytest.mark.parametrize("ahead", [True, False], ids=["sending first", "hearing first"])
def test_when_the_relay_is_back_one_waits_for_a_word_of_the_members(ahead):
    scene = Scene()
    scene.waiter.disconnected()
    if ahead:
        scene.waiter.can_send()
        scene.wait("a")
        scene.clock.advance(1.0)
    scene.waiter.reconnected()
    if not ahead:
        scene.wait("a")
    scene.says("n1", "a", version=2, away=["a"])
    assert not scene.called
    scene.says("n1", "a", version=3)
    assert scene.called == ["a"]


def test_a_node_that_stays_deaf_after_the_return_waits_no_longer_than_it_must():
    scene = Scene()
    scene.waiter.disconnected()
    scene.trusted = False
    scene.waiter.can_send()
    scene.wait("a")
    scene.clock.advance(RETURN_AT_MOST)
    assert scene.called == ["a"]
    scene.wait("a")  # and from now on not at all
    assert scene.called == ["a", "a"]


def test_a_node_that_hears_no_announcements_asks_at_once():
    scene = Scene(trusted=False)
    scene.wait("nobody")
    scene.says("n1", "a", version=2, away=["a"])
    scene.wait("a")
    assert scene.called == ["nobody", "a"]


def test_a_member_that_never_returns_is_waited_for_only_so_long():
    scene = Scene()
    scene.waiter.disconnected()
    scene.waiter.reconnected()
    scene.wait("a")
    scene.clock.advance(RETURN_AT_MOST / 2)
    assert [change.kind for change in scene.table.expire(1000.0)]
    scene.waiter.table_changed()
    scene.clock.advance(SEARCH)
    assert not scene.called  # it may be dialling still
    scene.clock.advance(RETURN_AT_MOST / 2)
    assert scene.asked
    scene.clock.advance(SEARCH_ALONE)
    assert scene.called == ["a"]


def test_who_was_never_known_is_looked_for_once_more_also_after_a_return():
    scene = Scene()
    scene.wait("b")
    scene.wait("b")
    assert scene.asked == 1
    scene.clock.advance(SEARCH)
    assert scene.called == ["b", "b"]
    scene.waiter.disconnected()
    scene.waiter.can_send()
    scene.wait("b")
    scene.clock.advance(SEARCH)
    assert scene.called == ["b", "b"]
    scene.waiter.reconnected()
    scene.clock.advance(SEARCH)
    assert scene.called == ["b", "b", "b"]


async def away_and_back(world, client):
    """The link of the client's announcements is lost and stands again; nobody speaks."""
    world.relay.members[PRESENCE_CLUSTER].clear()
    client.parts.presence.on_lost("cut")
    client.parts.presence.on_joined()
    await settle(client.system)


@asynccontextmanager
async def settled_pair():
    """A client, and a server of `Counter` that it has heard: (clock, world, client, server)."""
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    options = {"clock": clock, "presence_period": 60.0}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        await server.start(Supervisor.of(child(Counter)))
        await settle(client.system)
        clock.advance(SETTLE)
        yield clock, world, client, server


async def test_an_ask_that_waits_for_a_member_ends_by_its_own_deadline():
    async with settled_pair() as (clock, world, client, _):
        ref = client.ref("test.counter")
        assert await ref.ask(Total()) == 0
        await away_and_back(world, client)
        sent = world.relay.requests
        ask, given_up = ref.ask(Total(), timeout=2.0), ref.ask(Total(), timeout=2.0)
        await settle(client.system)
        given_up.cancel()
        clock.advance(1.9)
        await settle(client.system)
        assert not ask.done()
        clock.advance(0.1)
        with pytest.raises(AskTimeout, match="have not come back since the relay was away"):
            await ask
        longer = ref.ask(Total(), timeout=60.0)
        clock.advance(RETURN_AT_MOST)  # nobody spoke: it is asked all the same
        assert await longer == 0
        assert world.relay.requests == sent + 1


async def test_a_member_that_says_goodbye_after_the_return_is_not_waited_for():
    async with settled_pair() as (clock, world, client, server):
        await away_and_back(world, client)
        bye = Announcement(server.id, "server", "bye", 99, 60.0)
        client.parts.presence._heard(bye)
        client.parts.presence._heard(client.parts.presence._announcer.whole())
        ask = client.ref("test.counter").ask(Total(), timeout=60.0)
        await settle(client.system)
        clock.advance(SEARCH_ALONE)
        with pytest.raises(NoSuchService):
            await ask
