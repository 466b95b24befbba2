"""What all tunnels may hold together, and what strangers may (177)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import Overloaded
from irismq_runtime.embedded.relay.tunnel_room import TunnelRoom
from irismq_runtime.errors import TunnelClosed
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
from irismq_runtime.pyiris.tunnel_memory import TunnelMemory
from tests.pyiris.scripted import turns

if TYPE_CHECKING:
    from tests.pyiris.conftest import Members
    from tests.pyiris.scripted import ScriptedRelay

CHUNK = 65_536
MIB = 1024 * 1024


def limits(**changed: Any) -> Limits:
    """Those of a node, smaller."""
    base = {"tunnel": MIB, "tunnel_message": MIB, "tunnel_bytes": 4 * MIB}
    return Limits(**{**base, "unverified_bytes": 2 * MIB, **changed})


async def accepted(member: Any, relay: ScriptedRelay, handler: Members) -> tuple[Any, int]:
    """A tunnel that a stranger has opened to `member`, and its id."""
    relay.wire.send(RelayTunnelInit(len(handler.tunnels) + 1, CHUNK))
    tunnel = await handler.tunnels[-1].accept()
    return tunnel, (await relay.wire.next(ClientTunnelConfirm)).tunnel_id


async def granted(relay: ScriptedRelay) -> int:
    return (await relay.wire.next(TunnelAllow)).granted


async def test_a_stranger_is_granted_one_chunk_and_the_rest_once_it_is_verified(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits())
    tunnel, number = await accepted(member, relay, handler)
    assert await granted(relay) == CHUNK
    relay.wire.send(TunnelTransfer(number, 5, b"hello"))
    assert await tunnel.receive() == b"hello"
    assert await granted(relay) == 5
    tunnel.verified()
    tunnel.verified()
    assert await granted(relay) == MIB - CHUNK
    await turns()
    assert not relay.wire.of(TunnelAllow)


async def test_a_message_is_refused_by_the_length_that_its_first_chunk_declares(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits())
    tunnel, number = await accepted(member, relay, handler)
    relay.wire.send(TunnelTransfer(number, MIB + 1, b"x"))
    assert await relay.wire.next(ClientTunnelClose) == ClientTunnelClose(number)
    with pytest.raises(TunnelClosed, match="over the limit"):
        await tunnel.receive()
    assert member.tunnels._memory.free == 4 * MIB
    assert member.tunnels._memory.free_unverified == 2 * MIB


async def test_strangers_hold_one_sum_together_and_what_is_over_it_is_refused(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits())
    memory = member.tunnels._memory
    first, one = await accepted(member, relay, handler)
    second, two = await accepted(member, relay, handler)
    relay.wire.send(TunnelTransfer(one, MIB, b"x"))
    relay.wire.send(TunnelTransfer(two, MIB, b"x"))
    assert memory.free_unverified == 0
    relay.wire.send(RelayTunnelInit(9, CHUNK))  # there is no room even for a first chunk
    await turns()
    assert len(handler.tunnels) == 2
    assert member.tunnels.declined == 1
    first.verified()
    second.begin_close()
    relay.wire.send(RelayTunnelClose(two, ""))
    assert memory.free_unverified == 2 * MIB


async def test_a_first_message_without_room_is_an_error_for_its_reader(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits(unverified_bytes=MIB))
    _, one = await accepted(member, relay, handler)
    tunnel, two = await accepted(member, relay, handler)
    relay.wire.send(TunnelTransfer(one, MIB - CHUNK, b"x"))
    relay.wire.send(TunnelTransfer(two, CHUNK + 1, b"y" * CHUNK), TunnelTransfer(two, 0, b"y"))
    with pytest.raises(Overloaded, match="no room"):
        await tunnel.receive()
    relay.wire.send(TunnelAllow(two, 5))
    await tunnel.send(b"sorry")  # and it can be told


async def test_all_tunnels_hold_one_sum_together_over_both_directions(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits())
    held = [await accepted(member, relay, handler) for _ in range(3)]
    for tunnel, _ in held:
        tunnel.verified()
    opening = asyncio.ensure_future(member.tunnel("c", 1.0))
    init = await relay.wire.next(ClientTunnelInit)
    with pytest.raises(Overloaded, match="tunnel_bytes"):
        await member.tunnel("c", 1.0)
    relay.wire.send(RelayTunnelInit(9, CHUNK))
    await turns()
    assert member.tunnels.declined == 1
    relay.wire.send(RelayTunnelConfirm(init.id, True, None))
    with pytest.raises(Exception, match="c"):
        await opening
    await accepted(member, relay, handler)  # what was set aside for it is free again


async def test_what_a_closed_tunnel_holds_counts_until_it_is_read_or_dropped(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler, limits=limits())
    memory = member.tunnels._memory
    tunnel, number = await accepted(member, relay, handler)
    relay.wire.send(TunnelTransfer(number, 5, b"hello"), TunnelTransfer(number, 3, b"abc"))
    relay.wire.send(RelayTunnelClose(number, ""))
    assert memory.free == 4 * MIB - 8
    assert await tunnel.receive() == b"hello"
    assert memory.free == 4 * MIB - 3
    handler.tunnels.clear()
    del tunnel
    assert memory.free == 4 * MIB
    assert memory.free_unverified == 2 * MIB


async def test_a_window_grows_for_one_long_message_and_shrinks_again(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    sizes = {"tunnel": 4 * MIB, "tunnel_message": 4 * MIB, "tunnel_bytes": 6 * MIB}
    member = await connect("svc", handler, limits=Limits(**sizes))
    memory = member.tunnels._memory
    tunnel, number = await accepted(member, relay, handler)
    first = await granted(relay)
    before = memory.free
    body = b"x" * (2 * MIB)
    pieces = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
    relay.wire.send(TunnelTransfer(number, len(body), pieces[0]))
    assert first + await granted(relay) == len(body)
    relay.wire.send(*(TunnelTransfer(number, 0, piece) for piece in pieces[1:]))
    assert await tunnel.receive() == body
    assert memory.free == before
    assert await granted(relay) == first


moves = st.lists(
    st.tuples(st.sampled_from(["open", "grow", "verify", "shrink", "close"]), st.integers(0, 2000)),
    max_size=60,
)


def change(window: Any, move: str, number: int) -> None:
    if move == "grow" and number > window.size:
        window.grow(number)
    elif move == "verify":
        window.verify()
    elif move == "shrink":
        window.shrink(max(0, min(number, window.size - window.base)))
    elif move == "close":
        window.close(number)


@given(moves=moves, verifies=st.booleans())
def test_whatever_happens_the_sums_are_kept_and_all_comes_back(
    moves: list[tuple[str, int]], verifies: bool
) -> None:
    memory = TunnelMemory(5000, least=700, most=1500, unverified=2000 if verifies else None)
    windows: list[Any] = []
    for move, number in moves:
        if move == "open" and (window := memory.open()) is not None:
            windows.append(window)
        elif windows:
            change(windows[number % len(windows)], move, number)
        assert memory.free + sum(each.lent for each in windows) == 5000
        assert memory.free >= 0
        assert all(each.size <= each.lent for each in windows)
        if verifies:
            unverified = sum(each.size for each in windows if not each.verified)
            assert memory.free_unverified + unverified == 2000
            assert memory.free_unverified >= 0
    for window in windows:
        window.close()
    assert memory.free == 5000


def test_a_relay_lends_what_it_has_and_no_more() -> None:
    room = TunnelRoom(8 * MIB)
    lent = []
    while size := room.lend():
        lent.append(size)
    assert sum(lent) + room.free == 8 * MIB
    assert min(lent) == CHUNK
    assert len(lent) > 60
    room.give_back(lent.pop())
    assert room.lend() == CHUNK


def test_the_first_senders_have_the_allowance_of_a_real_relay() -> None:
    room = TunnelRoom(256 * MIB)
    assert [room.lend() for _ in range(17)] == [4 * MIB] * 17
    assert room.lend() < 4 * MIB
