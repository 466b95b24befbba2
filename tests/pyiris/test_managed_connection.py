from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.events import Events
from irismq_runtime.errors import ConnectionLost, NotConnected
from irismq_runtime.protocols.iris.packets import (
    RELAY_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelInit,
    Deny,
    RelayBroadcast,
    RelayClose,
    RelayInit,
    RelayReply,
    RelayRequest,
    RelayTunnelConfirm,
    Subscribe,
)
from irismq_runtime.pyiris import IrisAddresses, ManagedConnection, Options
from tests.pyiris.conftest import Members
from tests.pyiris.scripted import ends, turns

if TYPE_CHECKING:
    from actors.testing import ManualClock
    from tests.pyiris.scripted import ScriptedRelay


def unstarted(relay: ScriptedRelay, clock: ManualClock, **options: Any) -> ManagedConnection:
    return ManagedConnection(
        options=Options(**options), clock=clock, rng=random.Random(1), dial=relay.dial
    )


async def test_nothing_is_sent_before_the_relay_has_answered_init(
    relay: ScriptedRelay, clock: ManualClock
) -> None:
    relay.greets = False
    iris = unstarted(relay, clock)
    starting = asyncio.ensure_future(iris.start())
    await turns()
    with pytest.raises(ConnectionLost):
        iris.broadcast("c", b"x")
    assert [type(each) for each in relay.wire.received] == [ClientInit]
    relay.wire.send(RelayInit(RELAY_MAGIC, VERSION))
    await starting
    assert iris.health().ok
    await ends(iris.close(0), clock)


async def test_nobody_answers_is_told_in_time_and_leaves_nothing(
    relay: ScriptedRelay, clock: ManualClock
) -> None:
    relay.down = ConnectionRefusedError("refused by the test")
    iris = unstarted(relay, clock, connect_timeout=3.0)
    before = clock.monotonic()
    with pytest.raises(NotConnected, match=r"refused by the test.*see that a relay runs there"):
        await ends(iris.start(), clock, step=0.1)
    assert 3.0 <= clock.monotonic() - before <= 3.3
    assert relay.dials > 3, "tried again meanwhile"
    assert clock.pending == 0


