"""pyiris as a library of its own: connect, register, streams, tunnels."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime import pyiris
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.errors import RemoteFault, TunnelClosed
from irismq_runtime.pyiris import Allowance, Limits, Options
from tests.contracts.address_support import Collected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOON = 10.0


@pytest.fixture
async def relay() -> AsyncIterator[EmbeddedRelay]:
    async with EmbeddedRelay() as running:
        yield running


async def upper(request: bytes) -> bytes:
    return request.upper()


async def test_a_function_is_a_service(relay: EmbeddedRelay) -> None:
    async with (
        pyiris.register("upper", upper, port=relay.port),
        pyiris.connect(port=relay.port) as iris,
    ):
        assert await iris.request("upper", b"hello", timeout=SOON) == b"HELLO"
        assert iris.statistics().pending == 0
        assert iris.health().ok
    assert not iris.health().ok
    assert relay.stats().connections == 0


async def test_a_handler_takes_each_kind_of_traffic(relay: EmbeddedRelay) -> None:
    class Everything(pyiris.Handler):
        def __init__(self) -> None:
            self.heard = Collected()
            self.tunnelled = Collected()
            self.joined = 0

        async def on_request(self, request: bytes) -> bytes:
            if request == b"secret":
                raise pyiris.Fault("not for you")
            return b"answer to " + request

        async def on_broadcast(self, message: bytes) -> None:
            self.heard.add(message)

        async def on_tunnel(self, tunnel: Any) -> None:
            async for message in tunnel:
                await tunnel.send(message[::-1])
            self.tunnelled.add("end")

        def on_joined(self) -> None:
            self.joined += 1

    handler = Everything()
    async with (
        pyiris.register("svc", handler, port=relay.port) as service,
        pyiris.connect(port=relay.port) as iris,
    ):
        assert handler.joined == 1
        assert await iris.request("svc", b"1") == b"answer to 1"
        with pytest.raises(RemoteFault, match="not for you"):
            await service.request("svc", b"secret")
        for number in range(100):
            iris.broadcast("svc", b"%d" % number)
        heard = await handler.heard.reach(100)
        assert heard == [b"%d" % n for n in range(100)], "one at a time, in the order they came"
        async with iris.tunnel("svc", timeout=SOON) as tunnel:
            await tunnel.send(b"abc")
            assert await tunnel.receive() == b"cba"
        await handler.tunnelled.reach(1)
        tunnel = await iris.tunnel("svc")
        await tunnel.close()
        with pytest.raises(TunnelClosed):
            await tunnel.send(b"x")


async def test_a_handler_that_serves_nothing_says_so(relay: EmbeddedRelay) -> None:
    async with (
        pyiris.register("svc", pyiris.Handler(), port=relay.port) as service,
        pyiris.connect(port=relay.port) as iris,
    ):
        with pytest.raises(RemoteFault, match="answers no requests"):
            await iris.request("svc", b"x")
        async with iris.tunnel("svc") as tunnel:
            assert [message async for message in tunnel] == []
        assert service.statistics().tunnels == 0


async def test_events_are_a_stream(relay: EmbeddedRelay) -> None:
    async with (
        pyiris.connect(port=relay.port) as iris,
        pyiris.connect(port=relay.port) as other,
        iris.subscribe("news") as events,
    ):
        for number in range(10):
            other.publish("news", b"%d" % number)
        got = [await anext(events) for _ in range(10)]
        assert got == [b"%d" % n for n in range(10)]
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await events.close()
        with pytest.raises(StopAsyncIteration):
            await reading


async def test_events_over_the_limit_are_counted_and_told(
    relay: EmbeddedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(limits=Limits(events=Allowance(count=3, size=1000)))
    async with (
        pyiris.connect(port=relay.port, options=options) as iris,
        iris.subscribe("news") as events,
    ):
        seen = Collected()
        await iris.listen("news", seen.add)
        for number in range(50):
            iris.publish("news", b"%d" % number)
        await seen.reach(50)
        assert events.dropped == 47
        assert [await anext(events) for _ in range(3)] == [b"0", b"1", b"2"]
    assert len([r for r in caplog.records if "dropped" in r.getMessage()]) == 1


async def test_broadcasts_over_the_limit_are_counted_and_told(
    relay: EmbeddedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    go = asyncio.Event()
    heard = Collected()

    class Slow(pyiris.Handler):
        async def on_request(self, request: bytes) -> bytes:
            return request

        async def on_broadcast(self, message: bytes) -> None:
            heard.add(message)
            await go.wait()

    options = Options(limits=Limits(broadcasts=Allowance(count=5, size=1000)))
    async with (
        pyiris.register("svc", Slow(), port=relay.port, options=options) as service,
        pyiris.connect(port=relay.port) as iris,
    ):
        for number in range(50):
            iris.broadcast("svc", b"%d" % number)
        await iris.request("svc", b"behind them")
        assert service.dropped >= 44
        go.set()
        await heard.reach(50 - service.dropped)
    assert len([r for r in caplog.records if "dropped" in r.getMessage()]) == 1


async def test_workers_bound_what_runs_at_once_and_the_expired_is_not_run(
    relay: EmbeddedRelay,
) -> None:
    running, most = 0, 0
    go = asyncio.Event()
    ran = []

    async def handle(request: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        ran.append(request)
        await go.wait()
        running -= 1
        return request

    async with (
        pyiris.register("svc", handle, port=relay.port, workers=2) as service,
        pyiris.connect(port=relay.port) as iris,
    ):
        long = [iris.request("svc", b"%d" % n, timeout=SOON) for n in range(4)]
        short = iris.request("svc", b"short", timeout=0.05)
        with pytest.raises(pyiris.AskTimeout):
            await short
        while service.statistics().expired == 0:
            await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*long) == [b"0", b"1", b"2", b"3"]
        assert most == 2
        assert b"short" not in ran


async def test_leaving_lets_what_runs_finish_and_cancels_what_does_not(
    relay: EmbeddedRelay,
) -> None:
    started = Collected()
    cancelled = []

    async def handle(request: bytes) -> bytes:
        started.add(request)
        if request == b"for ever":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(request)
                raise
        return request

    async with pyiris.connect(port=relay.port) as iris:
        async with pyiris.register("svc", handle, port=relay.port, drain=0.1):
            stuck = iris.request("svc", b"for ever", timeout=0.3)
            await started.reach(1)
        assert cancelled == [b"for ever"]
        with pytest.raises(pyiris.AskTimeout):
            await stuck


async def test_what_has_no_meaning_is_refused_at_the_call(relay: EmbeddedRelay) -> None:
    with pytest.raises(ValueError, match="empty"):
        pyiris.register("", upper)
    with pytest.raises(ValueError, match="workers"):
        pyiris.register("svc", upper, workers=0)
    async with pyiris.connect(port=relay.port) as iris:
        with pytest.raises(ValueError, match="empty"):
            iris.publish("", b"x")
        with pytest.raises(ValueError, match="empty"):
            iris.broadcast("svc", b"")
        with pytest.raises(ValueError, match="empty"):
            await iris.listen("", print)


async def test_handlers_that_fail_are_reported_and_nothing_ends(
    relay: EmbeddedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)

    class Broken(pyiris.Handler):
        async def on_broadcast(self, message: bytes) -> None:
            raise KeyError("in a broadcast")

        async def on_tunnel(self, tunnel: Any) -> None:
            raise KeyError("in a tunnel")

    async with (
        pyiris.register("svc", Broken(), port=relay.port) as service,
        pyiris.connect(port=relay.port) as iris,
    ):
        iris.broadcast("svc", b"x")
        iris.broadcast("svc", b"y")
        async with iris.tunnel("svc") as tunnel:
            assert [message async for message in tunnel] == []
        with pytest.raises(RemoteFault):
            await iris.request("svc", b"x")
        assert service.health().ok
    lines = [r.getMessage() for r in caplog.records]
    assert sum("in a broadcast" in line for line in lines) == 2
    assert sum("in a tunnel" in line for line in lines) == 1


def test_the_old_name_of_a_managed_connection_says_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="pyiris.ManagedConnection"):
        assert pyiris.Connection is pyiris.ManagedConnection
    with pytest.raises(AttributeError, match="Conection"):
        _ = pyiris.Conection  # type: ignore[attr-defined]  # it is the point
