"""The relay goes away and comes back: asks wait for whoever has yet to join his cluster again.

Who dials when is the test's: a gate holds back the links of one node, or one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from actors.errors import AskTimeout
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.messaging import PRESENCE_CLUSTER, private_cluster
from irismq_runtime.node.membership import service_waiter
from irismq_runtime.pyiris import IrisAddresses, Options
from irismq_runtime.pyiris.connector import tcp_dialler
from irismq_runtime.refs import PeerRef
from supervisors import Supervisor, child
from tests.integration.asking import ON_RELAYS, Do, Holder, outcome
from tests.support.iris_relay import unique
from tests.support.until import until

pytestmark = [ON_RELAYS, pytest.mark.timeout(90)]

#: Nobody is forgotten, and nobody given up, while a test waits.
PERIOD = 60.0


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(service_waiter, "RETURN_AT_MOST", 600.0)


class Gates:
    """Transports whose links are dialled when the gate of their cluster is open ("": others)."""

    def __init__(self, servers):
        self.servers = servers
        self.shut = {}

    def transports(self, config, system, node_id):
        tcp = tcp_dialler(self.servers.relay.host, self.servers.relay.port)

        async def dial(factory):
            link = factory()
            gate = self.shut.get(link._cluster) or self.shut.get("*")
            if gate is not None:
                await gate.wait()
            return await tcp(lambda: link)

        options = Options(hold=60.0)  # longer than a real relay takes to boot
        addresses = IrisAddresses(options=options, clock=system.clock, dial=dial)
        return NsqMailbox([self.servers.nsqd_at], clock=system.clock), addresses

    def shut_for(self, cluster):
        self.shut[cluster] = asyncio.Event()

    def open_for(self, cluster):
        self.shut.pop(cluster).set()


@dataclass
class Pair:
    """A client, and a shop with one actor; the gates of each."""

    client: Any
    shop: Any
    ours: Gates
    theirs: Gates
    log: list[str]
    address: str

    @property
    def ref(self):
        return self.client.ref(self.address)


@contextlib.asynccontextmanager
async def pair(servers):
    ours, theirs, log, address = Gates(servers), Gates(servers), [], unique("b.returns")
    async with (
        servers.node("client", transports=ours.transports, presence_period=PERIOD) as client,
        servers.node("shop", transports=theirs.transports, presence_period=PERIOD) as shop,
    ):
        await shop.start(Supervisor.of(child(Holder, address, log)))
        await until(lambda: client.members(address))
        yield Pair(client, shop, ours, theirs, log, address)


async def cut(servers, *nodes):
    """Kill the relay, and see that each node knows."""
    await servers.relay.kill()
    for each in nodes:
        await until(lambda each=each: not any(c.health().ok for c in connections(each)))


def connections(each):
    addresses = each.parts.addresses
    return [addresses._out, addresses._topics, *addresses._members]


@pytest.mark.parametrize("late", ["the whole node", "the member alone"])
async def test_asks_wait_for_a_member_that_returns_after_the_relay(servers, kills_relay, late):
    async with pair(servers) as two:
        gate = "*" if late == "the whole node" else two.address
        two.theirs.shut_for(gate)
        await cut(servers, two.client, two.shop)
        asks = [two.ref.ask(Do(f"away {i}"), timeout=60.0) for i in range(10)]
        await servers.relay.restart()
        await until(lambda: two.client.health().ready)
        if gate == two.address:
            await until(
                lambda: two.client.parts.presence.is_confirmed(private_cluster(two.shop.id))
            )
        asks += [two.ref.ask(Do(f"back {i}"), timeout=60.0) for i in range(10)]
        hasty = await outcome(two.ref.ask(Do("hasty"), timeout=0.05))
        assert isinstance(hasty, AskTimeout)
        assert "have not come back" in str(hasty)
        assert not any(ask.done() for ask in asks)
        two.theirs.open_for(gate)
        expected = [f"{when} {i}" for when in ("away", "back") for i in range(10)]
        assert await asyncio.gather(*asks) == expected
        assert sorted(two.log) == expected  # nothing ran twice


async def test_an_ask_of_one_actor_waits_for_its_node(servers, kills_relay):
    async with pair(servers) as two:
        (member,) = two.client.members(two.address)
        peer = PeerRef(two.client.parts.outbound, two.shop.id, member.urn)
        two.theirs.shut_for(private_cluster(two.shop.id))
        await cut(servers, two.client, two.shop)
        asks = [peer.ask(Do("away"), timeout=60.0)]
        await servers.relay.restart()
        await until(
            lambda: (
                two.client.health().ready and two.client.parts.presence.is_confirmed(two.address)
            )
        )
        asks.append(peer.ask(Do("back"), timeout=60.0))
        assert await two.ref.ask(Do("meanwhile"), timeout=60.0) == "meanwhile"
        assert not any(ask.done() for ask in asks)
        two.theirs.open_for(private_cluster(two.shop.id))
        assert await asyncio.gather(*asks) == ["away", "back"]


async def test_an_ask_waits_until_announcements_are_heard_again(servers, kills_relay):
    async with pair(servers) as two:
        two.ours.shut_for(PRESENCE_CLUSTER)
        two.theirs.shut_for(two.address)
        await cut(servers, two.client, two.shop)
        asks = [two.ref.ask(Do("away"), timeout=60.0)]
        await servers.relay.restart()
        await until(lambda: two.client.parts.addresses.health().ok)
        asks.append(two.ref.ask(Do("back"), timeout=60.0))
        two.theirs.open_for(two.address)
        await until(lambda: two.shop.health().ready)
        assert not any(ask.done() for ask in asks)
        two.ours.open_for(PRESENCE_CLUSTER)
        assert await asyncio.gather(*asks) == ["away", "back"]


async def test_a_held_ask_of_a_foreign_service_is_sent_when_the_relay_is_back(servers, kills_relay):
    async with pair(servers) as two:
        two.ours.shut_for("")
        await cut(servers, two.client, two.shop)
        ask = two.client.ref(two.address, foreign="json").ask("held", timeout=60.0)
        await servers.relay.restart()
        await until(lambda: two.shop.health().ready)
        assert not ask.done()
        two.ours.open_for("")
        assert await ask == "held"
