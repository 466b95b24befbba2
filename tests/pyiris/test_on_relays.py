"""pyiris on a relay with sockets: ours, and the real one where there is one."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import AskTimeout
from irismq_runtime import pyiris
from irismq_runtime.errors import ConnectionLost, RemoteFault, TunnelClosed, TunnelTimeout
from irismq_runtime.pyiris import (
    Allowance,
    Backoff,
    Handler,
    IrisAddresses,
    Limits,
    ManagedConnection,
    Options,
)
from tests.contracts.address_support import Collected, Echo
from tests.support.instances import instances_of
from tests.support.iris_relay import iris_relay, unique
from tests.support.promptly import promptly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KINDS = ["embedded", "nats", pytest.param("real", marks=pytest.mark.real_iris)]
SOON = 10.0


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with iris_relay(request.param) as relay:
        yield relay


@pytest.fixture(params=KINDS)
async def mortal(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A relay that the test may kill."""
    async with iris_relay(request.param, own=True) as relay:
        yield relay


def addresses(server: Any, **options: Any) -> IrisAddresses:
    return IrisAddresses(server.host, server.port, options=Options(**options))


async def settled(count: Any, expected: int = 0, timeout: float = 60.0) -> None:
    """Wait until `count()` is as expected; the relay's word has to travel."""
    async with asyncio.timeout(timeout):
        while count() != expected:
            await asyncio.sleep(0)


@pytest.mark.timeout(90)
async def test_the_relay_dies_under_a_service_and_comes_back(mortal: Any) -> None:
    cluster, silent = unique("svc"), Echo(silent=True)
    here, there = addresses(mortal), addresses(mortal)
    await here.start()
    await there.start()
    await there.join(cluster, silent)
    topics = {unique(f"topic{n}"): Collected() for n in range(3)}
    for topic, events in topics.items():
        await here.subscribe(topic, events.add)
    tunnels = [await here.tunnel(cluster, SOON) for _ in range(5)]
    reads = [asyncio.ensure_future(tunnel.receive()) for tunnel in tunnels]
    asks = [here.request(cluster, b"x", 60.0) for _ in range(100)]
    # The real relay hands a member 16 requests at once and keeps the others.
    await silent.arrived.reach(16 if mortal.kind == "real" else 100)
    async with promptly("all that was open has failed"):
        await mortal.kill()
        failures = await asyncio.gather(*asks, *reads, return_exceptions=True)
    assert all(isinstance(each, ConnectionLost) for each in failures[:100])
    assert {each.outcome for each in failures[:100]} == {"unknown"}  # type: ignore[union-attr]  # as above
    assert all(isinstance(each, TunnelClosed) for each in failures[100:])
    assert not here.health().ok
    silent.silent = False
    await mortal.restart()
    await silent.joined.reach(2, timeout=20.0)
    assert len(silent.lost.items) == 1, "told once"
    async with asyncio.timeout(60):
        while not (here.health().ok and there.health().ok):
            await asyncio.sleep(0)
    assert await here.request(cluster, b"again", SOON) == b":again"
    tunnel = await here.tunnel(cluster, SOON)
    await tunnel.send(b"echo")
    assert await tunnel.receive() == b"echo"
    for topic, events in topics.items():
        here_again = await here.subscribe(topic, lambda _: None)  # ready means ready
        there.publish(topic, b"event")
        assert await events.reach(1) == [b"event"]
        await here_again.close()
    await here.close(1.0)
    await there.close(1.0)


async def test_a_member_leaves_under_load_and_no_request_is_dropped() -> None:
    async with iris_relay("embedded") as server:
        here, there = addresses(server), addresses(server)
        await here.start()
        await there.start()
        cluster = unique("svc")
        leaver, stayer = Echo("leaver"), Echo("stayer")
        member = await there.join(cluster, leaver)
        await there.join(cluster, stayer)
        asks = []
        for number in range(2000):
            asks.append(here.request(cluster, b"%d" % number, SOON))
            if number % 100 == 0:
                await asyncio.sleep(0)
            if number == 1000:
                leaving = asyncio.ensure_future(member.leave(drain=5.0))
        results = await asyncio.gather(*asks, return_exceptions=True)
        await leaving
        kinds = {r if isinstance(r, Exception) else r.split(b":")[0] for r in results}
        answered = {k for k in kinds if isinstance(k, bytes)}
        refused = {k.text for k in kinds if isinstance(k, RemoteFault)}
        assert answered == {b"leaver", b"stayer"}
        assert refused <= {"leaving"}
        assert not [r for r in results if isinstance(r, AskTimeout)], "none silently dropped"
        await here.close(1.0)
        await there.close(1.0)