async def test_whatever_dialling_raises_the_next_attempt_comes(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.down = UnicodeError("label too long")
    relay.wire.cut()
    await turns()
    for _ in range(10):
        clock.advance(0.5)
        await turns()
    assert "label too long" in iris.health().reason
    relay.down = None
    for _ in range(10):
        clock.advance(1.0)
        await turns()
    assert iris.health().ok


async def test_a_dial_that_hangs_is_given_up(relay: ScriptedRelay, clock: ManualClock) -> None:
    began: list[object] = []
    cancelled: list[object] = []

    async def hang(factory: object) -> None:
        began.append(factory)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(factory)

    iris = ManagedConnection(
        options=Options(connect_timeout=1.0), clock=clock, rng=random.Random(1), dial=hang
    )
    with pytest.raises(NotConnected, match="no answer within 1 s"):
        await ends(iris.start(), clock)
    assert began
    assert len(began) == len(cancelled)
    assert clock.pending == 0
    patient = ManagedConnection(
        options=Options(connect_timeout=10.0), clock=clock, rng=random.Random(1), dial=hang
    )
    began.clear()
    with pytest.raises(NotConnected, match="no connection within 3 s"):
        await ends(patient.start(), clock)
    assert len(began) >= 3, "an attempt that hangs does not use up the time of the others"


async def test_a_silent_listener_is_no_relay(relay: ScriptedRelay, clock: ManualClock) -> None:
    relay.greets = False
    iris = unstarted(relay, clock, connect_timeout=3.0)
    with pytest.raises(NotConnected):
        await ends(iris.start(), clock)
    assert clock.pending == 0


# Case 197.
async def test_a_relay_that_greets_late_is_not_dialled_again_and_again(
    relay: ScriptedRelay, clock: ManualClock, connect: Any
) -> None:
    iris = await connect()
    relay.greets = False
    (await relay.next_wire(1)).cut()
    before = relay.dials
    for _ in range(300):  # 30 s, in which every 3.5 s would be one more
        clock.advance(0.1)
        await turns()
    assert relay.dials - before <= 4
    relay.greets = True
    for _ in range(300):
        clock.advance(0.1)
        await turns()
    assert iris.health().ok


async def test_a_refusal_is_told_at_once(relay: ScriptedRelay, clock: ManualClock) -> None:
    relay.greets = False
    iris = unstarted(relay, clock)
    starting = asyncio.ensure_future(iris.start())
    await turns()
    relay.wire.send(Deny(RELAY_MAGIC, "version v1.0-draft2 is not v2"))
    with pytest.raises(NotConnected, match="v2"):
        await starting
    assert relay.dials == 1


@pytest.mark.parametrize(
    ("hello", "named"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"), (b"\x00\x00\x00\x0a\x00", "nsqd")],
)
async def test_another_server_on_the_port_is_named(
    relay: ScriptedRelay, clock: ManualClock, hello: bytes, named: str
) -> None:
    relay.greets = False
    iris = unstarted(relay, clock)
    starting = asyncio.ensure_future(iris.start())
    await turns()
    relay.wire.send_bytes(hello)
    with pytest.raises(NotConnected, match=named):
        await starting
    assert clock.pending == 0


async def test_everything_comes_back_by_itself(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    events: list[bytes] = []
    for topic in ("a", "b", "c"):
        await ends(member.listen(topic, events.append), clock)
    asks = [member.request("other", b"x", 5.0) for _ in range(100)]
    await turns()
    relay.wire.cut()
    await turns()
    assert all(isinstance(ask.exception(), ConnectionLost) for ask in asks)
    assert {ask.exception().outcome for ask in asks} == {"unknown"}
    assert len(handler.lost) == 1
    assert not member.health().ok
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    assert wire.of(ClientInit)[0].cluster == "svc"
    assert sorted(each.topic for each in wire.of(Subscribe)) == ["a", "b", "c"]
    assert handler.joined == 2
    assert len(handler.lost) == 1
    assert member.health().ok
    wire.send(RelayRequest(1, b"hello", 1000))
    assert handler.requests[0].reply(b"back")
    assert await wire.next(ClientReply) == ClientReply(1, b"back", None)


async def test_reconnects_grow_apart_and_a_link_that_does_not_hold_resets_nothing(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    await connect()
    dialled: list[float] = []
    for number in range(2, 12):
        relay.wire.cut()
        await turns()
        before = clock.monotonic()
        while relay.dials < number:
            clock.advance(0.05)
            await turns()
        dialled.append(clock.monotonic() - before)
    assert dialled[0] <= 0.11
    assert dialled[-1] > 2.4, "the delay grows though each connection stood for a moment"
    assert max(dialled) <= 5.1
    clock.advance(6.0)
    relay.wire.cut()
    await turns()
    clock.advance(0.11)
    await turns()
    assert relay.dials == 12, "a connection that held starts again at the first delay"


async def test_a_silent_relay_is_dropped_and_a_busy_one_is_not_asked(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(heartbeat=5.0)
    for _ in range(4):
        relay.wire.send(RelayReply(0, True, None, None))
        clock.advance(5.0)
        await turns()
    assert relay.pings == 0
    clock.advance(5.0)
    await turns()
    assert relay.pings == 1
    clock.advance(5.0)
    await turns()
    assert iris.health().ok, "it answered"
    relay.answers_pings = False
    reply = iris.request("c", b"x", 60.0)
    for _ in range(3):
        clock.advance(5.0)
        await turns()
    assert relay.wires[0].lost
    with pytest.raises(ConnectionLost, match="said nothing"):
        await reply


async def test_everything_is_written_before_the_close(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    for number in range(1000):
        iris.broadcast("c", b"%d" % number)
    await ends(iris.close(1.0), clock)
    kinds = [type(each) for each in relay.wire.received]
    assert kinds.count(ClientBroadcast) == 1000
    assert kinds[-1] is ClientClose
    assert relay.pings == 1, "a round trip proves that all was read before the close"


async def test_a_leaver_answers_first_and_refuses_what_is_new(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayRequest(1, b"at hand", 60_000))
    leaving = asyncio.ensure_future(member.close(10.0))
    await turns()
    relay.wire.send(RelayRequest(2, b"new", 60_000))
    assert await relay.wire.next(ClientReply) == ClientReply(2, None, "leaving")
    assert relay.wire.of(ClientClose) == []
    assert handler.requests[0].reply(b"done")
    await ends(leaving, clock)
    kinds = [type(each) for each in relay.wire.received]
    assert kinds.index(ClientReply) < kinds.index(ClientClose)
    assert handler.lost == [], "leaving is no loss"


async def test_a_leaver_takes_a_request_and_the_relays_close_in_one_read(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayRequest(1, b"at hand", 60_000))
    leaving = asyncio.ensure_future(member.close(10.0))
    await turns()
    relay.wire.send(RelayRequest(2, b"new", 60_000), RelayClose(""))
    await ends(leaving, clock)
    assert member.inbox.turned_away == 1


async def test_a_close_waits_for_our_own_requests_but_not_for_ever(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    answered, silent = iris.request("c", b"1", 60.0), iris.request("c", b"2", 60.0)
    request = await relay.wire.next(ClientRequest)
    closing = asyncio.ensure_future(iris.close(2.0))
    await turns()
    relay.wire.send(RelayReply(request.id, False, b"in time", None))
    assert await answered == b"in time"
    before = clock.monotonic()
    await ends(closing, clock)
    assert clock.monotonic() - before <= 2.5
    with pytest.raises(ConnectionLost) as caught:
        await silent
    assert caught.value.outcome == "unknown"


async def test_a_relay_that_does_not_answer_a_close_is_left(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.says_goodbye = relay.answers_pings = False
    before = clock.monotonic()
    await ends(iris.close(0.5), clock)
    await iris.close(0.5)
    assert clock.monotonic() - before <= 3.0
    assert relay.wire.lost
    assert iris.request("c", b"x", 1.0).exception() is not None


async def test_a_closed_connection_does_not_come_back(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.down = ConnectionRefusedError("down")
    relay.wire.cut()
    await turns()
    await ends(iris.close(5.0), clock)
    relay.down = None
    dials = relay.dials
    clock.advance(60.0)
    await turns()
    assert relay.dials == dials
    assert clock.pending == 0


async def test_a_close_by_the_relay_is_a_loss_with_its_reason(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    await connect("svc", handler)
    relay.wire.send(RelayClose("maintenance"))
    await turns()
    assert handler.lost == ["maintenance"]


async def test_between_the_relays_close_and_the_end_nothing_raises(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    opening = asyncio.ensure_future(member.tunnel("c", 5.0))
    init = await relay.wire.next(ClientTunnelInit)
    relay.wire.send(RelayTunnelConfirm(init.id, False, 65536), RelayRequest(1, b"x", 1000))
    tunnel = await opening
    relay.wire.send(RelayClose("bye"))
    assert not handler.requests[0].reply(b"too late")
    asked = member.request("c", b"y", 5.0)
    tunnel.begin_close()
    with pytest.raises(ConnectionLost):
        member.broadcast("c", b"z")
    await turns()
    assert handler.lost == ["bye"]
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    (again,) = wire.of(ClientRequest)
    wire.send(RelayReply(again.id, False, b"kept for the next connection", None))
    assert await asked == b"kept for the next connection"


async def test_a_connection_is_used_once(connect: Any) -> None:
    iris = await connect()
    with pytest.raises(RuntimeError, match="once"):
        await iris.start()


async def test_a_name_that_iris_cannot_carry_is_refused() -> None:
    for name in ("\ud800", "x" * 1025):
        with pytest.raises(ValueError, match=r"UTF-8|at most"):
            ManagedConnection(cluster=name)


async def test_what_breaks_the_protocol_ends_the_link_after_what_came_whole(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    await connect("svc", handler)
    relay.wire.send_bytes(b"\x03\x02hi\xff")
    await turns()
    assert handler.broadcasts == [b"hi"]
    assert "broke the protocol" in handler.lost[0]


async def test_a_failing_handler_ends_nothing(
    connect: Any, relay: ScriptedRelay, handler: Members, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Any) -> None:
        raise KeyError("mine")

    handler.on_request = handler.on_broadcast = fails  # type: ignore[method-assign]  # on purpose
    member = await connect("svc", handler)
    relay.wire.send(RelayBroadcast(b"b"), RelayRequest(1, b"r", 1000))
    assert await relay.wire.next(ClientReply) == ClientReply(1, None, "KeyError: 'mine'")
    assert member.health().ok
    assert "handler of broadcasts failed" in caplog.text


async def test_many_losses_are_one_line(
    relay: ScriptedRelay, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    transport = IrisAddresses(clock=clock, rng=random.Random(1), dial=relay.dial)
    await transport.start()
    for number in range(50):
        await transport.join(f"c{number}", Members())
    for _ in range(2):
        for wire in list(relay.wires):
            wire.cut()
        await turns()
        clock.advance(0.2)
        await turns()
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(lines) == 1, "one line a second for all connections of a transport"
    await ends(transport.close(0), clock)
    assert clock.pending == 0


async def test_events_tell_of_links(relay: ScriptedRelay, clock: ManualClock) -> None:
    events = Events()
    seen: list[str] = []
    events.subscribe(lambda event: seen.append(event.name))
    iris = ManagedConnection(clock=clock, rng=random.Random(1), dial=relay.dial, events=events)
    await iris.start()
    relay.wire.cut()
    await turns()
    clock.advance(0.2)
    await relay.next_wire(2)
    assert seen == ["iris.connected", "iris.lost", "iris.connected"]
    await ends(iris.close(0), clock)
