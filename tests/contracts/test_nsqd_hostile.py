"""Clients that mean harm, sleep, vanish or do not read: the others notice nothing."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from actors.testing import ManualClock
from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdOptions
from irismq_runtime.protocols import nsq
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_http import channel_stats
from tests.support.nsqd_server import EmbeddedServer, nsqd_server
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ID = b"0123456789abcdef"
OPTIONS = NsqdOptions()


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with nsqd_server("embedded") as running:
        yield running


def hostile(rng: random.Random) -> bytes:
    """A command with something wrong, or a piece of one."""
    size = rng.choice([-1, 0, 1, 4, 2**20 + 1, 2**31 - 1, -(2**31)])
    length = struct.pack(">i", size)
    word = rng.choice([b"", ID[: rng.randrange(18)], ID, b"\x00", b"t", b"-1", b"9" * 30])
    verb = rng.choice(
        [b"SUB", b"PUB", b"MPUB", b"DPUB", b"FIN", b"REQ", b"TOUCH", b"RDY", b"IDENTIFY", b"AUTH"]
    )
    line = b" ".join([verb, *[word] * rng.randrange(4)]) + b"\n"
    data = nsq.sub("t", "c") * rng.randrange(2) + line + length * rng.randrange(3)
    data += rng.randbytes(rng.randrange(20))
    return data[: rng.randrange(1, len(data) + 1)]


async def attack(port: int, data: bytes) -> None:
    """Send, say that this was all, and read until the server has closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(nsq.MAGIC + data)
        writer.write_eof()
        while await asyncio.wait_for(reader.read(65536), 60):
            continue
    except (ConnectionError, OSError):
        return
    finally:
        writer.close()


async def fuzz(server: EmbeddedServer, seed: int, attacks: int) -> None:
    rng = random.Random(seed)
    async with nsq_client(server.port) as bystander:
        await bystander.subscribe("alive", ready=1)
        for number in range(attacks):
            await attack(server.port, hostile(rng))
            if number % 20 == 0:
                body = b"%d" % number
                bystander.send(nsq.pub("alive", body))
                frames = [await bystander.frame(), await bystander.frame()]
                (message,) = [f for f in frames if isinstance(f, nsq.Message)]
                assert message.body == body, f"seed {seed}"
                bystander.send(nsq.fin(message.id))


async def test_hostile_commands_harm_their_sender_alone(server, caplog):
    await fuzz(server, random.randrange(2**32), attacks=200)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_hostile_commands_for_a_long_time(server, caplog):
    end = time.monotonic() + 1800
    while time.monotonic() < end:
        await fuzz(server, random.randrange(2**32), attacks=1000)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def stopped_in_time(server: EmbeddedServer) -> None:
    async with promptly("stop"):
        await server.stop()


