"""RDY follows the traffic: one when idle, the window when busy, back when it ebbs."""

from __future__ import annotations

from irismq_runtime.mailbox.consume.adaptive_rdy import AdaptiveRdy
from irismq_runtime.protocols.nsq.records import Rdy
from tests.mailbox.fake import Peer, ScriptedBrokers, turns


def test_a_trickle_keeps_it_at_one():
    adaptive = AdaptiveRdy(1)
    for second in range(100):
        assert not adaptive.received(float(second), ready=1, in_flight=1)
        adaptive.freed_at = second + 0.001
    assert adaptive.value == 1


def test_a_backlog_doubles_it_with_every_round_trip():
    adaptive = AdaptiveRdy(1)
    now = 0.0
    for _ in range(16):
        adaptive.freed_at = now
        now += 0.0002
        adaptive.received(now, ready=adaptive.value, in_flight=adaptive.value)
    assert adaptive.value >= 2**13


def test_what_is_not_granted_does_not_make_it_grow_without_end():
    adaptive = AdaptiveRdy(1)
    now = 0.0
    for _ in range(100):
        adaptive.freed_at = now
        now += 0.0002
        adaptive.received(now, ready=min(adaptive.value, 10), in_flight=10)
    assert adaptive.value <= 16


def test_slow_handlers_that_hold_everything_double_it():
    adaptive = AdaptiveRdy(1)
    assert adaptive.held(1)
    assert adaptive.held(2)
    assert adaptive.value == 4


def test_a_late_chunk_that_is_not_full_lets_it_fall_to_what_is_used():
    adaptive = AdaptiveRdy(64)
    adaptive.received(0.0, ready=64, in_flight=64)
    assert adaptive.received(0.025, ready=64, in_flight=3)
    assert adaptive.value == 3
    assert adaptive.idle(ready=3, in_flight=0)
    assert adaptive.value == 1


def test_without_traffic_one_more_is_asked_for_than_is_held():
    adaptive = AdaptiveRdy(64)
    assert adaptive.idle(ready=64, in_flight=3)
    assert adaptive.value == 4
    assert not adaptive.idle(ready=4, in_flight=3)
    assert not adaptive.idle(ready=4, in_flight=4)  # it may send nothing: no wonder
    assert adaptive.value == 4


async def test_a_new_connection_asks_for_one_and_then_for_as_many_as_handlers_hold():
    world = ScriptedBrokers(adaptive_rdy=True)
    await world.mailbox.start()
    consumption = await world.consume(window=5)
    peer = world.network.consumer()
    number = 0
    for _ in range(4):
        room = peer.of(Rdy)[-1].ready - consumption.in_flight
        peer.push(*range(number, number + room))
        number += room
        await turns()
        await world.pass_time(0.06)
    assert [rdy.ready for rdy in peer.of(Rdy)] == [1, 2, 4, 5]
    for message in world.messages:
        message.finish()
    await world.pass_time(7.0, step=0.5)
    assert peer.of(Rdy)[-1] == Rdy(1)
    await world.close()


async def pushed(world: ScriptedBrokers, peer: Peer, numbers: range, seconds: float) -> None:
    """The broker pushes so many, and then time passes in steps."""
    peer.push(*numbers)
    await turns()
    await world.pass_time(seconds, step=min(seconds, 0.5))


async def test_what_falls_to_what_is_held_grows_again_while_no_handler_returns():
    world = ScriptedBrokers(adaptive_rdy=True)
    await world.mailbox.start()
    consumption = await world.consume(window=64)
    peer = world.network.consumer()
    for number in (1, 2, 4):  # each time full, so that it doubles
        await pushed(world, peer, range(consumption.in_flight, number), 0.06)
    await pushed(world, peer, range(4, 6), 0.02)  # late, and not full: it falls to these
    assert peer.of(Rdy)[-1] == Rdy(6)
    await world.pass_time(0.2)
    assert peer.of(Rdy)[-1] == Rdy(12)
    await world.close()


async def test_a_silent_broker_is_asked_for_one_more_than_is_held():
    world = ScriptedBrokers(adaptive_rdy=True)
    await world.mailbox.start()
    consumption = await world.consume(window=4)
    peer = world.network.consumer()
    for number in (1, 2, 4):
        await pushed(world, peer, range(consumption.in_flight, number), 0.06)
    await world.pass_time(20.0, step=0.5)  # all that may be held is held
    assert [rdy.ready for rdy in peer.of(Rdy)] == [1, 2, 4]
    world.messages[0].finish()
    world.messages[1].finish()
    await world.pass_time(20.0, step=0.5)
    assert [rdy.ready for rdy in peer.of(Rdy)] == [1, 2, 4, 3]
    await world.close()
