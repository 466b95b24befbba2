"""Streams between simulated hosts: what arrives, how it ends, and what a fault does to it."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from typing import Any

import pytest

from irismq_runtime.simulation import Conditions, NotSimulated, Simulation

PORT = 7


class Peer:
    """Two hosts: "b" listens, "a" dials; both ends as streams of asyncio."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.network = simulation.network
        self.a = simulation.host("a")
        self.b = simulation.host("b")
        self.accepted: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted.put_nowait((reader, writer))

        await asyncio.start_server(serve, "b", PORT)

    async def dial(self) -> Any:
        return await asyncio.open_connection("b", PORT)

    async def start(self) -> None:
        self.a.start(asyncio.sleep, 0)
        await self.b.start(self.listen).wait()

    async def at_b(self, call: Any) -> Any:
        async def on_b() -> Any:
            return await call(*await self.accepted.get())

        return await self.b.call(on_b)


def play(story: Any, *, seeds: int = 3, conditions: Conditions | None = None) -> list[Any]:
    """What `story(peer)`, run on host "a", gives with each seed; nothing may be uncaught."""

    async def main(simulation: Simulation) -> Any:
        peer = Peer(simulation)
        await peer.start()
        return await peer.a.call(story, peer)

    found = []
    for seed in range(seeds):
        with Simulation(seed, conditions) as simulation:
            found.append(simulation.run(main, simulation))
            assert simulation.uncaught == []
    return found


def test_bytes_arrive_in_order_in_pieces_that_are_not_those_of_the_writes():
    sent = [bytes([number % 251]) * (number * 37 % 3000 + 1) for number in range(300)]

    async def read(reader: Any, writer: Any) -> list[bytes]:
        pieces = []
        while data := await reader.read(1_000_000):
            pieces.append(data)
        writer.close()
        return pieces

    async def story(peer: Peer) -> list[bytes]:
        reading = asyncio.create_task(peer.at_b(read))
        _, writer = await peer.dial()
        for data in sent:
            writer.write(data)
            await writer.drain()
        writer.close()
        return await reading

    for pieces in play(story, conditions=replace(Conditions(), split=0.5)):
        assert b"".join(pieces) == b"".join(sent)
        assert pieces != sent


def test_a_reader_that_does_not_read_makes_the_writer_wait():
    async def story(peer: Peer) -> None:
        _, writer = await peer.dial()

        async def write_on() -> None:
            while True:
                writer.write(bytes(10_000))
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_on(), 600)
        held = writer.transport.get_write_buffer_size()
        # Between its low and its high water, as what it waits for left it.
        assert 16 * 1024 < held < 64 * 1024 + 20_000

        async def read_all(reader: Any, writer: Any) -> None:
            await reader.read(-1)
            writer.close()

        reading = asyncio.create_task(peer.at_b(read_all))
        await writer.drain()
        assert writer.transport.get_write_buffer_size() <= 16 * 1024
        writer.close()
        await reading

    play(story)


def test_half_a_connection_may_be_closed_and_the_other_goes_on():
    async def answer(reader: Any, writer: Any) -> None:
        asked = await reader.read(-1)
        writer.write(asked.upper())
        writer.close()

    async def story(peer: Peer) -> bytes:
        answering = asyncio.create_task(peer.at_b(answer))
        reader, writer = await peer.dial()
        writer.write(b"hello")
        writer.write_eof()
        await answering
        got = await reader.read(-1)
        writer.close()
        return got

    assert play(story) == [b"HELLO"] * 3


# -- dials --------------------------------------------------------------------------------------


