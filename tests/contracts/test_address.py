"""What every address transport keeps, held against each of them (ports.AddressTransport)."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import LoopClock
from actors.errors import AskTimeout
from irismq_runtime.embedded.relay import Faults
from irismq_runtime.errors import (
    ConnectionLost,
    MessageTooLarge,
    NotConnected,
    RemoteFault,
    TunnelClosed,
    TunnelTimeout,
)
from irismq_runtime.pyiris import IrisAddresses, Options
from tests.contracts.address_support import Collected, Echo
from tests.support.iris_relay import iris_relay, unique
from tests.support.transports import MemoryAddresses, MemoryRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from irismq_runtime.ports import AddressTransport

#: Long enough for the slowest machine, short enough for a test.
SOON = 10.0

LIKE_REAL = Faults.like_real(seed=5)


class Place:
    """Where transports of one kind meet."""

    def __init__(self, kind: str, server: Any) -> None:
        self.kind = kind
        self.server = server
        self.made: list[Any] = []

    async def transport(self, **options: Any) -> AddressTransport:
        """One more transport, started; as in one more process."""
        made: Any
        if self.kind == "memory":
            made = MemoryAddresses(self.server, LoopClock())
        else:
            made = IrisAddresses(
                self.server.host,
                self.server.port,
                options=Options(**options),
                rng=random.Random(1),
            )
        self.made.append(made)
        await made.start()
        return made  # type: ignore[no-any-return]  # one of the two


@pytest.fixture(
    params=[
        "memory",
        "embedded",
        "embedded like the real one",
        "nats",
        pytest.param("real", marks=pytest.mark.real_iris),
    ]
)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "memory":
        yield Place("memory", MemoryRelay())
        return
    like_real = request.param == "embedded like the real one"
    options: dict[str, Any] = {"faults": LIKE_REAL} if like_real else {}
    kind = "embedded" if like_real else request.param
    async with iris_relay(kind, **options) as server:
        here = Place(kind, server)
        yield here
        for made in here.made:
            await made.close(drain=0.5)


async def test_a_request_reaches_one_member_and_its_answer_comes_back(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("echo")
    echo = Echo("one")
    await there.join(cluster, echo)
    assert await here.request(cluster, b"hello", SOON) == b"one:hello"
    assert 0 < echo.requests[0].timeout <= SOON


async def test_requests_are_balanced_over_the_members(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("balanced")
    for name in ("one", "two"):
        await there.join(cluster, Echo(name))
    answers = await asyncio.gather(*(here.request(cluster, b"x", SOON) for _ in range(200)))
    assert set(answers) == {b"one:x", b"two:x"}


async def test_a_fault_comes_back_as_its_text(place: Place) -> None:
    here = await place.transport()
    cluster = unique("faulty")
    await here.join(cluster, Echo(faults=True))
    with pytest.raises(RemoteFault) as caught:
        await here.request(cluster, b"luck", SOON)
    assert caught.value.text == "no luck"


async def test_a_cluster_that_never_existed_times_out_and_not_before(place: Place) -> None:
    here = await place.transport()
    began = time.monotonic()
    with pytest.raises(AskTimeout):
        await here.request(unique("nobody"), b"x", 0.2)
    # NATS knows that nobody is there, and says so.
    assert place.kind == "nats" or time.monotonic() - began >= 0.19


async def test_a_request_to_oneself_is_answered_or_times_out(place: Place) -> None:
    here = await place.transport()
    cluster = unique("circle")
    silent = Echo(silent=True)
    await here.join(cluster, silent)
    with pytest.raises(AskTimeout):
        await here.request(cluster, b"to myself", 0.3)
    silent.silent = False
    assert await here.request(cluster, b"again", SOON) == b":again"


async def test_a_request_may_be_cancelled(place: Place) -> None:
    here = await place.transport()
    cluster = unique("slow")
    silent = Echo(silent=True)
    await here.join(cluster, silent)
    asking = asyncio.ensure_future(here.request(cluster, b"x", SOON))
    await silent.arrived.reach(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    silent.requests[0].reply(b"nobody waits")
    silent.silent = False
    assert await here.request(cluster, b"y", SOON) == b":y"


async def test_an_answer_is_given_once(place: Place) -> None:
    here = await place.transport()
    cluster = unique("once")
    silent = Echo(silent=True)
    await here.join(cluster, silent)
    asking = asyncio.ensure_future(here.request(cluster, b"x", SOON))
    await silent.arrived.reach(1)
    assert silent.requests[0].reply(b"first")
    assert not silent.requests[0].reply(b"second")
    assert not silent.requests[0].fail("third")
    assert await asking == b"first"


async def test_who_asked_to_be_called_is_called_once_however_a_request_ends(place: Place) -> None:
    here = await place.transport()
    cluster = unique("told")
    echo = Echo()
    await here.join(cluster, echo)
    ended: list[asyncio.Future[bytes]] = []
    answered = here.request(cluster, b"x", SOON, ended.append)
    assert await answered == b":x"
    assert ended == [answered]
    assert not answered.cancel()
    late = here.request(unique("nobody"), b"x", 0.05, ended.append)
    with pytest.raises(AskTimeout):
        await late
    assert ended == [answered, late]
    echo.silent = True
    given_up = here.request(cluster, b"x", SOON, ended.append)
    await echo.arrived.reach(2)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.sleep(0)
    assert ended == [answered, late, given_up]


async def test_a_broadcast_reaches_every_member_and_ones_own(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("all")
    members = [Echo(), Echo(), Echo()]
    await here.join(cluster, members[0])
    for member in members[1:]:
        await there.join(cluster, member)
    for number in range(100):
        here.broadcast(cluster, b"%d" % number)
    for member in members:
        got = await member.broadcasts.reach(100)
        assert sorted(got, key=int) == [b"%d" % number for number in range(100)]


async def test_what_is_sent_to_nobody_is_no_error(place: Place) -> None:
    here = await place.transport()
    cluster = unique("somebody")
    echo = Echo()
    await here.join(cluster, echo)
    here.broadcast(unique("nobody"), b"x")
    here.publish(unique("nobody"), b"x")
    here.broadcast(cluster, b"still fine")
    assert await echo.broadcasts.reach(1) == [b"still fine"]
    assert here.health().ok


async def test_an_event_reaches_who_listens_from_the_moment_subscribe_returns(
    place: Place,
) -> None:
    here, there = await place.transport(), await place.transport()
    for number in range(10):
        topic = unique(f"topic{number}")
        events, others = Collected(), Collected()
        handles = [
            await here.subscribe(topic, events.add),
            await there.subscribe(topic, others.add),
        ]
        here.publish(topic, b"at once")
        assert await events.reach(1) == [b"at once"]
        assert await others.reach(1) == [b"at once"]
        await handles[0].close()
        await handles[0].close()
        there.publish(topic, b"one is left")
        assert await others.reach(2) == [b"at once", b"one is left"]
        assert events.items == [b"at once"]
        await handles[1].close()


async def test_many_may_listen_to_one_topic_and_come_back_to_it(place: Place) -> None:
    here = await place.transport()
    topic = unique("shared")
    for _ in range(3):
        events = [Collected() for _ in range(5)]
        handles = [await here.subscribe(topic, each.add) for each in events]
        here.publish(topic, b"x")
        for each in events:
            assert await each.reach(1) == [b"x"]
        for handle in handles:
            await handle.close()
    assert here.health().ok


async def test_a_tunnel_keeps_order_both_ways_and_closes_both_ends(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("tunnel")
    echo = Echo()
    await there.join(cluster, echo)
    tunnel = await here.tunnel(cluster, SOON)

    async def write() -> None:
        for number in range(300):
            await tunnel.send(b"%d" % number)

    writing = asyncio.ensure_future(write())
    for number in range(300):
        assert await tunnel.receive() == b"%d" % number
    await writing
    await tunnel.close()
    await tunnel.close()
    await echo.tunnels.reach(1)
    with pytest.raises(TunnelClosed):
        await tunnel.send(b"x")
    with pytest.raises(TunnelClosed):
        await tunnel.receive()


async def test_a_tunnel_carries_what_no_single_packet_does(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("large")
    await there.join(cluster, Echo())
    tunnel = await here.tunnel(cluster, SOON)
    body = random.Random(2).randbytes(9_000_000)
    sending = asyncio.ensure_future(tunnel.send(body))
    assert await tunnel.receive() == body
    await sending
    await tunnel.close()


async def test_what_was_sent_before_a_close_arrives(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("flush")

    class Reader(Echo):
        async def _serve(self, offer: Any) -> None:
            tunnel = await offer.accept()
            self.tunnels.add([body async for body in tunnel])

    reader = Reader()
    await there.join(cluster, reader)
    tunnel = await here.tunnel(cluster, SOON)
    for number in range(500):
        await tunnel.send(b"%d" % number)
    await tunnel.close()
    (got,) = await reader.tunnels.reach(1)
    assert got == [b"%d" % number for number in range(500)]


async def test_a_tunnel_to_nobody_times_out(place: Place) -> None:
    here = await place.transport()
    with pytest.raises(TunnelTimeout):
        await here.tunnel(unique("nobody"), 0.2)


async def test_who_has_left_is_asked_no_more(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("leaving")
    first, second = Echo("first"), Echo("second")
    member = await there.join(cluster, first)
    await there.join(cluster, second)
    await member.leave(drain=SOON)
    await member.leave(drain=SOON)
    answers = await asyncio.gather(*(here.request(cluster, b"x", SOON) for _ in range(50)))
    assert set(answers) == {b"second:x"}
    assert first.lost.items == []


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(place: Place) -> None:
    if place.kind == "memory":
        pytest.skip("the transport in memory has no limit of its own")
    here = await place.transport()
    cluster = unique("limit")
    await here.join(cluster, Echo())
    large = b"x" * (here.max_body + 1)
    with pytest.raises(MessageTooLarge):
        await here.request(cluster, large, SOON)
    for send in (here.broadcast, here.publish):
        with pytest.raises(MessageTooLarge):
            send(cluster, large)
    largest = large[: here.max_body - 1]
    if place.kind == "nats":  # which carries less, and whose relay says how much
        with pytest.raises(RemoteFault, match=r"16777215 bytes .* 104\d{4} bytes"):
            await here.request(cluster, largest, SOON)
        largest = large[:1_040_384]
    assert len(await here.request(cluster, largest, SOON)) == len(largest) + 1


async def test_everything_sent_before_a_close_arrives(place: Place) -> None:
    here, there = await place.transport(), await place.transport()
    cluster = unique("closing")
    member = Echo()
    await there.join(cluster, member)
    for number in range(1000):
        here.broadcast(cluster, b"%d" % number)
    await here.close(drain=SOON)
    await here.close(drain=SOON)
    assert len(await member.broadcasts.reach(1000)) == 1000


async def test_nobody_there_is_told_in_time() -> None:
    async with iris_relay("embedded") as server:
        port = server.port
        await server.kill()
        transport = IrisAddresses("127.0.0.1", port, options=Options(connect_timeout=0.3))
        assert not transport.health().ok
        with pytest.raises(NotConnected):
            await transport.start()
        with pytest.raises(ConnectionLost):
            transport.broadcast("c", b"x")
        with pytest.raises(ConnectionLost):
            await transport.request("c", b"x", SOON)
        await transport.close(drain=0.1)
