"""Clients that mean harm or are broken: they lose their own connection and nothing else."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from irismq_runtime.embedded.relay import EmbeddedRelay, RelayOptions
from irismq_runtime.embedded.relay.calls import PendingCall
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Publish,
    RelayClose,
    RelayReply,
    RelayRequest,
    RelayTunnelClose,
    RelayTunnelConfirm,
    RelayTunnelInit,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
)
from tests.contracts.relay.client import Client, Over
from tests.support.instances import instances_of
from tests.support.iris_relay import iris_relay
from tests.support.promptly import promptly

HELLO = encode_packet(ClientInit(CLIENT_MAGIC, VERSION, "villains"))
GARBAGE = [
    b"",
    b"\x00",
    b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n",
    b"  V2",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\xff" * 1000,
    b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    HELLO + b"\x03\x01x\xff\xff\xff\xff\x0f",
    HELLO + b"\x04" + b"\x80" * 50,
    HELLO + b"\x0c\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
    HELLO + b"\x0b\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 3,
    HELLO + b"\x05\x00\x07",
    HELLO + HELLO,
    HELLO + b"\x02\x02",
]


async def serve_one(member: Client, caller: Client, cluster: str) -> None:
    """A request from one well-behaved client to another goes through."""
    caller.send(ClientRequest(1, cluster, b"q", 10_000))
    await member.answer_one(b"a")
    assert (await caller.expect(RelayReply)).body == b"a"


async def drain(client: Client) -> int:
    """Take what comes until the end; returns how many packets it was."""
    count = 0
    try:
        while True:
            await client.receive()
            count += 1
    except Over:
        return count


@pytest.mark.parametrize("cut_at", [None, 1, 5])
async def test_garbage_of_every_kind_harms_nobody(connect, cut_at):
    async with iris_relay("embedded") as server:
        member, caller = await connect(server, "good"), await connect(server)
        villains = []
        for data in GARBAGE:
            villain = await Client.raw(server, heedless=True)
            villain.send_raw(data if cut_at is None else data[:cut_at])
            villains.append(villain)
        for _ in range(20):
            await serve_one(member, caller, "good")
        for villain in villains:
            villain.cut()
            await villain.closed.wait()
        await serve_one(member, caller, "good")


async def test_random_bytes_from_a_printed_seed_harm_nobody(connect):
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown when the test fails
    rng = random.Random(seed)
    async with iris_relay("embedded") as server:
        member, caller = await connect(server, "good"), await connect(server)
        for round_number in range(150):
            villain = await Client.raw(server, heedless=True)
            data = bytearray(rng.randbytes(rng.randrange(1, 400)))
            for at in range(0, len(data), 7):
                data[at] = rng.randrange(14)  # many valid opcodes, to get deeper
            villain.send_raw(HELLO + bytes(data))
            if round_number % 10 == 0:
                await serve_one(member, caller, "good")
            villain.cut()
        await serve_one(member, caller, "good")


async def test_every_packet_cut_at_each_byte_then_the_end():
    """Half a packet and a cut connection leave nothing behind."""
    packets = [
        ClientBroadcast("c", b"body"),
        ClientRequest(300, "c", b"body", 1000),
        ClientReply(1, b"body", None),
        ClientReply(1, None, "fault"),
        Subscribe("t"),
        Publish("t", b"event"),
        ClientTunnelInit(1, "c", 1000),
        TunnelTransfer(1, 300, b"chunk"),
    ]
    async with iris_relay("embedded") as server:
        for packet in packets:
            data = encode_packet(packet)
            for cut in range(1, len(data)):
                client = await Client.connect(server, "c")
                client.send_raw(data[:cut])
                client.cut()
                await client.closed.wait()
        while server.relay.stats().connections:
            await asyncio.sleep(0)
        stats = server.relay.stats()
        assert (stats.members, stats.topics, stats.tunnel_ends) == ({}, {}, 0)
        assert stats.totals.dropped == {}


async def test_stop_is_quick_whatever_its_clients_do(connect):
    """Silent, half-open, garbage, not reading, in the middle of everything: under a second."""
    options = RelayOptions(high_water=16 * 1024)
    async with iris_relay("embedded", options=options) as server:
        silent = [await Client.raw(server) for _ in range(50)]
        half = await Client.raw(server)
        half.send_raw(HELLO[:10])
        deaf = await connect(server, "deaf")
        deaf.stop_reading()
        sender = await connect(server, "busy")
        sender.send(
            ClientRequest(1, "busy", b"x", 3_600_000), ClientTunnelInit(1, "busy", 3_600_000)
        )
        while server.relay.stats().bytes_waiting == 0:
            sender.send(ClientBroadcast("deaf", b"x" * 100_000))
            await asyncio.sleep(0)
        async with promptly("stop"):
            await server.relay.stop()
        for client in silent:
            await client.closed.wait()
        while not isinstance(await sender.receive(), RelayClose):
            pass
        await sender.expect_end()
        deaf.read_again()


async def test_two_hundred_starts_and_stops_on_one_port_leave_nothing():
    relay = EmbeddedRelay()
    await relay.start()
    port = relay.port
    await relay.stop()
    before = len(asyncio.all_tasks())
    for _ in range(200):
        await relay.start()
        assert relay.port == port
        idle = await Client.raw(relay)
        member = await Client.connect(relay, "c")
        await relay.stop("bye")
        assert await member.expect(RelayClose) == RelayClose("bye")
        await member.closed.wait()
        await idle.closed.wait()
    assert len(asyncio.all_tasks()) == before
    assert relay.stats().connections == 0
    assert not relay.running
    await relay.stop()


async def test_clients_that_vanish_while_they_are_written_to_raise_nothing(connect):
    """uvloop raises on a write to a closed transport, asyncio does not: nobody may notice."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with iris_relay("embedded") as server:
        sender = await connect(server)
        for _ in range(20):
            doomed = [await Client.connect(server, "c") for _ in range(3)]
            for client in doomed:
                client.send(Subscribe("t"))
            for number in range(50):
                sender.send(ClientBroadcast("c", b"x" * 10_000), Publish("t", b"y" * 10_000))
                if number == 10:
                    for client in doomed:
                        client.cut()
                await asyncio.sleep(0)
        assert (await sender.ask(1, "c", b"x", 50)).timeout
    assert errors == []


