"""Two relays on one NATS cluster of three servers are one network: every verb, both ways."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from irismq_runtime.ports import LEAVING, OVERLOADED
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientClose,
    ClientReply,
    ClientRequest,
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Publish,
    RelayBroadcast,
    RelayClose,
    RelayReply,
    RelayRequest,
    RelayTunnelClose,
    RelayTunnelConfirm,
    RelayTunnelInit,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
    Unsubscribe,
)
from tests.contracts.relay.client import (
    Client,
    Over,
    open_tunnel,
    settle_event,
    settle_member,
)
from tests.support.iris_relay import EmbeddedServer
from tests.support.nats_cluster import nats_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Relays = list[EmbeddedServer]
MIB = 1024 * 1024
SHORT = NatsOptions(linger=0.01)


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    """Two relays of one net at different servers, and one of another net."""
    async with nats_cluster() as cluster, AsyncExitStack() as stack:
        made = []
        for url, net in zip(cluster.urls, ("one", "one", "two"), strict=True):
            server = EmbeddedServer("nats", back_end=NatsBackEnd([url], net=net, options=SHORT))
            await stack.enter_async_context(server.relay)
            made.append(server)
        yield made


@pytest.fixture
async def lingering() -> AsyncIterator[Relays]:
    """Two relays that keep their places in clusters until they stop."""
    options = NatsOptions(linger=3600.0, stop_seconds=0.05)
    async with nats_cluster() as cluster, AsyncExitStack() as stack:
        made = []
        for url in cluster.urls[:2]:
            server = EmbeddedServer("nats", back_end=NatsBackEnd([url], options=options))
            await stack.enter_async_context(server.relay)
            made.append(server)
        yield made


async def settle_all(caller: Client, members: list[Client], cluster: str) -> None:
    """All memberships stand, seen from the caller, and nothing is under way to any member."""
    for member in members:
        await settle_member(caller, member, cluster)
    caller.send(ClientBroadcast(cluster, b"settled"))
    for member in members:
        while (await member.expect(RelayBroadcast)).body != b"settled":
            pass


def echo(request: RelayRequest) -> ClientReply:
    return ClientReply(request.id, request.body, None)


class Served:
    """What a member that answers has done, and how it answers from now on."""

    def __init__(self, member: Client) -> None:
        self.member = member
        self.answer: Callable[[RelayRequest], ClientReply] = echo
        self.served = 0

    async def run(self) -> None:
        """Answer requests until the connection ends; pass everything else over."""
        with suppress(Over):
            while True:
                packet = await self.member.receive(60.0)
                if isinstance(packet, RelayRequest):
                    self.served += 1
                    self.member.send(self.answer(packet))


@asynccontextmanager
async def serving(member: Client) -> AsyncIterator[Served]:
    """A member that answers, in the background; it is cut off when the context ends."""
    served = Served(member)
    task = asyncio.create_task(served.run())
    try:
        yield served
    finally:
        member.cut()
        await task


async def acquaint(caller: Client, cluster: str, members: list[Served]) -> None:
    """Ask until each member has answered: the caller's relay knows all of their relays."""
    while not all(member.served for member in members):
        assert (await caller.ask(0, cluster, b"hello", 30_000)).body == b"hello"


async def test_a_request_crosses_with_its_timeout_and_its_answer_comes_back(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    caller.send(ClientRequest(7, "c", b"question", 4321))
    request = await member.expect(RelayRequest)
    assert (request.body, request.timeout_ms) == (b"question", 4321)
    member.send(ClientReply(request.id, b"answer", None))
    assert await caller.expect(RelayReply) == RelayReply(7, False, b"answer", None)
    caller.send(ClientRequest(8, "c", b"q", 4000))
    request = await member.expect(RelayRequest)
    member.send(ClientReply(request.id, None, "out of \udcff stock \u2744"))
    assert await caller.expect(RelayReply) == RelayReply(
        8, False, None, "out of \udcff stock \u2744"
    )


async def test_a_burst_is_answered_whole_and_in_no_order_that_matters(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    total = 5_000
    async with serving(member):
        caller.send(*(ClientRequest(n, "c", b"%d" % n, 30_000) for n in range(total)))
        replies = [await caller.expect(RelayReply) for _ in range(total)]
    assert {reply.id: reply.body for reply in replies} == {n: b"%d" % n for n in range(total)}


async def test_requests_are_spread_over_the_members_of_all_relays(relays, connect):
    """Three members at one relay and one at the other: each gets about a quarter."""
    members = [await connect(relays[at], "pool") for at in (0, 1, 1, 1)]
    caller = await connect(relays[0])
    await settle_all(caller, members, "pool")
    total = 400
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving(member)) for member in members]
        for number in range(total):
            assert (await caller.ask(number, "pool", b"x", 30_000)).body == b"x"
    shares = [each.served for each in served]
    assert sum(shares) == total
    # A fair share is 100; 40 is off by seven standard deviations.
    assert min(shares) >= 40, shares