async def test_stop_waits_for_no_client(server):
    async with AsyncExitStack() as stack:
        for number in range(50):
            client = await stack.enter_async_context(nsq_client(server.port, magic=False))
            client.send(b"  V2PUB t\n\x00\x00\x00"[: number % 14])
        reader = await stack.enter_async_context(nsq_client(server.port))
        await reader.subscribe("t", ready=2500)
        publisher = await stack.enter_async_context(nsq_client(server.port))
        assert await publisher.ask(nsq.mpub("t", [b"x" * 100_000] * 50)) == b"OK"
        _, http = await asyncio.open_connection("127.0.0.1", server.http_port)
        http.write(b"POST /pub?topic=t HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        await stopped_in_time(server)
        http.close()


async def test_two_hundred_starts_and_stops_leave_nothing_behind():
    server = EmbeddedNsqd()
    before = asyncio.all_tasks()
    for _ in range(200):
        await server.start()
        async with nsq_client(server.port) as consumer, nsq_client(server.port) as publisher:
            await consumer.subscribe("t", ready=1)
            assert await publisher.ask(nsq.pub("t", b"x")) == b"OK"
            await server.stop()
    assert asyncio.all_tasks() == before


async def test_stop_is_idempotent_and_start_twice_is_refused():
    server = EmbeddedNsqd()
    await server.start()
    with pytest.raises(RuntimeError, match="started already"):
        await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(RuntimeError, match="not started"):
        server.stats()


async def test_a_taken_port_is_an_error_that_leaves_nothing_open():
    first = EmbeddedNsqd()
    await first.start()
    for second in (EmbeddedNsqd(port=first.port), EmbeddedNsqd(http_port=first.http_port)):
        with pytest.raises(OSError, match="Address already in use"):
            await second.start()
    await first.stop()


def unsent(server: EmbeddedServer) -> int:
    """Bytes that the server holds for clients that do not read."""
    return sum(connection.unsent for connection in server.nsqd.context.connections.values())


async def until_quiet(server: EmbeddedServer, client: NsqClient) -> int:
    """In flight to a reader that does not read, once that number stands still."""
    last = -1
    while True:
        assert await client.ask(nsq.pub("other", b"x")) == b"OK"
        now = (await channel_stats(server, "t", "ch"))["in_flight_count"]
        if now == last:
            return now
        last = now


async def test_a_reader_that_does_not_read_is_held_at_the_high_water(server):
    async with nsq_client(server.port) as publisher:
        async with nsq_client(server.port) as sleeper, nsq_client(server.port) as reader:
            sleeper.writer.transport.pause_reading()
            sleeper.send(nsq.sub("t", "ch"), nsq.rdy(2500))
            for _ in range(10):
                assert await publisher.ask(nsq.mpub("t", [b"x" * 100_000] * 40)) == b"OK"
            held = await until_quiet(server, publisher)
            assert 0 < held < 150
            assert unsent(server) < 2 * OPTIONS.high_water
            await reader.subscribe("t", ready=5)
            for _ in range(100):
                reader.send(nsq.fin((await reader.message()).id))
        while (await channel_stats(server, "t", "ch"))["client_count"]:
            await asyncio.sleep(0)
        assert unsent(server) == 0


async def test_a_reader_that_never_reads_is_dropped():
    clock = ManualClock()
    async with (
        nsqd_server("embedded", clock=clock) as server,
        nsq_client(server.port) as sleeper,
        nsq_client(server.port) as publisher,
    ):
        await sleeper.subscribe("t", heartbeat_interval=1000)
        sleeper.writer.transport.pause_reading()
        sleeper.send(nsq.rdy(2500))
        for _ in range(10):
            assert await publisher.ask(nsq.mpub("t", [b"x" * 100_000] * 40)) == b"OK"
        clock.advance(0.99)
        assert server.nsqd.context.slow_dropped == 0
        clock.advance(0.02)
        assert server.nsqd.context.slow_dropped == 1
        while (await channel_stats(server, "t", "ch"))["client_count"]:
            await asyncio.sleep(0)


async def test_a_client_that_reads_no_answers_is_no_longer_read_from(server):
    async with nsq_client(server.port) as deaf, nsq_client(server.port) as other:
        await deaf.subscribe("t")
        deaf.writer.transport.pause_reading()
        deaf.send(nsq.fin(ID) * 400_000)
        connections = server.nsqd.context.connections.values()
        while all(connection.reading for connection in connections):
            assert await other.ask(nsq.pub("other", b"x")) == b"OK"
        assert unsent(server) < 4 * 1024 * 1024
        deaf.abort()
        assert await other.ask(nsq.pub("other", b"x")) == b"OK"


async def test_a_client_that_says_goodbye_at_once_gets_its_answers_first(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(nsq.MAGIC + nsq.pub("t", b"x") * 3)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert answer == nsq.encode_response(b"OK") * 3


@pytest.mark.parametrize("flush", [True, False], ids=["stop", "crash"])
@pytest.mark.parametrize("turns", range(4))
async def test_who_connects_while_the_server_ends_is_cut_off(turns: int, flush: bool):
    # The loop accepts a connection in one turn and hands it over in a later one. A server that
    # ended in between used to keep it: answered by heartbeats, confirming nothing, for ever.
    nsqd = EmbeddedNsqd()
    await nsqd.start()
    with socket.create_connection(("127.0.0.1", nsqd.port)) as client:
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await (nsqd.stop() if flush else nsqd.crash())
        try:
            said = await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(client, 100), timeout=5
            )
        except ConnectionResetError:
            said = b""
        assert said == b""