async def test_a_slow_reader_is_kept_within_bounds_and_its_memory_comes_back(connect):
    """The reader is cut past the limit; the others get everything, in order, all the while."""
    options = RelayOptions(high_water=64 * 1024, slow_reader_limit=4_000_000, stall_mark=1_000_000)
    async with iris_relay("embedded", options=options) as server:
        slow, fast = await connect(server), await connect(server)
        for client in (slow, fast):
            client.send(Subscribe("t"))
            assert (await client.ask(1, "nobody", b"x", 1)).timeout
        slow.stop_reading()
        sender = await connect(server)
        body, total, waiting = b"z" * 100_000, 200, 0
        for number in range(total):
            sender.send(Publish("t", number.to_bytes(2, "big") + body))
            event = await fast.expect(Publish)
            assert event.body[:2] == number.to_bytes(2, "big")
            waiting = max(waiting, server.relay.stats().bytes_waiting)
        stats = server.relay.stats()
        assert 1_000_000 < waiting <= 4_000_000 + len(body) + 100
        assert stats.totals.dropped == {"slow reader": 1}
        assert stats.totals.stalls > 0
        assert (stats.topics, stats.bytes_waiting, stats.slow_readers) == ({"t": 1}, 0, 0)
        slow.read_again()
        await drain(slow)


async def test_a_slow_reader_that_reads_again_gets_everything(connect):
    options = RelayOptions(high_water=64 * 1024)
    async with iris_relay("embedded", options=options) as server:
        slow, sender = await connect(server, "c"), await connect(server)
        slow.send(Subscribe("t"))
        assert (await slow.ask(1, "nobody", b"x", 1)).timeout
        slow.stop_reading()
        total = 150
        for number in range(total):
            sender.send(
                ClientBroadcast("c", bytes((number,)) + b"x" * 50_000),
                Publish("t", bytes((number,)) + b"y" * 50_000),
            )
        while server.relay.stats().totals.events < total:
            await asyncio.sleep(0)
        assert server.relay.stats().slow_readers == 1
        slow.read_again()
        seen: dict[type, list[int]] = {}
        for _ in range(2 * total):
            packet = await slow.receive()
            seen.setdefault(type(packet), []).append(packet.body[0])  # type: ignore[union-attr]  # a broadcast or an event
        assert len(seen) == 2
        assert all(numbers == list(range(total)) for numbers in seen.values())
        assert server.relay.stats().bytes_waiting == 0


async def test_a_slow_reader_is_not_asked_while_another_member_reads(connect):
    options = RelayOptions(high_water=16 * 1024)
    async with iris_relay("embedded", options=options) as server:
        slow, fast, caller = [await connect(server, name) for name in ("c", "c", "")]
        slow.send(Subscribe("flood"))
        assert (await slow.ask(1, "nobody", b"x", 1)).timeout
        slow.stop_reading()
        while not server.relay.stats().slow_readers:
            caller.send(Publish("flood", b"x" * 500_000))
            await asyncio.sleep(0)
        for call_id in range(20):
            caller.send(ClientRequest(call_id, "c", b"x", 60_000))
            await fast.answer_one(b"ok")
            assert (await caller.expect(RelayReply)).body == b"ok"
        slow.read_again()