async def test_a_cluster_without_members_anywhere_fails_at_once(relays, connect):
    caller = await connect(relays[0])
    caller.send(ClientRequest(1, "nobody", b"x", 3_600_000))
    assert await caller.expect(RelayReply) == RelayReply(1, True, None, None)
    caller.send(ClientTunnelInit(2, "nobody", 3_600_000))
    assert await caller.expect(RelayTunnelConfirm) == RelayTunnelConfirm(2, True, None)
    assert relays[0].relay.stats().tunnel_ends == 0


async def test_what_is_asked_while_a_member_leaves_is_answered_by_another(lingering, connect):
    relays = lingering
    leaver, stayer = await connect(relays[1], "c"), await connect(relays[0], "c")
    caller = await connect(relays[0])
    await settle_all(caller, [leaver, stayer], "c")
    async with serving(leaver) as at_leaver, serving(stayer) as at_stayer:
        await acquaint(caller, "c", [at_leaver, at_stayer])
        leaver.send(ClientClose())
        await leaver.closed.wait()
        # Some of these reach the relay whose last member has gone; it sends them back.
        caller.send(*(ClientRequest(n, "c", b"x", 30_000) for n in range(100)))
        assert {(await caller.expect(RelayReply)).body for _ in range(100)} == {b"x"}


@pytest.mark.parametrize("word", [OVERLOADED, LEAVING])
async def test_a_member_that_has_no_room_is_passed_over_for_one_that_has(relays, connect, word):
    full, free = await connect(relays[0], "c"), await connect(relays[1], "c")
    caller = await connect(relays[0])
    await settle_all(caller, [full, free], "c")
    async with serving(full) as at_full, serving(free) as at_free:
        await acquaint(caller, "c", [at_full, at_free])
        at_full.answer = lambda request: ClientReply(request.id, None, word)
        while relays[0].relay.back_end.stats().retried == 0:  # chance may spare the full one
            caller.send(*(ClientRequest(n, "c", b"x", 30_000) for n in range(40)))
            assert {(await caller.expect(RelayReply)).body for _ in range(40)} == {b"x"}


async def test_where_all_are_full_the_caller_is_told(relays, connect):
    full = [await connect(relays[0], "c"), await connect(relays[1], "c")]
    caller = await connect(relays[0])
    await settle_all(caller, full, "c")
    async with serving(full[0]) as one, serving(full[1]) as other:
        await acquaint(caller, "c", [one, other])
        one.served = other.served = 0
        one.answer = other.answer = lambda request: ClientReply(request.id, None, OVERLOADED)
        assert await caller.ask(1, "c", b"x", 30_000) == RelayReply(1, False, None, OVERLOADED)
        assert (one.served, other.served) == (1, 1)


