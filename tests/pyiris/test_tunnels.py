from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import Overloaded
from actors.testing import ManualClock
from irismq_runtime.errors import ConnectionLost, MessageTooLarge, TunnelClosed, TunnelTimeout
from irismq_runtime.protocols.iris.packets import (
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    RelayTunnelClose,
    RelayTunnelConfirm,
    RelayTunnelInit,
    TunnelAllow,
    TunnelTransfer,
)
from irismq_runtime.pyiris import Limits
from irismq_runtime.pyiris.tunnel import Tunnel
from tests.pyiris.scripted import ends, turns

if TYPE_CHECKING:
    from tests.pyiris.conftest import Members
    from tests.pyiris.scripted import ScriptedRelay

WINDOW = 4 * 1024 * 1024


async def opened(iris: Any, relay: ScriptedRelay, *, allow: int = WINDOW) -> tuple[Any, int]:
    """A tunnel that the relay has confirmed, and its id."""
    opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    relay.wire.send(RelayTunnelConfirm(init.id, False, 65536))
    if allow:
        relay.wire.send(TunnelAllow(init.id, allow))
    return await opening, init.id


async def test_both_ends_grant_and_messages_are_cut_and_joined(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay)
    assert await relay.wire.next(TunnelAllow) == TunnelAllow(number, 64 * 1024 * 1024)
    await tunnel.send(b"x" * 70_000)
    await turns()
    first, second = relay.wire.of(TunnelTransfer)
    assert (first.size, len(first.chunk)) == (70_000, 65_536)
    assert (second.size, len(second.chunk)) == (0, 70_000 - 65_536)
    relay.wire.send(TunnelTransfer(number, 5, b"he"), TunnelTransfer(number, 0, b"llo"))
    assert await tunnel.receive() == b"hello"
    assert await relay.wire.next(TunnelAllow) == TunnelAllow(number, 5)


async def test_a_sender_waits_for_room_and_goes_on_when_it_comes(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay, allow=10)
    await tunnel.send(b"0123456789")
    sending = [asyncio.ensure_future(tunnel.send(body)) for body in (b"abcde", b"fgh")]
    await turns()
    assert not any(each.done() for each in sending)
    relay.wire.send(TunnelAllow(number, 5))
    await turns()
    assert [each.done() for each in sending] == [True, False]
    relay.wire.send(TunnelAllow(number, 3))
    await asyncio.gather(*sending)
    await turns()
    assert b"".join(each.chunk for each in relay.wire.of(TunnelTransfer)) == b"0123456789abcdefgh"