class Storm(Handler):
    """Accepts every tunnel and closes it now or a moment later."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    async def on_tunnel(self, tunnel: Any) -> None:
        await moment(self.rng)


async def moment(rng: random.Random) -> None:
    """The jitter of case 55: nothing, a few turns of the loop, or up to 2 ms."""
    passed = asyncio.get_running_loop().create_future()
    kind = rng.randrange(3)
    if kind == 0:
        passed.set_result(None)
    elif kind == 1:
        passed.get_loop().call_soon(passed.set_result, None)
    else:
        passed.get_loop().call_later(rng.random() * 0.002, passed.set_result, None)
    await asyncio.shield(passed)


async def storm(server: Any, count: int, *, at_once: int = 20) -> None:
    rng = random.Random(11)
    cluster = unique("storm")
    async with (
        pyiris.register(cluster, Storm(5), server.host, server.port) as service,
        pyiris.connect(server.host, server.port) as iris,
    ):

        async def one() -> None:
            opening = asyncio.ensure_future(_open(iris, cluster))
            await moment(rng)
            if rng.random() < 0.3:
                opening.cancel()
            tunnel = (await asyncio.gather(opening, return_exceptions=True))[0]
            if isinstance(tunnel, pyiris.Tunnel):
                await moment(rng)
                await tunnel.close()
            else:
                assert isinstance(tunnel, asyncio.CancelledError | TunnelClosed)

        for _ in range(count // at_once):
            await asyncio.gather(*(one() for _ in range(at_once)))
        await settled(lambda: iris.statistics().tunnels + service.statistics().tunnels)
        if server.kind == "embedded":
            await settled(lambda: server.relay.stats().tunnel_ends)


async def _open(iris: Any, cluster: str) -> Any:
    return await iris.tunnel(cluster, timeout=SOON)


async def test_tunnels_opened_and_closed_leave_both_ends_at_zero(server: Any) -> None:
    await storm(server, 600)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_ten_thousand_tunnels_leave_both_ends_at_zero(server: Any) -> None:
    await storm(server, 10_000)


async def test_a_relay_killed_while_tunnels_open_and_close_leaves_nothing() -> None:
    async with iris_relay("embedded") as server:
        cluster = unique("storm")
        quick = Options(backoff=Backoff(first=0.01, longest=0.05))
        async with (
            pyiris.register(cluster, Storm(3), server.host, server.port, options=quick) as service,
            pyiris.connect(server.host, server.port, options=quick) as iris,
        ):
            for turn in range(10):
                openings = [asyncio.ensure_future(_open(iris, cluster)) for _ in range(20)]
                for _ in range(turn):
                    await asyncio.sleep(0)
                await server.kill()
                results = await asyncio.gather(*openings, return_exceptions=True)
                expected = (pyiris.Tunnel, ConnectionLost, TunnelClosed, TunnelTimeout)
                assert all(isinstance(each, expected) for each in results)
                await settled(lambda: iris.statistics().tunnels + service.statistics().tunnels)
                await server.restart()
                async with asyncio.timeout(SOON):
                    while not (iris.health().ok and service.health().ok):
                        await asyncio.sleep(0)


async def test_a_flood_to_members_that_die_is_sent_at_most(server: Any) -> None:
    here, there = addresses(server), addresses(server)
    await here.start()
    await there.start()
    cluster = unique("dying")
    member = Echo()
    await there.join(cluster, member)
    for number in range(5000):
        here.broadcast(cluster, b"%d" % number)
    await there.close(0)
    for number in range(5000):
        here.broadcast(cluster, b"%d" % number)
    with pytest.raises(AskTimeout):
        await here.request(cluster, b"anybody?", 0.2)
    assert len(member.broadcasts.items) <= 5000
    assert here.health().ok
    await here.close(1.0)


async def test_a_member_without_room_says_so_at_once(server: Any) -> None:
    cluster, silent = unique("full"), Echo(silent=True)
    limits = Limits(requests=Allowance(count=100, size=1_000_000))
    here, there = addresses(server), addresses(server, limits=limits)
    await here.start()
    await there.start()
    await there.join(cluster, silent)
    asks = [here.request(cluster, b"x" * 300_000, 30.0) for _ in range(10)]
    refused = Collected()
    for ask in asks:
        ask.add_done_callback(refused.add)
    done = await refused.reach(7, timeout=5.0)
    assert {ask.exception().text for ask in done[:7]} == {pyiris.OVERLOADED}
    waiting = [ask for ask in asks if not ask.done()]
    for request in silent.requests:
        request.reply(b"ok")
    assert await asyncio.gather(*waiting) == [b"ok"] * 3
    await here.close(1.0)
    await there.close(1.0)


async def test_a_follow_up_reaches_the_one_that_asked(server: Any) -> None:
    """Iris addresses groups; a cluster of one's own, or a tunnel, addresses one."""
    there = addresses(server)
    await there.start()
    shared = unique("twins")

    class Clerk(Echo):
        def on_request(self, request: Any) -> None:
            request.reply(b"noted")
            there.broadcast(request.body.decode(), b"for " + request.body)

    await there.join(unique("clerk"), Echo())
    clerk = unique("clerk")
    await there.join(clerk, Clerk())
    twins = []
    for name in ("a", "b"):
        transport = addresses(server)
        await transport.start()
        private, own = Echo(name), unique(f"private.{name}")
        await transport.join(shared, Echo(name))
        await transport.join(own, private)
        twins.append((transport, own, private))
    for transport, own, _ in twins:
        assert await transport.request(clerk, own.encode(), SOON) == b"noted"
    for _, own, private in twins:
        assert await private.broadcasts.reach(1) == [b"for " + own.encode()]
    gone, own, _ = twins[0]
    await gone.close(1.0)
    with pytest.raises(AskTimeout):
        await there.request(own, b"still there?", 0.2)
    await twins[1][0].close(1.0)
    await there.close(1.0)


