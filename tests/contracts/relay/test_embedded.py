"""What the embedded relay does beyond the common suite: its choices, its faults, its bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from actors.testing import ManualClock
from irismq_runtime.embedded.relay import (
    EmbeddedRelay,
    Faults,
    Host,
    InMemoryBackEnd,
    RelayOptions,
)
from irismq_runtime.ports import WELL, TransportHealth
from irismq_runtime.protocols.iris import ConnectionState
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    ClientBroadcast,
    ClientClose,
    ClientInit,
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
from tests.contracts.relay.client import Client
from tests.support.iris_relay import iris_relay
from tests.support.promptly import promptly


@pytest.fixture
def make(connect):
    """`await make(relay, "cluster", "")` gives clients whose init has been handled."""

    async def make(server, *clusters: str) -> list[Client]:
        return [await connect(server, cluster) for cluster in clusters]

    return make


async def echo(member: Client) -> None:
    """Have the only member of "c" answer itself: it is served, whatever the clock says."""
    member.send(ClientRequest(0, "c", b"still here", 1000))
    await member.answer_one(b"yes")
    assert (await member.expect(RelayReply)).body == b"yes"


async def ping(client: Client) -> None:
    """A round trip: all that this client sent before has been handled."""
    reply = await client.ask(0, "\0nobody", b"x", 1)
    assert reply.timeout


# Choices


async def test_a_close_waits_for_the_answers_that_are_pending(make):
    async with iris_relay("embedded") as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientRequest(1, "c", b"x", 5000))
        request = await member.expect(RelayRequest)
        member.send(ClientClose())
        await member.expect_silence(0.05)
        assert server.relay.stats().members == {}
        member.send(ClientReply(request.id, b"last words", None))
        assert (await caller.expect(RelayReply)).body == b"last words"
        assert await member.expect(RelayClose) == RelayClose("")
        await member.expect_end()


async def test_a_close_waits_no_longer_than_the_callers_do(make):
    async with iris_relay("embedded") as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientRequest(1, "c", b"x", 80))
        await member.expect(RelayRequest)
        member.send(ClientClose())
        assert (await caller.expect(RelayReply)).timeout
        assert await member.expect(RelayClose) == RelayClose("")


async def test_order_is_kept_between_two_clients(make):
    async with iris_relay("embedded") as server:
        member, sender = await make(server, "c", "")
        bodies = [n.to_bytes(2, "big") for n in range(2000)]
        sender.send(*(ClientBroadcast("c", body) for body in bodies))
        assert [(await member.expect(RelayBroadcast)).body for _ in bodies] == bodies


async def test_a_stuck_member_does_not_hold_the_others_back(make):
    async with iris_relay("embedded") as server:
        stuck, free, caller = await make(server, "c", "c", "")
        caller.send(ClientRequest(0, "c", b"a", 60_000), ClientRequest(1, "c", b"b", 60_000))
        await stuck.expect(RelayRequest)
        await free.answer_one(b"ok")
        await caller.expect(RelayReply)
        for call_id in range(2, 50):
            caller.send(ClientRequest(call_id, "c", b"x", 60_000))
            await free.answer_one(b"ok")
            assert (await caller.expect(RelayReply)).id == call_id


@pytest.mark.parametrize("data", [b"\x04" + b"\xff" * 11, b"\x04" + b"\xff" * 9 + b"\x7f"])
async def test_a_number_of_more_than_64_bits_drops_the_client(make, data):
    async with iris_relay("embedded") as server:
        (client,) = await make(server, "")
        client.send_raw(data)
        await client.expect_end()
        assert server.relay.stats().totals.dropped == {"violation": 1}


async def test_a_tunnel_id_that_is_in_use_drops_the_client(make):
    async with iris_relay("embedded") as server:
        (client,) = await make(server, "")
        client.send(ClientTunnelInit(1, "c", 5000), ClientTunnelInit(1, "c", 5000))
        await client.expect_end()
        assert server.relay.stats().tunnel_ends == 0


async def test_an_offer_not_confirmed_in_three_seconds_drops_the_acceptor(make):
    clock = ManualClock()
    async with iris_relay("embedded", clock=clock) as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientTunnelInit(1, "c", 4000))
        await member.expect(RelayTunnelInit)
        clock.advance(2.9)
        await echo(member)
        clock.advance(0.2)
        await member.expect_end()
        clock.advance(1.0)
        assert await caller.expect(RelayTunnelConfirm) == RelayTunnelConfirm(1, True, None)
        assert server.relay.stats().tunnel_ends == 0


async def test_everything_a_client_had_leaves_with_it(make):
    async with iris_relay("embedded") as server:
        member, caller = await make(server, "c", "")
        caller.send(
            Subscribe("t"),
            *(ClientRequest(n, "c", b"x", 60_000) for n in range(100)),
            ClientTunnelInit(1, "c", 60_000),
        )
        offer = None
        for _ in range(101):
            packet = await member.receive()
            offer = packet if isinstance(packet, RelayTunnelInit) else offer
        assert offer is not None
        stats = server.relay.stats()
        assert (stats.pending_requests, stats.topics, stats.tunnel_ends) == (100, {"t": 1}, 2)
        caller.cut()
        while server.relay.stats().connections > 1:
            await asyncio.sleep(0)
        member.send(ClientTunnelConfirm(offer.init_id, 9))
        assert (await member.expect(RelayTunnelClose)).tunnel_id == 9
        stats = server.relay.stats()
        assert (stats.pending_requests, stats.topics, stats.tunnel_ends) == (0, {}, 0)
        await ping(member)


# Faults


async def test_fault_a_request_to_nobody_fails_at_once(make):
    async with iris_relay("embedded", faults=Faults(silent_when_unknown=False)) as server:
        (caller,) = await make(server, "")
        caller.send(ClientRequest(1, "nobody", b"x", 3_600_000))
        assert (await caller.expect(RelayReply)).timeout
        caller.send(ClientTunnelInit(1, "nobody", 3_600_000))
        assert (await caller.expect(RelayTunnelConfirm)).timeout


async def test_fault_double_subscribers_live(make):
    async with iris_relay("embedded", faults=Faults(drops_double_subscribers=False)) as server:
        (client,) = await make(server, "")
        client.send(Unsubscribe("t"), Subscribe("t"), Subscribe("t"), Publish("t", b"once"))
        assert (await client.expect(Publish)).body == b"once"
        await client.expect_silence(0.05)


async def test_fault_a_hasty_close_loses_later_replies(make):
    async with iris_relay("embedded", faults=Faults(hasty_close=True)) as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientRequest(1, "c", b"x", 150))
        request = await member.expect(RelayRequest)
        late = member.encode(ClientReply(request.id, b"lost", None))
        member.send(ClientClose())
        assert await member.expect(RelayClose) == RelayClose("")
        member.send_raw(late)
        assert (await caller.expect(RelayReply)).timeout


async def test_fault_an_empty_fault_is_a_timeout(make):
    for faults, timeout in ((Faults(), False), (Faults(empty_fault_is_timeout=True), True)):
        async with iris_relay("embedded", faults=faults) as server:
            member, caller = await make(server, "c", "")
            caller.send(ClientRequest(1, "c", b"x", 60_000))
            request = await member.expect(RelayRequest)
            member.send(ClientReply(request.id, None, ""))
            reply = await caller.expect(RelayReply)
            assert reply == RelayReply(1, timeout, None, None if timeout else "")


async def test_fault_the_initiator_is_told_early(make):
    async with iris_relay("embedded", faults=Faults(early_confirm=True)) as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientTunnelInit(1, "c", 60_000))
        assert await caller.expect(RelayTunnelConfirm) == RelayTunnelConfirm(1, False, 65_536)
        offer = await member.expect(RelayTunnelInit)
        await caller.expect_silence(0.02)
        member.send(ClientTunnelConfirm(offer.init_id, 2))
        await caller.expect(TunnelAllow)


async def test_fault_a_tunnels_close_overtakes(make):
    for faults, arrives in ((Faults(), True), (Faults(close_overtakes=True), False)):
        async with iris_relay("embedded", faults=faults) as server:
            member, caller = await make(server, "c", "")
            caller.send(ClientTunnelInit(1, "c", 60_000))
            offer = await member.expect(RelayTunnelInit)
            member.send(ClientTunnelConfirm(offer.init_id, 2))
            await caller.expect_all(RelayTunnelConfirm, TunnelAllow)
            await member.expect(TunnelAllow)
            caller.send(TunnelTransfer(1, 3, b"end"), ClientTunnelClose(1))
            await caller.expect(RelayTunnelClose)
            member.send(TunnelAllow(2, 100))
            if arrives:
                assert (await member.expect(TunnelTransfer)).chunk == b"end"
            assert (await member.expect(RelayTunnelClose)).tunnel_id == 2


async def test_fault_reordering_comes_from_its_seed(make):
    orders = []
    for _ in range(2):
        async with iris_relay("embedded", faults=Faults(seed=3, reorder=True)) as server:
            member, sender = await make(server, "c", "")
            bodies = [bytes((n,)) for n in range(20)]
            sender.send(*(ClientBroadcast("c", body) for body in bodies))
            orders.append([(await member.expect(RelayBroadcast)).body for _ in bodies])
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == bodies
    assert orders[0] != bodies


async def test_fault_losses_are_what_they_say_and_may_be_switched_while_it_runs(make):
    async with iris_relay("embedded") as server:
        member, caller = await make(server, "c", "")
        caller.send(Subscribe("t"))
        server.relay.faults = Faults(lose_broadcasts=1.0, lose_events=1.0, lose_requests=1.0)
        caller.send(ClientBroadcast("c", b"x"), Publish("t", b"x"))
        assert (await caller.ask(1, "c", b"x", 50)).timeout
        server.relay.faults = Faults(lose_replies=1.0)
        caller.send(ClientRequest(2, "c", b"second", 100))
        assert (await member.answer_one(b"lost")).body == b"second"
        assert (await caller.expect(RelayReply)).timeout
        server.relay.faults = Faults()
        caller.send(Publish("t", b"heard"))
        assert (await caller.expect(Publish)).body == b"heard"


async def test_fault_a_member_is_handed_so_many_requests_and_no_more(make):
    async with iris_relay("embedded", faults=Faults(member_window=2)) as server:
        member, caller = await make(server, "c", "")
        caller.send(*(ClientRequest(n, "c", bytes((n,)), 60_000) for n in range(4)))
        first, second = await member.expect(RelayRequest), await member.expect(RelayRequest)
        await member.expect_silence(0.05)
        member.send(ClientReply(second.id, b"x", None))
        third = await member.expect(RelayRequest)
        assert [first.body, second.body, third.body] == [b"\0", b"\1", b"\2"]
        await member.expect_silence(0.05)
        member.send(ClientReply(first.id, b"x", None), ClientReply(third.id, b"x", None))
        await member.answer_one(b"x")
        assert {(await caller.expect(RelayReply)).id for _ in range(4)} == set(range(4))


async def test_fault_a_fresh_subscription_is_deaf_for_a_while(make):
    async with iris_relay("embedded", faults=Faults(deaf_after_subscribe=3600.0)) as server:
        (client,) = await make(server, "")
        client.send(Subscribe("t"), Publish("t", b"unheard"))
        await client.expect_silence(0.05)


async def test_the_go_bindings_habits_work_on_a_relay_like_the_real_one(make):
    """Requests in flight together come back whole although nothing keeps its order."""
    async with iris_relay("embedded", faults=Faults.like_real(seed=4)) as server:
        member, caller = await make(server, "c", "")
        caller.send(*(ClientRequest(n, "c", bytes((n,)), 60_000) for n in range(100)))
        for _ in range(100):
            request = await member.expect(RelayRequest)
            member.send(ClientReply(request.id, request.body * 2, None))
        replies = [await caller.expect(RelayReply) for _ in range(100)]
        assert {reply.id: reply.body for reply in replies} == {n: bytes((n, n)) for n in range(100)}


# Bounds


async def test_more_connections_than_allowed_are_closed_as_they_come(make):
    async with iris_relay("embedded", options=RelayOptions(max_connections=2)) as server:
        first, second = await make(server, "", "")
        third = await Client.raw(server)
        await third.expect_end()
        await ping(first)
        second.cut()
        await second.closed.wait()
        await ping(first)
        await make(server, "")


@pytest.mark.parametrize(
    ("options", "packets"),
    [
        (RelayOptions(max_subscriptions=2), [Subscribe(str(n)) for n in range(3)]),
        (RelayOptions(max_tunnels=2), [ClientTunnelInit(n, "c", 5000) for n in range(3)]),
    ],
)
async def test_what_one_connection_may_have_is_bounded(make, options, packets):
    async with iris_relay("embedded", options=options) as server:
        (client,) = await make(server, "")
        client.send(*packets)
        await client.expect_end()
        stats = server.relay.stats()
        assert (stats.topics, stats.tunnel_ends) == ({}, 0)


async def test_a_caller_with_too_many_open_requests_is_not_read_until_some_end(make):
    async with iris_relay("embedded", options=RelayOptions(max_calls=10)) as server:
        (caller,) = await make(server, "")
        caller.send(*(ClientRequest(n, "nobody", b"x", 150) for n in range(11)))
        while server.relay.stats().pending_requests < 11:
            await asyncio.sleep(0)
        caller.send(Subscribe("later"), Publish("later", b"now"))
        packets = [type(await caller.receive()) for _ in range(12)]
        assert packets[0] is RelayReply
        assert Counter(packets) == {RelayReply: 11, Publish: 1}


def test_only_loopback_unless_told_otherwise_in_so_many_words():
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        EmbeddedRelay(host=host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""):  # noqa: S104  # refused
        with pytest.raises(ValueError, match="open_to_network=True"):
            EmbeddedRelay(host=host)
        EmbeddedRelay(host=host, open_to_network=True)


async def test_it_is_ready_at_once():
    async with AsyncExitStack() as stack, promptly("a relay has a client"):
        server = await stack.enter_async_context(iris_relay("embedded"))
        await stack.enter_async_context(await Client.connect(server))


async def test_a_second_start_is_refused_and_a_taken_port_is_an_os_error():
    async with iris_relay("embedded") as server:
        with pytest.raises(RuntimeError, match="runs already"):
            await server.relay.start()
        with pytest.raises(OSError, match="in use"):
            await EmbeddedRelay(port=server.port).start()


async def test_statistics_are_plain_values_of_one_moment(make):
    async with iris_relay("embedded") as server:
        member, caller = await make(server, "c", "")
        caller.send(ClientRequest(1, "c", b"x", 60_000))
        before = server.relay.stats()
        await member.answer_one(b"ok")
        await caller.expect(RelayReply)
        after = server.relay.stats()
        assert (before.totals.replies, after.totals.replies) == (0, 1)
        assert after.to_dict()["members"] == {"c": 1}
        assert after.connections == 2


async def test_a_client_that_left_in_its_handshake_is_forgotten(make):
    clock = ManualClock()
    options = RelayOptions(handshake_seconds=0.05)
    async with iris_relay("embedded", options=options, clock=clock) as server:
        silent, slow = await Client.raw(server), await Client.raw(server)
        slow.send_raw(b"\x00\x11iris")
        (client,) = await make(server, "c")
        clock.advance(0.06)
        await silent.expect_end()
        await slow.expect_end()
        assert server.relay.stats().totals.dropped == {"no handshake": 2}
        await echo(client)


async def test_the_state_of_a_denied_client_is_closed_and_it_joins_nothing():
    async with iris_relay("embedded") as server, await Client.raw(server) as client:
        hello = client.encode(ClientInit(CLIENT_MAGIC, "v0", "c"))
        client.send_raw(hello + b"\x06\x01t")
        await client.receive()
        await client.expect_end()
        stats = server.relay.stats()
        assert (stats.members, stats.topics, stats.totals.denied) == ({}, {}, 1)
        assert client._protocol.state is ConnectionState.CLOSED


async def test_what_waits_for_a_full_member_is_bounded_in_bytes(make):
    """A member that lets more gather than a slow reader may is dropped, and the others live."""
    faults, options = Faults(member_window=1), RelayOptions(slow_reader_limit=2500)
    async with iris_relay("embedded", faults=faults, options=options) as server:
        member, caller = await make(server, "c", "")
        caller.send(*(ClientRequest(n, "c", b"x" * 1000, 60_000) for n in range(3)))
        await member.expect(RelayRequest)
        await ping(caller)
        assert server.relay.stats().totals.dropped == {}
        caller.send(ClientRequest(3, "c", b"x" * 1000, 60_000))
        await member.expect_end()
        assert server.relay.stats().totals.dropped == {"slow reader": 1}
        await ping(caller)


class Carrier(InMemoryBackEnd):
    """A back end that says when it is started and stopped, and how it is."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.said = WELL

    async def start(self, host: Host) -> None:
        self.log.append("start")

    async def stop(self) -> None:
        self.log.append("stop")

    def health(self) -> TransportHealth:
        return self.said


async def test_a_relay_that_cannot_listen_leaves_no_back_end_running():
    back_end = Carrier()
    async with EmbeddedRelay() as other:
        with pytest.raises(OSError, match="in use"):
            await EmbeddedRelay(port=other.port, back_end=back_end).start()
    assert back_end.log == ["start", "stop"]


async def test_the_health_of_a_relay_is_that_of_its_back_end():
    back_end = Carrier()
    async with EmbeddedRelay(back_end=back_end) as relay:
        assert relay.health().ok
        back_end.said = TransportHealth(ok=False, reason="cut off")
        assert relay.health() == TransportHealth(ok=False, reason="cut off")
    assert back_end.log == ["start", "stop"]
    assert EmbeddedRelay().health().ok
