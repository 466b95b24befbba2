"""How streams and tunnels end: abandoned by who reads, cut short by who sends (141, 142)."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from actors import Actor, receives
from irismq_runtime import RemoteError, RuntimeFault, TunnelClosed, pyiris
from supervisors import Supervisor, child
from tests.integration.processes import running
from tests.integration.service import Crash, Put, Reset, Who
from tests.support.until import until

HERE = Path(__file__).parent


class Feed(Actor):
    """Streams that never end by themselves, and one that says when it goes on."""

    address = "test.feed"

    def __init__(self) -> None:
        self.open = 0
        self.closed = 0
        self.gate = asyncio.Event()

    @receives(Put)
    async def follow(self, message: Put):
        self.open += 1
        try:
            yield "hello"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a finally block may take its time
            self.open -= 1
            self.closed += 1

    @receives(Who)
    def plain(self, message: Who):
        self.open += 1
        try:
            yield from range(10**9)
        finally:
            self.open -= 1
            self.closed += 1

    @receives(Crash)
    async def some(self, message: Crash):
        for number in range(34):
            yield number
        await self.gate.wait()
        raise ValueError(message.text)

    @receives(Reset)
    def crash(self, message: Reset) -> None:
        raise ValueError("boom")

    async def on_tunnel(self, tunnel: Any) -> None:
        async for item in tunnel:
            await tunnel.send(item)
            if item == "go":
                return
            if item == "hold":
                await self.gate.wait()


@pytest.fixture
async def reached(servers):
    """Servers over which tunnels can go."""
    if servers.relay.kind == "real" and len(socket.if_nameindex()) < 2:
        pytest.skip("tunnels of a real node need an interface beside loopback")
    return servers


async def served(node):
    """The actor that `node` serves the feed with."""
    ref = await node.start(child(Feed, name="feed"))
    await until(lambda: node.members("test.feed"))
    return ref._slot.actor


@pytest.mark.parametrize("asked", [Put("x"), Who()], ids=["async", "plain"])
@pytest.mark.parametrize("where", ["local", "remote"])
async def test_each_abandoned_stream_ends_its_generator(reached, asked, where):
    async with reached.node("one") as one, reached.node("two") as two:
        feed = await served(one)
        reader = one if where == "local" else two
        await until(lambda: reader.members("test.feed"))
        for _ in range(60):
            stream = reader.ref("test.feed").stream(asked, timeout=10.0)
            await anext(stream)
            await stream.aclose()
        await until(lambda: feed.closed == 60 and feed.open == 0)
        (binding,) = one.parts.binder
        await until(lambda: len(binding.handler.tunnels) == 0)


async def test_a_reader_that_times_out_is_dropped_or_fails_ends_the_generator(reached):
    async with reached.node("one") as one, reached.node("two") as two:
        feed = await served(one)
        await until(lambda: two.members("test.feed"))
        ref = two.ref("test.feed")
        reading = asyncio.ensure_future(taken(ref.stream(Put("x"), timeout=10.0)))
        await until(lambda: feed.open)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reading, 0.01)
        await until(lambda: (feed.closed, feed.open) == (1, 0))

        async def drops():
            async for _ in ref.stream(Put("x"), timeout=10.0):
                return

        await drops()
        await until(lambda: (feed.closed, feed.open) == (2, 0))

        async def fails():
            async for _ in ref.stream(Put("x"), timeout=10.0):
                raise LookupError

        with pytest.raises(LookupError):
            await fails()
        await until(lambda: (feed.closed, feed.open) == (3, 0))


async def test_a_reader_that_loses_its_connection_ends_the_generator(reached):
    async with reached.node("one") as one, reached.node("two") as two:
        feed = await served(one)
        await until(lambda: two.members("test.feed"))
        stream = two.ref("test.feed").stream(Put("x"), timeout=10.0)
        await anext(stream)
        two.parts.addresses._out._current.require().abort("cut by the test")
        with pytest.raises(TunnelClosed, match="cut by the test"):
            await anext(stream)
        await until(lambda: (feed.closed, feed.open) == (1, 0))


async def taken(stream):
    """The items of `stream`, and how it ended."""
    items = []
    try:
        async for item in stream:
            items.append(item)
    except (RuntimeFault, TunnelClosed) as error:
        return items, error
    return items, None


async def test_a_stream_that_its_node_cuts_short_is_an_error(reached):
    async with reached.node("two") as two:
        async with reached.node("one") as one:
            await served(one)
            await until(lambda: two.members("test.feed"))
            reading = asyncio.ensure_future(taken(two.ref("test.feed").stream(Crash())))
            stream = two.ref("test.feed").stream(Put("x"), timeout=10.0)
            await anext(stream)
        items, error = await reading
        assert isinstance(error, TunnelClosed)
        assert error.reason == "its node is leaving"
        assert items == list(range(34))
        with pytest.raises(TunnelClosed, match="its node is leaving"):
            await anext(stream)


async def test_a_stream_of_an_actor_that_crashes_or_stops_is_an_error(reached):
    async with reached.node("one") as one, reached.node("two") as two:
        root = await one.start(Supervisor.of(child(Feed), max_restarts=5))
        await until(lambda: two.members("test.feed"))
        ref = two.ref("test.feed")
        stream = ref.stream(Crash(), timeout=10.0)
        assert await anext(stream) == 0
        with pytest.raises(RemoteError):
            await ref.ask(Reset())
        _, error = await taken(stream)
        assert isinstance(error, TunnelClosed)
        assert "its actor ended: crash" in error.reason
        stream = ref.stream(Crash(), timeout=10.0)
        assert await anext(stream) == 0
        await root.stop()
        _, error = await taken(stream)
        assert isinstance(error, TunnelClosed)
        assert "its actor ended: shutdown" in error.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
async def test_a_stream_of_a_process_that_is_ended_or_killed_is_an_error(reached, number):
    feed = f"{__name__}:Feed"
    arguments = ("run", feed, *reached.flags, "--connect-timeout", "20")
    async with reached.node("two") as two, running(*arguments, cwd=HERE.parents[1]) as process:
        await until(lambda: two.members("test.feed"))
        stream = two.ref("test.feed").stream(Crash(), timeout=10.0)
        assert await anext(stream) == 0
        process.signal(number)
        _, error = await taken(stream)
        assert isinstance(error, TunnelClosed)
        assert error.reason


async def test_a_stream_whose_relay_goes_is_an_error(reached, kills_relay):
    async with reached.node("one") as one, reached.node("two") as two:
        await served(one)
        await until(lambda: two.members("test.feed"))
        stream = two.ref("test.feed").stream(Crash(), timeout=10.0)
        assert await anext(stream) == 0
        await reached.relay.kill()
        _, error = await taken(stream)
        assert isinstance(error, TunnelClosed)
        assert error.reason


async def test_a_handler_that_returns_ends_the_conversation_in_order(reached):
    async with reached.node("one") as one, reached.node("two") as two:
        await served(one)
        await until(lambda: two.members("test.feed"))
        async with two.ref("test.feed").tunnel(timeout=10.0) as tunnel:
            await tunnel.send("go")
            assert await taken(tunnel) == (["go"], None)


async def test_a_conversation_that_its_node_cuts_short_is_an_error(reached):
    async with reached.node("two") as two:
        async with reached.node("one") as one:
            await served(one)
            await until(lambda: two.members("test.feed"))
            tunnel = await two.ref("test.feed").tunnel(timeout=10.0)
            await tunnel.send("hold")
            assert await tunnel.receive() == "hold"
        items, error = await taken(tunnel)
        assert items == []
        assert isinstance(error, TunnelClosed)
        assert error.reason == "its node is leaving"
        await tunnel.close()


class Listener(Actor):
    """Keeps what each conversation brought, and how it ended."""

    address = "test.listener"

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def on_tunnel(self, tunnel: Any) -> None:
        self.log.append(await taken(tunnel))


async def test_the_member_too_hears_whether_its_caller_ended_in_order(reached):
    log: list[Any] = []
    async with reached.node("one") as one:
        await one.start(child(Listener, log))
        async with reached.node("two") as two:
            await until(lambda: two.members("test.listener"))
            ref = two.ref("test.listener")
            async with ref.tunnel(timeout=10.0) as tunnel:
                await tunnel.send(1)
            await until(lambda: log)
            assert log.pop() == ([1], None)

            async def fails():
                async with ref.tunnel(timeout=10.0) as tunnel:
                    await tunnel.send(2)
                    raise LookupError

            with pytest.raises(LookupError):
                await fails()
            await until(lambda: log)
            items, error = log.pop()
            assert items == [2]
            assert error.reason == "its other end was left with LookupError"
            tunnel = await ref.tunnel(timeout=10.0)
            await tunnel.send(3)
        await until(lambda: log)  # the caller's node has left
        items, error = log.pop()
        assert items == [3]
        assert isinstance(error, TunnelClosed)
        assert error.reason


class Idle(Actor):
    """Takes tunnels, and reads nothing until it is let go."""

    address = "test.idle"

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate

    async def on_tunnel(self, tunnel: Any) -> None:
        await self.gate.wait()


async def test_what_tunnels_hold_for_readers_that_do_not_read_is_bounded_for_all_of_them(reached):
    held = 3 * 1024 * 1024
    gate = asyncio.Event()
    async with reached.node("one", tunnel_bytes=held) as one, reached.node("two") as two:
        await one.start(child(Idle, gate))
        await until(lambda: two.members("test.idle"))

        async def fill():
            async with two.ref("test.idle").tunnel(timeout=10.0) as tunnel:
                while True:
                    await tunnel.send(b"x" * 500_000)

        filling = [asyncio.ensure_future(fill()) for _ in range(5)]
        memory = one.parts.addresses._tunnel_memory
        # Three windows of the longest message fit, and the rest is closed at once.
        await until(lambda: sum(each.done() for each in filling) == 2)
        assert memory.free < 1_040_384
        gate.set()
        endings = await asyncio.gather(*filling, return_exceptions=True)
        assert {type(each) for each in endings} == {TunnelClosed}
        await until(lambda: memory.free == held)


async def test_a_stranger_without_a_key_makes_a_node_hold_next_to_nothing(reached):
    keys = {"k": b"x" * 32}
    async with reached.node("one", keys=keys) as one:
        await one.start(child(Idle, asyncio.Event()))
        memory = one.parts.addresses._tunnel_memory
        host, port = reached.relay.host, reached.relay.port
        async with pyiris.connect(host, port) as stranger:

            async def junk():
                async with stranger.tunnel("test.idle", timeout=10.0) as tunnel:
                    await tunnel.send(b"j" * 5_000_000)
                    await tunnel.receive()

            endings = await asyncio.gather(*(junk() for _ in range(20)), return_exceptions=True)
        assert {type(each) for each in endings} == {TunnelClosed}
        await until(lambda: memory.free == memory.total)