async def test_nothing_vanishes_at_the_relay_while_a_member_is_swamped(connect):
    """Case 60, the relay's part: it drops no request over an allowance of its own."""
    async with iris_relay("embedded", options=RelayOptions(high_water=64 * 1024)) as server:
        member, caller = await connect(server, "c"), await connect(server)
        member.stop_reading()
        total = 100
        for call_id in range(total):
            caller.send(ClientRequest(call_id, "c", b"x" * 100_000, 60_000))
        while server.relay.stats().totals.requests < total:
            await asyncio.sleep(0)
        member.read_again()
        for _ in range(total):
            request = await member.expect(RelayRequest)
            member.send(ClientReply(request.id, b"done", None))
        assert {(await caller.expect(RelayReply)).id for _ in range(total)} == set(range(total))


async def test_tunnels_torn_down_at_once_leave_no_end_behind(connect):
    """Opened and closed without pause by either side or both: the counts return to 0."""
    rng = random.Random(55)
    async with iris_relay("embedded") as server:
        member, caller = await connect(server, "c"), await connect(server)
        ended = 0
        for tunnel_id in range(2000):
            caller.send(ClientTunnelInit(tunnel_id, "c", 60_000))
            who = rng.choice(["caller at once", "caller", "member", "both"])
            if who == "caller at once":
                caller.send(ClientTunnelClose(tunnel_id))
            offer = await member.expect(RelayTunnelInit)
            member.send(ClientTunnelConfirm(offer.init_id, tunnel_id))
            if who in {"member", "both"}:
                member.send(ClientTunnelClose(tunnel_id))
            if who in {"caller", "both"}:
                await caller.expect(RelayTunnelConfirm)
                caller.send(ClientTunnelClose(tunnel_id))
            for client in (caller, member):
                while not isinstance(await client.receive(), RelayTunnelClose):
                    pass
                ended += 1
        assert ended == 4000
        assert server.relay.stats().tunnel_ends == 0


async def test_a_relay_killed_between_tells_both_ends(connect):
    async with iris_relay("embedded") as server:
        member, caller = await connect(server, "c"), await connect(server)
        caller.send(ClientTunnelInit(1, "c", 60_000))
        await member.expect(RelayTunnelInit)
        await server.kill()
        await caller.expect_end()
        await member.expect_end()
        await server.restart()
        stats = server.relay.stats()
        assert (stats.connections, stats.tunnel_ends, stats.members) == (0, 0, {})


async def test_a_tunnel_to_a_reader_that_stops_holds_the_sender_and_nothing_more(connect):
    async with iris_relay("embedded", options=RelayOptions(high_water=16 * 1024)) as server:
        member, caller = await connect(server, "c"), await connect(server)
        caller.send(ClientTunnelInit(1, "c", 60_000))
        offer = await member.expect(RelayTunnelInit)
        member.send(ClientTunnelConfirm(offer.init_id, 2), TunnelAllow(2, 64 * 1024 * 1024))
        await caller.expect(RelayTunnelConfirm)
        allowance = (await caller.expect(TunnelAllow)).granted
        member.stop_reading()
        sent = granted = 0
        chunk = b"x" * 65_536
        while sent < 12_000_000:
            while allowance >= len(chunk):
                caller.send(TunnelTransfer(1, len(chunk), chunk))
                allowance -= len(chunk)
                sent += len(chunk)
            try:
                grant = await caller.expect(TunnelAllow, 0.2)
            except TimeoutError:
                break
            allowance += grant.granted
            granted += grant.granted
        assert sent < 12_000_000, "the sender was never held"
        assert server.relay.stats().bytes_waiting <= 16 * 1024 + 2 * len(chunk)
        member.read_again()
        received = 0
        while received < sent:
            packet = await member.receive()
            received += len(packet.chunk) if isinstance(packet, TunnelTransfer) else 0
        while granted < sent:
            granted += (await caller.expect(TunnelAllow)).granted
        assert granted == sent


async def test_many_members_and_calls_come_and_go_without_a_trace(connect):
    # What other tests of this process left is theirs.
    before = instances_of(PendingCall)
    async with iris_relay("embedded") as server:
        caller = await connect(server)
        for round_number in range(60):
            members = [await Client.connect(server, f"c{n}") for n in range(5)]
            caller.send(*(ClientRequest(n, f"c{n}", b"x", 60_000) for n in range(5)))
            for member in members:
                await member.expect(RelayRequest)
                if round_number % 2:
                    member.send(ClientClose())
                member.cut()
                await member.closed.wait()
        while server.relay.stats().connections > 1:
            await asyncio.sleep(0)
        stats = server.relay.stats()
        assert stats.members == {}
        assert stats.pending_requests == 300
        caller.cut()
        await caller.closed.wait()
        while server.relay.stats().connections:
            await asyncio.sleep(0)
        assert server.relay.stats().pending_requests == 0
        gc.collect()
        after = instances_of(PendingCall)
        assert {id(call) for call in after} <= {id(call) for call in before}
