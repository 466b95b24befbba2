"""A last will is broadcast for a client that is lost, and for no other."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from actors.testing import ManualClock
from irismq_runtime.embedded.relay import EmbeddedRelay, RelayOptions
from irismq_runtime.embedded.relay.last_wills import LastWills
from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from irismq_runtime.ports import RELAY_LIMIT
from irismq_runtime.protocols.iris.last_will import TOKEN_BYTES, WILL_ID, LastWill, last_will_packet
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientClose,
    ClientReply,
    ClientRequest,
    RelayBroadcast,
    RelayClose,
    RelayReply,
)
from tests.contracts.relay.client import Client, settle_member
from tests.support.iris_relay import EmbeddedServer, iris_relay
from tests.support.nats_cluster import nats_cluster
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = RelayOptions().will_seconds


def will(message: bytes = b"gone", *, client: int = 1, cluster: str = "c") -> ClientReply:
    return last_will_packet(LastWill(bytes((client,)) * TOKEN_BYTES, cluster, message))


class Scene:
    """A relay on a clock that the test moves, and a member that hears what is said."""

    def __init__(self, server: EmbeddedServer, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.server, self.relay = server, server.relay
        self.clock = clock
        self._stack = stack

    async def client(self, cluster: str = "", *says: ClientReply) -> Client:
        client = await self._stack.enter_async_context(await Client.connect(self.server, cluster))
        client.send(*says, ClientRequest(9, RELAY_LIMIT, b"?", 1))
        await client.expect(RelayReply)  # so the relay has read what came before
        return client

    async def gone(self, *clients: Client) -> None:
        """Cut them, and wait until the relay knows."""
        before = self.relay.stats().connections
        for client in clients:
            client.cut()
        await until(lambda: self.relay.stats().connections == before - len(clients))

    async def heard(self, member: Client) -> list[bytes]:
        """What the member was told, up to now."""
        member.send(ClientBroadcast("c", b"now"))
        bodies = []
        while (body := (await member.expect(RelayBroadcast)).body) != b"now":
            bodies.append(body)
        return bodies


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with iris_relay("embedded", clock=clock) as server, AsyncExitStack() as stack:
        yield Scene(server, clock, stack)


async def test_the_will_of_a_client_that_is_lost_is_broadcast_after_a_moment(scene):
    member, client = await scene.client("c"), await scene.client("", will())
    await scene.gone(client)
    scene.clock.advance(PATIENCE - 0.01)
    assert await scene.heard(member) == []
    scene.clock.advance(0.02)
    assert await scene.heard(member) == [b"gone"]
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []
    assert scene.relay.stats().totals.wills == 1


async def test_a_client_that_dials_again_is_alive(scene):
    member, client = await scene.client("c"), await scene.client("", will())
    await scene.gone(client)
    scene.clock.advance(PATIENCE / 2)
    back = await scene.client("", will(b"gone since"))
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []
    await scene.gone(back)
    scene.clock.advance(PATIENCE)
    assert await scene.heard(member) == [b"gone since"]


async def test_a_client_lives_while_one_of_its_connections_does(scene):
    member = await scene.client("c")
    one, other = await scene.client("", will(b"first")), await scene.client("", will(b"second"))
    await scene.gone(one)
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []
    await scene.gone(other)
    scene.clock.advance(PATIENCE)
    assert await scene.heard(member) == [b"second"]


async def test_who_says_close_leaves_its_will_unspoken(scene):
    member, client = await scene.client("c"), await scene.client("", will())
    client.send(ClientClose())
    await client.expect(RelayClose)
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []


async def test_who_is_dropped_by_the_relay_is_not_taken_for_dead(scene):
    member, client = await scene.client("c"), await scene.client("", will())
    client.send_raw(b"\xff")
    await client.expect_end()
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []


@pytest.mark.parametrize("taken_back", [True, False])
async def test_a_will_is_replaced_and_taken_back(scene, taken_back):
    member = await scene.client("c")
    client = await scene.client("", will(), will(b"" if taken_back else b"another"))
    await scene.gone(client)
    scene.clock.advance(PATIENCE)
    assert await scene.heard(member) == ([] if taken_back else [b"another"])


async def test_each_client_has_its_own(scene):
    member = await scene.client("c")
    clients = [await scene.client("", will(b"%d" % n, client=n)) for n in range(3)]
    await scene.gone(clients[0], clients[2])
    scene.clock.advance(PATIENCE)
    assert sorted(await scene.heard(member)) == [b"0", b"2"]


async def test_a_relay_that_is_killed_says_nothing_when_it_is_back(scene):
    await scene.client("", will())
    await scene.server.restart()
    member = await scene.client("c")
    scene.clock.advance(60.0)
    assert await scene.heard(member) == []


async def test_a_relay_that_stops_says_nothing(scene):
    member, client = await scene.client("c"), await scene.client("", will())
    await scene.gone(client)
    await scene.relay.stop()
    scene.clock.advance(60.0)
    assert isinstance(await member.receive(), RelayClose)


async def test_what_is_no_will_drops_its_client_alone(scene):
    member, client = await scene.client("c"), await scene.client("")
    client.send(ClientReply(WILL_ID, b"short", None))
    await client.expect_end()
    assert scene.relay.stats().totals.dropped == {"violation": 1}
    assert await scene.heard(member) == []


def test_nothing_is_kept_of_clients_that_are_gone():
    clock, carried = ManualClock(), []
    wills = LastWills(clock, 1.0, carried.append)
    for n in range(100):
        connection = object()
        wills.hold(connection, LastWill(n.to_bytes(16, "big"), "c", b"gone"))
        (wills.lost if n % 2 else wills.closed)(connection)
    assert len(wills) == 50
    clock.advance(1.0)
    assert len(carried) == 50
    assert len(wills) == 0
    assert not vars(wills)["_tokens"]


async def test_over_nats_a_will_reaches_the_members_of_every_relay():
    async with nats_cluster() as cluster, AsyncExitStack() as stack:
        relays = []
        for url in cluster.urls[:2]:
            back_end = NatsBackEnd([url], options=NatsOptions(linger=0.01))
            relay = EmbeddedRelay(back_end=back_end, options=RelayOptions(will_seconds=0.01))
            server = EmbeddedServer.__new__(EmbeddedServer)
            server.kind, server.relay, server.host = "nats", relay, relay.host
            await stack.enter_async_context(relay)
            relays.append(server)
        here = await stack.enter_async_context(await Client.connect(relays[0], "c"))
        there = await stack.enter_async_context(await Client.connect(relays[1], "c"))
        client = await stack.enter_async_context(await Client.connect(relays[0]))
        for member in (here, there):
            await settle_member(client, member, "c")
        client.send(will(), ClientBroadcast("c", b"here"))
        for member in (here, there):
            while (await member.expect(RelayBroadcast)).body != b"here":
                pass
        client.cut()
        for member in (here, there):
            assert (await member.expect(RelayBroadcast)).body == b"gone"


def test_a_will_that_is_left_while_the_relay_ends_is_not_kept():
    clock, said = ManualClock(), []
    wills = LastWills(clock, PATIENCE, said.append)
    left = LastWill(b"1" * TOKEN_BYTES, "c", b"gone")
    wills.forget()
    wills.hold("late", left)
    wills.lost("late")
    clock.advance(2 * PATIENCE)
    assert (said, len(wills)) == ([], 0)
    wills.begin()  # the relay was started again
    wills.hold("new", left)
    wills.lost("new")
    clock.advance(2 * PATIENCE)
    assert said == [left]