async def test_whatever_a_handler_raises_is_an_answer(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = unique("raising")
    errors = {
        b"timeout": TimeoutError("mine"),
        b"cancel": asyncio.CancelledError(),
        b"stop": StopIteration(1),
        b"interrupt": KeyboardInterrupt(),
        b"exit": SystemExit(3),
        b"surrogate": ValueError("\ud800"),
        b"long": ValueError("x" * 5_000_000),
        b"fault": pyiris.Fault("no such sku"),
    }

    async def handle(request: bytes) -> bytes:
        if request == b"none":
            return None  # type: ignore[return-value]  # on purpose
        raise errors[request]

    async with (
        pyiris.register(cluster, handle, server.host, server.port) as service,
        pyiris.connect(server.host, server.port) as iris,
    ):
        told = {}
        for name in (*errors, b"none"):
            with pytest.raises(RemoteFault) as caught:
                await iris.request(cluster, name, timeout=SOON)
            told[name] = caught.value.text
        assert told[b"fault"] == "no such sku"
        assert told[b"timeout"] == "TimeoutError: mine"
        assert told[b"cancel"] == "CancelledError"
        assert told[b"stop"].startswith("RuntimeError")
        assert told[b"interrupt"] == "KeyboardInterrupt"
        assert told[b"exit"] == "SystemExit: 3"
        assert told[b"surrogate"] == "ValueError: \\ud800"
        assert len(told[b"long"]) < 1100
        assert told[b"none"] == "TypeError: the handler returned NoneType, not bytes"
        assert service.health().ok
        assert service.statistics().in_hand == 0
    assert len(caplog.text.encode()) < 100_000, (
        "every line can be written, and is of a size to read"
    )


async def test_short_lived_callers_leave_nothing_at_the_member() -> None:
    # What other tests of this process left is theirs.
    before = len(instances_of(ManagedConnection))
    async with iris_relay("embedded") as server:
        cluster = unique("svc")

        async def handle(request: bytes) -> bytes:
            return request

        async with pyiris.register(cluster, handle, server.host, server.port) as service:
            for _ in range(300):
                async with pyiris.connect(server.host, server.port) as iris:
                    assert await iris.request(cluster, b"x", timeout=SOON) == b"x"
            gc.collect()
            assert len(instances_of(ManagedConnection)) <= before + 3
            statistics = service.statistics()
            assert statistics.in_hand == statistics.pending == statistics.tunnels == 0


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_hundred_thousand_timed_out_requests_leave_nothing(server: Any) -> None:
    async with pyiris.connect(server.host, server.port) as iris:
        nobody = unique("nobody")
        for _ in range(100):
            asks = [iris.request(nobody, b"x" * 100, timeout=0.001) for _ in range(1000)]
            results = await asyncio.gather(*asks, return_exceptions=True)
            assert all(isinstance(each, AskTimeout) for each in results)
        assert iris.statistics().pending == iris.statistics().pending_bytes == 0
        assert iris.statistics().timed_out == 100_000