async def test_what_a_tunnel_cannot_carry_is_refused_at_the_call(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect(limits=Limits(tunnel=1000))
    tunnel, _ = await opened(iris, relay)
    with pytest.raises(ValueError, match="empty"):
        await tunnel.send(b"")
    with pytest.raises(MessageTooLarge):
        await tunnel.send(b"x" * 1001)
    with pytest.raises(ValueError, match="name"):
        await iris.tunnel("", 1.0)
    with pytest.raises(ValueError, match="timeout"):
        await iris.tunnel("c", 0.0)


async def test_the_timeout_flag_wins_and_no_half_built_tunnel_is_left(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    for confirm in (b"\x01", b"\x00\x00"):  # the flag; no flag, but a chunk limit of zero
        opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
        init = await relay.wire.next(ClientTunnelInit)
        relay.wire.send_bytes(bytes([10, init.id]) + confirm)
        with pytest.raises(TunnelTimeout):
            await opening
        assert len(iris.tunnels) == 0


async def test_our_own_clock_ends_an_opening_and_a_late_confirmation_is_closed(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    assert init.timeout_ms == 1000
    clock.advance(1.01)
    with pytest.raises(TunnelTimeout):
        await opening
    relay.wire.send(RelayTunnelConfirm(init.id, False, 65536), TunnelAllow(init.id, WINDOW))
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(init.id)
    relay.wire.send(RelayTunnelClose(init.id, ""))
    assert iris.tunnels.orphans == 1
    assert len(iris.tunnels) == 0


@pytest.mark.parametrize("confirmed_first", [False, True])
async def test_a_caller_that_goes_leaves_no_end_behind(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, confirmed_first: bool
) -> None:
    iris = await connect()
    opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    if confirmed_first:
        relay.wire.send(RelayTunnelConfirm(init.id, False, 65536))
        opening.cancel()  # its task has not run since
    else:
        opening.cancel()
        await turns()
        relay.wire.send(RelayTunnelConfirm(init.id, False, 65536))
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(init.id)
    relay.wire.send(RelayTunnelClose(init.id, ""))
    assert len(iris.tunnels) == 0


async def test_a_grant_and_a_close_may_overtake_the_confirmation(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    relay.wire.send(TunnelAllow(init.id, WINDOW), RelayTunnelConfirm(init.id, False, 65536))
    tunnel = await opening
    await tunnel.send(b"at once")
    opening = asyncio.ensure_future(iris.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    relay.wire.send(RelayTunnelClose(init.id, "gone"), RelayTunnelConfirm(init.id, False, 65536))
    with pytest.raises(TunnelClosed, match="gone"):
        await opening
    assert len(iris.tunnels) == 1


async def test_both_sides_close_together(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay)
    closing = asyncio.ensure_future(tunnel.close())
    await turns()
    relay.wire.send(RelayTunnelClose(number, ""))
    await closing
    await tunnel.close()
    assert relay.wire.of(ClientTunnelClose) == [ClientTunnelClose(number)]
    assert len(iris.tunnels) == 0
    relay.wire.send(TunnelTransfer(number, 1, b"x"), TunnelAllow(number, 1))
    with pytest.raises(TunnelClosed):
        await tunnel.receive()
    with pytest.raises(TunnelClosed):
        await tunnel.send(b"x")


async def test_a_close_follows_its_data_only_when_the_relay_has_taken_it(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay, allow=100)
    await tunnel.send(b"x" * 60)
    closing = asyncio.ensure_future(tunnel.close())
    await turns()
    relay.wire.send(TunnelAllow(number, 40))
    await turns()
    assert relay.wire.of(ClientTunnelClose) == [], "20 bytes may still be overtaken"
    relay.wire.send(TunnelAllow(number, 20))
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(number)
    relay.wire.send(RelayTunnelClose(number, ""))
    await closing


async def test_a_close_does_not_wait_for_ever(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay, allow=10)
    stuck = asyncio.ensure_future(tunnel.send(b"x" * 20))
    await turns()
    before = clock.monotonic()
    await ends(tunnel.close(), clock)
    assert clock.monotonic() - before <= 4.5
    with pytest.raises(TunnelClosed):
        await stuck
    assert relay.wire.of(ClientTunnelClose) == [ClientTunnelClose(number)]
    assert len(iris.tunnels) == 0


async def test_iteration_ends_with_a_graceful_close_and_fails_with_any_other(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    tunnel, number = await opened(iris, relay)
    relay.wire.send(TunnelTransfer(number, 1, b"a"), TunnelTransfer(number, 1, b"b"))
    relay.wire.send(RelayTunnelClose(number, ""))
    assert [each async for each in tunnel] == [b"a", b"b"]
    tunnel, number = await opened(iris, relay)
    relay.wire.send(TunnelTransfer(number, 1, b"c"), RelayTunnelClose(number, "peer died"))
    got: list[bytes] = []

    async def read() -> None:
        async for each in tunnel:
            got.append(each)

    with pytest.raises(TunnelClosed, match="peer died"):
        await read()
    assert got == [b"c"]


async def test_a_lost_connection_ends_tunnels_and_openings_with_its_outcome(
    connect: Any, relay: ScriptedRelay
) -> None:
    iris = await connect()
    tunnel, _ = await opened(iris, relay)
    reading = asyncio.ensure_future(tunnel.receive())
    opening = asyncio.ensure_future(iris.tunnel("c", 9.0))
    await turns()
    relay.wire.cut()
    with pytest.raises(TunnelClosed) as closed:
        await reading
    assert isinstance(closed.value.__cause__, ConnectionLost)
    with pytest.raises(ConnectionLost):
        await opening
    with pytest.raises(ConnectionLost) as lost:
        await iris.tunnel("c", 1.0)
    assert lost.value.outcome == "not sent"
    await tunnel.close()
    assert len(iris.tunnels) == 0


async def test_a_member_accepts_in_time_or_the_tunnel_is_declined(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayTunnelInit(7, 65536))
    tunnel = await handler.tunnels[0].accept()
    confirm = await relay.wire.next(ClientTunnelConfirm)
    assert confirm.init_id == 7
    with pytest.raises(TunnelClosed):
        await handler.tunnels[0].accept()
    relay.wire.send(TunnelAllow(confirm.tunnel_id, WINDOW))
    await tunnel.send(b"hi")
    relay.wire.send(RelayTunnelInit(8, 65536))
    clock.advance(2.6)
    late = await relay.wire.next(ClientTunnelConfirm)
    assert late.init_id == 8, "an unconfirmed tunnel costs the whole connection after 3 s"
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(late.tunnel_id)
    relay.wire.send(RelayTunnelClose(late.tunnel_id, ""))
    with pytest.raises(TunnelClosed):
        await handler.tunnels[1].accept()
    assert member.tunnels.declined == 1
    assert len(member.tunnels) == 1


async def test_tunnels_over_the_limit_are_refused_at_both_ends(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=Limits(tunnels=1))
    await opened(member, relay)
    with pytest.raises(Overloaded):
        await member.tunnel("c", 1.0)
    relay.wire.send(RelayTunnelInit(7, 65536))
    confirm = await relay.wire.next(ClientTunnelConfirm)
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(confirm.tunnel_id)
    assert handler.tunnels == []


@pytest.mark.parametrize(
    ("size", "chunk"), [(2000, b"x"), (0, b"x"), (5, b"123456"), (1000, b"x" * 1001)]
)
async def test_a_peer_that_breaks_the_rules_loses_this_tunnel_alone(
    connect: Any, relay: ScriptedRelay, size: int, chunk: bytes
) -> None:
    iris = await connect(limits=Limits(tunnel=1000))
    tunnel, number = await opened(iris, relay)
    relay.wire.send(TunnelTransfer(number, size, chunk))
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(number)
    with pytest.raises(TunnelClosed, match="broke the protocol"):
        await tunnel.receive()
    assert iris.health().ok


class PairedLink:
    """Carries the packets of one end to the other, a loop turn later."""

    up = True

    def __init__(self) -> None:
        self.peer: Tunnel | None = None
        self.early: list[Any] = []

    def send(self, packet: Any) -> None:
        asyncio.get_running_loop().call_soon(self.deliver, packet)

    def deliver(self, packet: Any) -> None:
        peer = self.peer
        if peer is None:
            self.early.append(packet)
        elif isinstance(packet, TunnelAllow):
            peer.on_allow(packet.granted)
        elif isinstance(packet, TunnelTransfer):
            peer.on_transfer(packet.size, packet.chunk)

    async def drain(self) -> None:
        pass


@given(
    window=st.integers(1, 300),
    chunk_limit=st.integers(1, 400),
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_no_window_no_chunk_limit_and_no_message_deadlocks(
    window: int, chunk_limit: int, lengths: list[int]
) -> None:
    """A message never larger than the reader's window gets through, whatever went before."""
    messages = [bytes([n % 256]) * min(length, window) for n, length in enumerate(lengths)]

    async def scenario() -> list[bytes]:
        here, there = PairedLink(), PairedLink()
        clock = ManualClock()
        ends_of = [
            Tunnel(
                1,
                connection,  # type: ignore[arg-type]  # stands in for a Connection
                chunk_limit=chunk_limit,
                buffer=window,
                clock=clock,
                on_end=lambda _: None,
            )
            for connection in (here, there)
        ]
        here.peer, there.peer = ends_of[1], ends_of[0]

        async def write() -> None:
            for message in messages:
                await ends_of[0].send(message)

        writing = asyncio.ensure_future(write())
        got = [await asyncio.wait_for(ends_of[1].receive(), 60) for _ in messages]
        await writing
        return got

    assert asyncio.run(scenario()) == messages