async def test_a_caller_that_leaves_and_a_late_answer_leave_nothing(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    caller.send(ClientRequest(1, "c", b"a", 30_000), ClientRequest(2, "c", b"b", 1))
    requests = [await member.expect(RelayRequest), await member.expect(RelayRequest)]
    assert (await caller.expect(RelayReply)).id == 2
    caller.cut()
    await caller.closed.wait()
    member.send(*(ClientReply(request.id, b"late", None) for request in requests))
    other = await connect(relays[0])
    other.send(ClientRequest(1, "c", b"c", 30_000))
    await member.answer_one(b"in time")
    assert (await other.expect(RelayReply)).body == b"in time"
    assert relays[0].relay.stats().pending_requests == 0


async def test_a_broadcast_reaches_every_member_once_and_in_order(relays, connect):
    members = [await connect(relays[at], "all") for at in (0, 0, 1, 1)]
    await settle_all(members[0], members, "all")
    bodies = [n.to_bytes(4, "big") for n in range(1000)]
    members[0].send(*(ClientBroadcast("all", body) for body in bodies))
    members[0].send(ClientBroadcast("all", b"end"))
    for member in members:
        heard = [(await member.expect(RelayBroadcast)).body for _ in bodies]
        assert heard == bodies
        assert (await member.expect(RelayBroadcast)).body == b"end"


async def test_an_event_reaches_every_subscriber_once_and_in_order(relays, connect):
    here, there, publisher = (
        await connect(relays[0]),
        await connect(relays[1], "some cluster"),
        await connect(relays[0]),
    )
    topic = "news.\udcfe of * > the day"
    here.send(Subscribe(topic))
    there.send(Subscribe(topic))
    await settle_event(publisher, there, topic)
    publisher.send(Publish(topic, b"settled"))
    for listener in (here, there):
        while (await listener.expect(Publish)).body != b"settled":
            pass
    bodies = [b"%d" % n for n in range(1000)]
    publisher.send(*(Publish(topic, body) for body in bodies))
    for listener in (here, there):
        assert [(await listener.expect(Publish)).body for _ in bodies] == bodies
        listener.send(Unsubscribe(topic))
        assert (await listener.ask(1, "nobody", b"x", 5000)).timeout
    publisher.send(Publish(topic, b"unheard"))
    await there.expect_silence()


async def test_nets_do_not_see_each_other(relays, connect):
    member, stranger = await connect(relays[0], "c"), await connect(relays[2])
    stranger.send(Subscribe("t"))
    await settle_member(member, member, "c")
    stranger.send(ClientBroadcast("c", b"hello?"), ClientRequest(1, "c", b"x", 3_600_000))
    assert (await stranger.expect(RelayReply)).timeout
    member.send(Publish("t", b"x"))
    await member.expect_silence()
    await stranger.expect_silence()


async def test_names_of_any_bytes_meet(relays, connect):
    for cluster in (
        "a.b.c",
        ".",
        "a b\r\nPUB x 0",
        "\udcff\udc80",
        "*",
        ">",
        "x" * 5_000,
        "=",
        "\u2744",
    ):
        member, caller = await connect(relays[1], cluster), await connect(relays[0])
        await settle_member(caller, member, cluster)
        caller.send(ClientRequest(1, cluster, b"x", 30_000))
        await member.answer_one(b"y")
        assert (await caller.expect(RelayReply)).body == b"y"


async def test_what_nats_does_not_carry_is_refused_with_both_sizes(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0], "c")
    await settle_all(caller, [caller, member], "c")
    reply = await caller.ask(1, "c", b"x" * 2 * MIB, 30_000)
    assert reply.fault is not None
    assert str(2 * MIB) in reply.fault
    assert " 104" in reply.fault
    caller.send(ClientBroadcast("c", b"y" * 2 * MIB))
    assert len((await caller.expect(RelayBroadcast)).body) == 2 * MIB  # here it needs no NATS
    assert relays[0].relay.back_end.stats().too_large == 2
    caller.send(ClientClose())
    await caller.expect(RelayClose)
    asker = await connect(relays[0])
    asker.send(ClientRequest(2, "c", b"large, please", 30_000))
    await member.answer_one(b"z" * 2 * MIB)
    reply = await asker.expect(RelayReply)
    assert reply.fault is not None
    assert str(2 * MIB) in reply.fault
    asker.send(ClientRequest(3, "c", b"x" * (MIB - 2048), 30_000))
    await member.answer_one(b"z" * (MIB - 2048))
    assert len((await asker.expect(RelayReply)).body or b"") == MIB - 2048


# Tunnels


