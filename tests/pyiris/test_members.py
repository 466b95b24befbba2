from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import MessageTooLarge
from irismq_runtime.protocols.iris.packets import ClientReply, RelayBroadcast, RelayRequest
from irismq_runtime.pyiris import Allowance, IrisAddresses, Limits
from tests.pyiris.scripted import ends, turns

if TYPE_CHECKING:
    from actors.testing import ManualClock
    from tests.pyiris.conftest import Members
    from tests.pyiris.scripted import ScriptedRelay


async def test_a_request_is_answered_once(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayRequest(4, b"body", 1500))
    (request,) = handler.requests
    assert (request.body, request.timeout) == (b"body", 1.5)
    assert request.reply(b"answer")
    assert not request.reply(b"again")
    assert not request.fail("again")
    await turns()
    assert relay.wire.of(ClientReply) == [ClientReply(4, b"answer", None)]
    assert len(member.inbox) == member.inbox.requests.size == 0


async def test_what_cannot_be_an_answer_is_refused_and_the_request_still_waits(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    await connect("svc", handler, limits=Limits(body=100))
    relay.wire.send(RelayRequest(4, b"body", 1500))
    (request,) = handler.requests
    with pytest.raises(ValueError, match="empty"):
        request.reply(b"")
    with pytest.raises(ValueError, match="empty"):
        request.fail("")
    with pytest.raises(MessageTooLarge):
        request.reply(b"x" * 101)
    assert request.fail("too much to say")


async def test_an_answer_that_comes_too_late_is_not_sent(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayRequest(1, b"x", 100))
    clock.advance(0.2)
    assert not handler.requests[0].reply(b"late")
    await turns()
    assert relay.wire.of(ClientReply) == []
    assert member.inbox.expired == 1
    assert len(member.inbox) == member.inbox.requests.count == 0


async def test_an_answer_does_not_go_out_on_another_link(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    member = await connect("svc", handler)
    relay.wire.send(RelayRequest(1, b"x", 60_000))
    relay.wire.cut()
    await turns()
    assert len(member.inbox) == 0
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    assert not handler.requests[0].reply(b"for the old connection")
    await turns()
    assert wire.of(ClientReply) == []


async def test_over_the_allowance_a_request_is_answered_overloaded_at_once(
    connect: Any,
    relay: ScriptedRelay,
    clock: ManualClock,
    handler: Members,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    limits = Limits(requests=Allowance(count=10, size=1000))
    member = await connect("svc", handler, limits=limits)
    for number in range(12):
        relay.wire.send(RelayRequest(number, b"x" * 300, 60_000))
    assert len(handler.requests) == 3, "three of 300 bytes fit into 1000"
    await turns()
    refused = relay.wire.of(ClientReply)
    assert refused == [ClientReply(n, None, "overloaded") for n in range(3, 12)]
    assert member.inbox.requests.refused == 9
    warned = [r for r in caplog.records if "overloaded" in r.getMessage()]
    assert len(warned) == 1, "once a second at most"
    handler.requests[0].reply(b"done")
    relay.wire.send(RelayRequest(99, b"x" * 300, 60_000))
    assert len(handler.requests) == 4, "room again"
    for number in range(200, 220):
        relay.wire.send(RelayRequest(number, b"x", 60_000))
    assert len(handler.requests) == 11, "and by count"


async def test_one_message_larger_than_the_whole_allowance_still_passes_alone(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    await connect("svc", handler, limits=Limits(requests=Allowance(count=10, size=100)))
    relay.wire.send(RelayRequest(1, b"x" * 500, 60_000))
    assert len(handler.requests) == 1


async def test_many_callers_leave_no_state(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    member = await connect("svc", handler)
    for number in range(100_000):
        relay.wire.send(RelayRequest(number, b"x", 60_000))
        handler.requests.pop().reply(b"y")
        if number % 1000 == 0:
            await turns(2)
            relay.wire.received.clear()
    assert len(member.inbox) == member.inbox.requests.count == member.inbox.requests.size == 0


async def test_broadcasts_reach_the_handler(
    connect: Any, relay: ScriptedRelay, handler: Members
) -> None:
    await connect("svc", handler)
    relay.wire.send(RelayBroadcast(b"a"), RelayBroadcast(b"b"))
    assert handler.broadcasts == [b"a", b"b"]


async def test_those_that_joined_first_ask_as_often_as_before(
    relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    """A node is in its own cluster, and in that of all nodes, before any of its actors joins."""
    addresses = IrisAddresses(clock=clock, rng=random.Random(1), dial=relay.dial)
    await ends(addresses.start(), clock)
    members = [await addresses.join(f"svc.{number}", handler) for number in range(300)]
    intervals = [member._connection._heartbeat_interval() for member in members]
    assert intervals[:2] == [5.0, 5.0]
    assert set(intervals[10:]) == {30.0}
    await ends(addresses.close(0.0), clock)


async def test_many_members_ask_their_relay_for_fewer_signs_of_life_each(
    relay: ScriptedRelay, clock: ManualClock, handler: Members
) -> None:
    """One of 500 beats each 50 s: together they are asked as often as 50 of 5 s."""
    addresses = IrisAddresses(clock=clock, rng=random.Random(1), dial=relay.dial)
    await ends(addresses.start(), clock)
    members = [await addresses.join(f"svc.{number}", handler) for number in range(500)]
    clock.advance(60.0)  # those that joined first have found out how many there are
    await turns()
    relay.pings = 0
    for _ in range(100):
        clock.advance(1.0)
        await turns(1)
    assert 400 <= relay.pings <= 600
    for member in members[40:]:
        await ends(member.leave(0.0), clock)
    assert addresses._members_heartbeat(499) == 5.0
    await ends(addresses.close(0.0), clock)