async def refusal(host: str, port: int) -> tuple[type[Exception], float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(OSError) as caught:  # which one is looked at by the caller
        await asyncio.open_connection(host, port)
    return type(caught.value), loop.time() - began


def test_a_dial_is_refused_unknown_or_unanswered_as_on_a_real_network():
    async def story(peer: Peer) -> None:
        assert (await refusal("b", 9))[0] is ConnectionRefusedError
        assert (await refusal("nowhere", 9))[0] is socket.gaierror
        peer.simulation.host("c").power_off()
        kind, took = await refusal("c", 9)
        assert kind is TimeoutError
        assert 60 < took < 128

    play(story)


def test_a_dial_through_a_partition_comes_through_when_it_heals():
    async def story(peer: Peer) -> float:
        loop = asyncio.get_running_loop()
        partition = peer.network.partition(["a"], ["b"])
        loop.call_later(5, partition.heal)
        began = loop.time()
        _, writer = await peer.dial()
        writer.close()
        return loop.time() - began

    assert all(5 < took < 8 for took in play(story))


def test_a_port_is_taken_once_and_loopback_is_for_its_own_host():
    async def story(peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        [place] = [each.getsockname() for each in server.sockets]
        with pytest.raises(OSError) as caught:
            await loop.create_server(asyncio.Protocol, "127.0.0.1", place[1])
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError) as caught:
            await loop.create_server(asyncio.Protocol, "b", 0)
        assert caught.value.errno == errno.EADDRNOTAVAIL
        (await asyncio.open_connection("localhost", place[1]))[1].close()

        async def from_b() -> None:
            assert (await refusal("a", place[1]))[0] is ConnectionRefusedError

        await peer.b.call(from_b)
        server.close()
        await server.wait_closed()
        assert (await refusal("127.0.0.1", place[1]))[0] is ConnectionRefusedError

    play(story)


def test_names_and_addresses_lead_to_the_same_host():
    async def story(peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        [found] = await loop.getaddrinfo("b", PORT)
        assert (await loop.getnameinfo(found[4]))[0] == "b"
        _, writer = await asyncio.open_connection(*found[4])
        assert writer.get_extra_info("peername") == found[4]
        writer.close()

    play(story)


# -- faults ----------------------------------------------------------------------------------------


async def until_it_ends(reader: Any, writer: Any) -> tuple[bytes, str]:
    """All that came, and how it ended."""
    got = b""
    try:
        while data := await reader.read(65536):
            got += data
    except OSError as error:
        return got, type(error).__name__
    finally:
        writer.close()
    return got, "end"


class Collector(asyncio.Protocol):
    """What came until the connection was lost, and why it was."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_a_cut_loses_the_rest_in_the_middle_of_anything():
    sent = b"".join(b"%04d" % number for number in range(200))

    async def story(peer: Peer) -> int:
        made: list[Collector] = []

        def collector() -> Collector:
            made.append(Collector())
            return made[0]

        async def listen() -> None:
            await asyncio.get_running_loop().create_server(collector, "b", PORT + 1)

        await peer.b.call(listen)
        _, writer = await asyncio.open_connection("b", PORT + 1)
        for number in range(200):
            writer.write(b"%04d" % number)
        await asyncio.sleep(0.0005)
        assert peer.network.cut("a", "b") == 1
        await asyncio.sleep(1)
        assert isinstance(made[0].lost.result(), ConnectionResetError)
        assert sent.startswith(made[0].got)
        writer.write(b"more")
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        writer.close()
        return len(made[0].got)

    lengths = play(story, seeds=40)
    assert any(length % 4 for length in lengths), lengths
    assert len(set(lengths)) > 10


def test_a_partition_holds_everything_and_loses_nothing():
    async def story(peer: Peer) -> float:
        loop = asyncio.get_running_loop()
        _, writer = await peer.dial()
        partition = peer.network.partition(["a"], ["b"])
        writer.write(b"held")
        loop.call_later(30, partition.heal)
        began = loop.time()

        async def read(reader: Any, other: Any) -> bytes:
            got = await reader.readexactly(4)
            other.close()
            return got

        assert await peer.at_b(read) == b"held"
        writer.close()
        return loop.time() - began

    assert all(30 < took < 65 for took in play(story))


def test_what_was_held_up_is_known_until_it_has_arrived_or_is_lost():
    async def story(peer: Peer) -> list[list[tuple[str, str]]]:
        network, seen = peer.simulation.network, list[list[tuple[str, str]]]()
        _, writer = await peer.dial()
        for is_lost in (False, True):
            block = network.block(["a"], ["b"])
            writer.write(b"held up")
            await asyncio.sleep(5)
            seen.append(list(network.overdue()))
            block.heal()
            if is_lost:
                network.cut("a", "b")
            seen.append(list(network.overdue()))
            await asyncio.sleep(10)
            seen.append(list(network.overdue()))
        writer.close()
        return seen

    held = [("a", "b")]
    for seen in play(story):
        assert seen == [held, held, [], held, [], []]


def test_a_partition_that_lasts_ends_the_connection_of_who_has_something_to_say():
    async def story(peer: Peer) -> None:
        reader, writer = await peer.dial()
        peer.network.block(["a"], ["b"])
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            await reader.read(1)

    play(story)


def test_what_a_killed_process_had_written_arrives_and_then_the_end():
    async def story(peer: Peer) -> tuple[bytes, str]:
        reader, writer = await peer.dial()
        kept = []

        async def write(*streams: Any) -> None:
            kept.append(streams)
            streams[1].write(b"last words")

        await peer.at_b(write)
        peer.b.kill()
        return await until_it_ends(reader, writer)

    assert play(story) == [(b"last words", "end")] * 3


def test_a_kill_with_something_unread_is_a_reset():
    async def story(peer: Peer) -> str:
        reader, writer = await peer.dial()
        writer.write(b"x" * 2_000_000)
        await asyncio.sleep(1)
        peer.b.kill()
        return (await until_it_ends(reader, writer))[1]

    assert play(story) == ["ConnectionResetError"] * 3


def test_a_machine_without_power_leaves_a_half_open_connection_until_something_is_said():
    async def story(peer: Peer) -> str:
        reader, writer = await peer.dial()
        peer.b.power_off()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 3600)
        peer.b.power_on()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 3600)
        writer.write(b"still there?")
        return (await until_it_ends(reader, writer))[1]

    assert play(story) == ["ConnectionResetError"] * 3


def test_the_system_of_a_paused_process_takes_dials_that_wait_for_it():
    async def story(peer: Peer) -> bytes:
        peer.b.pause()
        reader, writer = await peer.dial()
        writer.write(b"ping")
        asyncio.get_running_loop().call_later(60, peer.b.resume)

        async def answer(reader: Any, writer: Any) -> None:
            writer.write(await reader.readexactly(4))
            writer.close()

        await asyncio.sleep(61)
        await peer.at_b(answer)
        pong = await reader.readexactly(4)
        writer.close()
        return pong

    assert play(story) == [b"ping"] * 3


def test_a_slow_link_is_slow_in_both_directions_and_no_other_is():
    async def story(peer: Peer) -> None:
        loop = asyncio.get_running_loop()

        async def dialled() -> float:
            began = loop.time()
            (await peer.dial())[1].close()
            return loop.time() - began

        usual = max([await dialled() for _ in range(20)])
        peer.network.slow("a", "b", 1000)
        assert min([await dialled() for _ in range(20)]) > 5 * usual
        peer.network.slow("a", "b", 1)
        assert max([await dialled() for _ in range(20)]) < 10 * usual + 0.5

    play(story, conditions=replace(Conditions(), loss=0.0))


def test_tls_and_sockets_of_one_s_own_are_refused_by_name():
    async def story(peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        for refused in (
            loop.create_connection(asyncio.Protocol, "b", PORT, ssl=True),
            loop.create_server(asyncio.Protocol, "a", 0, ssl=True),
        ):
            with pytest.raises(NotSimulated, match=r"TLS .* is not simulated; connect without TLS"):
                await refused
        with pytest.raises(NotSimulated, match=r"sock=.* give a host and a port"):
            await loop.create_connection(asyncio.Protocol, sock=object())

    play(story, seeds=1)