async def test_a_tunnel_carries_both_ways_and_grants_from_end_to_end(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    caller.send(TunnelTransfer(5, 5, b"hello"))
    await member.expect_silence()  # the member has granted nothing so far
    await caller.expect_silence()  # so the caller is not granted anything again
    member.send(TunnelAllow(7, 1000))
    assert await member.expect(TunnelTransfer) == TunnelTransfer(7, 5, b"hello")
    assert await caller.expect(TunnelAllow) == TunnelAllow(5, 5)
    caller.send(TunnelAllow(5, 1000))
    member.send(TunnelTransfer(7, 9, b"fine, "), TunnelTransfer(7, 0, b"sir"))
    assert await caller.expect(TunnelTransfer) == TunnelTransfer(5, 9, b"fine, ")
    assert await caller.expect(TunnelTransfer) == TunnelTransfer(5, 0, b"sir")
    assert sum([(await member.expect(TunnelAllow)).granted for _ in range(2)]) == 9


async def test_a_tunnel_holds_no_more_than_its_allowance(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    chunk = b"x" * 65_536
    caller.send(*(TunnelTransfer(5, len(chunk), chunk) for _ in range(64)))  # all 4 MiB of it
    await caller.expect_silence()
    caller.send(TunnelTransfer(5, 1, b"!"))
    await caller.expect_end()
    member.send(TunnelAllow(7, 8 * MIB))  # what was within the allowance still arrives
    for _ in range(64):
        assert (await member.expect(TunnelTransfer)).chunk == chunk
    assert (await member.expect(RelayTunnelClose)).tunnel_id == 7


async def test_a_tunnel_keeps_order_over_many_chunks(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    member.send(TunnelAllow(7, 64 * MIB))
    total, room = 300, 4 * MIB
    chunks = [index.to_bytes(4, "big") * 8_192 for index in range(total)]

    async def receive() -> None:
        for chunk in chunks:
            packet = await member.expect(TunnelTransfer)
            assert packet.chunk == chunk

    receiving = asyncio.create_task(receive())
    for chunk in chunks:
        while room < len(chunk):
            room += (await caller.expect(TunnelAllow)).granted
        room -= len(chunk)
        caller.send(TunnelTransfer(5, len(chunk), chunk))
    await receiving


@pytest.mark.parametrize("closer", ["caller", "member"])
async def test_a_close_follows_what_was_sent_and_closes_both(relays, connect, closer):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    caller.send(TunnelAllow(5, 1000))
    member.send(TunnelAllow(7, 1000))
    one, other, near, far = (caller, member, 5, 7) if closer == "caller" else (member, caller, 7, 5)
    one.send(TunnelTransfer(near, 4, b"last"), ClientTunnelClose(near))
    assert await other.expect(TunnelTransfer) == TunnelTransfer(far, 4, b"last")
    assert await other.expect(RelayTunnelClose) == RelayTunnelClose(far, "")
    assert await one.expect(RelayTunnelClose) == RelayTunnelClose(near, "")
    for relay in relays:
        assert relay.relay.stats().tunnel_ends == 0


async def test_a_lost_client_closes_the_tunnel_at_the_other_relay(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    caller.cut()
    closed = await member.expect(RelayTunnelClose)
    assert closed == RelayTunnelClose(7, "the connection of the other end was lost")


async def test_a_tunnel_confirmed_too_late_is_closed(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    caller.send(ClientTunnelInit(5, "c", 30))
    offer = await member.expect(RelayTunnelInit)
    assert await caller.expect(RelayTunnelConfirm) == RelayTunnelConfirm(5, True, None)
    member.send(ClientTunnelConfirm(offer.init_id, 7))
    await member.expect(TunnelAllow)
    assert (await member.expect(RelayTunnelClose)).tunnel_id == 7


async def test_a_tunnel_is_offered_where_there_is_still_a_member(relays, connect):
    leaver, stayer = await connect(relays[1], "c"), await connect(relays[0], "c")
    caller = await connect(relays[0])
    await settle_all(caller, [leaver, stayer], "c")
    leaver.cut()
    await leaver.closed.wait()

    async def accept() -> None:
        number = 0
        with suppress(Over):
            while True:
                packet = await stayer.receive(60.0)
                if isinstance(packet, RelayTunnelInit):
                    number += 1
                    stayer.send(ClientTunnelConfirm(packet.init_id, number))

    accepting = asyncio.create_task(accept())
    built = number = 0
    while built < 10:  # what NATS loses in the moment of the leave is tried again
        number += 1
        caller.send(ClientTunnelInit(number, "c", 1_000))
        while not isinstance(packet := await caller.receive(), RelayTunnelConfirm):
            pass
        built += not packet.timeout
    stayer.cut()
    await accepting


async def test_a_relay_that_stops_closes_its_tunnels_and_leaves_its_clusters(relays, connect):
    member, caller = await connect(relays[1], "c"), await connect(relays[0])
    await settle_member(caller, member, "c")
    await open_tunnel(caller, member, "c")
    await relays[1].relay.stop()
    assert (await caller.expect(RelayTunnelClose)).tunnel_id == 5
    assert (await caller.ask(1, "c", b"x", 500)).timeout
