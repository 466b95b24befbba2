"""Consuming: leases, settlement, slow-down, orderly stop, on a scripted broker."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from irismq_runtime.mailbox.consume.consumer import Consumer
from irismq_runtime.protocols.nsq import HEARTBEAT_FRAME, encode_error, encode_message
from irismq_runtime.protocols.nsq.records import Cls, Dpub, Fin, Identify, Nop, Pub, Rdy, Req, Touch
from tests.mailbox.fake import ScriptedBrokers, message_id, settlements, turns


async def consuming(
    *ports: int, window: int = 10, **options: Any
) -> tuple[ScriptedBrokers, Any, Any]:
    world = ScriptedBrokers(*ports, **options)
    await world.mailbox.start()
    consumption = await world.consume(window)
    return world, consumption, world.network.consumer()


async def settle(world: ScriptedBrokers, consumption: Any) -> None:
    """Finish what is left, so that stopping has nothing to wait for."""
    for message in world.messages:
        message.finish()
    await turns()


async def test_it_asks_for_a_short_lease_and_for_the_window():
    world, _, peer = await consuming(window=42)
    identify = peer.of(Identify)[0]
    assert b'"msg_timeout": 15000' in identify.body
    assert peer.of(Rdy) == [Rdy(42)]
    await world.close()


@pytest.mark.parametrize(
    ("lease", "asked"), [(1.0, 1000), (3.5, 3500), (5.0, 5000), (15.0, 5000), (60.0, 5000)]
)
async def test_a_consumer_is_beaten_for_at_least_once_a_lease(lease: float, asked: int):
    """nsqd drops who misses two beats: before a stopped process has used up all attempts."""
    world, _, peer = await consuming(msg_timeout=lease)
    assert b'"heartbeat_interval": %d' % asked in peer.of(Identify)[0].body
    publisher = world.network.publisher()
    assert publisher is not None
    assert b'"heartbeat_interval": 5000' in publisher.of(Identify)[0].body
    await world.close()


async def test_one_of_thousands_of_consumers_is_beaten_for_as_seldom_as_its_lease_allows():
    world, _, _ = await consuming()
    context = world.mailbox._context
    assert context.consumers == 1
    for consumers, asked in ((50, 5.0), (100, 10.0), (1000, 15.0), (4000, 15.0)):
        context.consumers = consumers
        assert context.heartbeat(world.network.consumer().endpoint, ("t", "c")) == asked
        assert context.heartbeat(world.network.consumer().endpoint, None) == 5.0
    await world.close()


async def test_a_consumer_that_waits_is_left_alone_and_one_that_holds_a_message_is_not():
    world, consumption, peer = await consuming(msg_timeout=15.0)
    looked = []
    consumption._why_stuck, real = lambda now: looked.append(now) or "", consumption._why_stuck
    await world.pass_time(20.0, step=0.5)
    assert len(looked) <= 5
    looked.clear()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    await world.pass_time(10.0, step=0.5)
    assert len(looked) >= 9
    assert peer.of(Touch)
    consumption._why_stuck = real
    await settle(world, consumption)
    await world.close()


async def test_what_one_loop_turn_settles_is_one_write():
    world, consumption, peer = await consuming()
    peer.push(*range(10))
    await world.network.until(lambda: len(world.messages) == 10)
    assert consumption.in_flight == 10
    before = len(peer.writes)
    for message in world.messages[:9]:
        assert message.finish()
    world.messages[9].requeue(2.5)
    assert consumption.in_flight == 0
    await turns()
    assert len(peer.writes) == before + 1
    assert [command.id for command in peer.of(Fin)] == [message_id(n) for n in range(9)]
    assert peer.of(Req) == [Req(message_id(9), 2500)]
    await world.close()


async def test_a_message_says_what_the_broker_said():
    world, _, peer = await consuming()
    peer.push(7, attempts=3, stamp=1_700_000_000_500_000_000)
    message = await world.network.until(lambda: world.messages and world.messages[0])
    assert (message.body, message.attempts, message.timestamp) == (b"7", 3, 1_700_000_000.5)
    assert message.id == message_id(7).decode()
    assert message.lease_lost is False
    await settle(world, None)
    await world.close()


async def test_exactly_one_settlement_takes_effect():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    message = world.messages[0]
    assert message.finish()
    assert not message.finish()
    assert not message.requeue()
    assert not message.bury("t.dead", b"record")
    await turns()
    assert settlements(peer) == [Fin(message_id(1))]
    await world.close()


async def test_requeue_delays_grow_are_jittered_and_clamped():
    world, _, peer = await consuming(backoff_after=1000)
    for attempts in (1, 2, 3, 60_000):
        peer.push(attempts, attempts=attempts)
    await world.network.until(lambda: len(world.messages) == 4)
    for message in world.messages:
        message.requeue()
    await turns()
    delays = [command.delay_ms for command in peer.of(Req)]
    for delay, (least, most) in zip(
        delays, [(500, 1000), (1000, 2000), (2000, 4000), (450_000, 900_000)], strict=True
    ):
        assert least <= delay <= most
    peer.push(9)
    await world.network.until(lambda: len(world.messages) == 5)
    world.messages[4].requeue(36_000.0)
    await turns()
    assert peer.of(Req)[-1].delay_ms == 3_600_000
    await world.close()


async def test_bury_stores_the_record_and_only_then_finishes():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    assert world.messages[0].bury("t.dead", b"record")
    await turns()
    publisher = world.network.publisher()
    assert publisher.of(Pub) == [Pub("t.dead", b"record")]
    assert settlements(peer) == []
    publisher.ok()
    await turns()
    assert settlements(peer) == [Fin(message_id(1))]
    await world.close()


async def test_a_record_that_cannot_be_stored_sends_the_message_back():
    world, _, peer = await consuming(publish_timeout=2.0)
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    world.messages[0].bury("t.dead", b"record")
    world.messages[1].bury("t.dead", bytes(2_000_000))  # refused at once
    await turns()
    assert [command.id for command in peer.of(Req)] == [message_id(2)]
    await world.pass_time(2.1)
    assert [command.id for command in peer.of(Req)] == [message_id(2), message_id(1)]
    assert peer.of(Fin) == []
    await world.close()


async def test_a_buried_message_is_touched_until_its_record_is_stored():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    world.messages[0].bury("t.dead", b"record")
    await world.pass_time(9.0, step=0.5)
    assert peer.of(Touch) == [Touch(message_id(1))]
    world.network.publisher().ok()
    await turns()
    await world.close()


async def test_what_is_not_due_is_stored_again_in_hops():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    assert world.messages[0].defer(7200.0)
    await turns()
    publisher = world.network.publisher()
    assert publisher.of(Dpub) == [Dpub("t", 3_600_000, b"1")]
    publisher.ok()
    await turns()
    assert settlements(peer) == [Fin(message_id(1))]
    await world.close()


async def test_one_of_several_copies_stays_one_at_its_broker_when_it_is_not_due():
    ports = (4150, 4250)
    world, _, _ = await consuming(*ports, copies=2)
    await world.network.until(lambda: all(map(world.network.consumer, ports)))
    peers = [world.network.consumer(port) for port in ports]
    publishers = [world.network.publisher(port) for port in ports]
    for peer in peers:
        peer.push(1)
    await world.network.until(lambda: len(world.messages) == 2)
    for message in world.messages:
        assert message.defer(7200.0)
    await turns()
    stored = [publisher.of(Dpub) for publisher in publishers]
    assert stored == [[Dpub("t", 3_600_000, b"1")]] * 2
    for publisher in publishers:
        publisher.ok()
    await turns()
    assert [settlements(peer) for peer in peers] == [[Fin(message_id(1))]] * 2
    await world.close()


async def test_a_receiver_that_raises_gets_the_message_requeued(caplog: pytest.LogCaptureFixture):
    world = ScriptedBrokers()
    await world.mailbox.start()

    def broken(message: Any) -> None:
        raise RuntimeError("receiver broke")

    await world.mailbox.consume("t", "c", broken, window=3)
    peer = await world.network.until(world.network.consumer)
    await turns()
    with caplog.at_level(logging.ERROR):
        peer.push(1, 2)
        await world.network.until(lambda: len(peer.of(Req)) == 2)
    assert "receiver broke" in caplog.text
    assert len([r for r in caplog.records if "receiver of t" in r.message]) == 1  # case 125
    await world.close()


# Leases ----------------------------------------------------------------------


async def test_waiting_and_running_messages_are_touched():
    world, consumption, peer = await consuming(window=100)
    peer.push(*range(100))
    await world.network.until(lambda: len(world.messages) == 100)
    consumption.claim(world.messages[0])
    for message in world.messages:
        await world.pass_time(1.0, step=0.5)
        assert message.finish()
    assert {message.lease_lost for message in world.messages} == {False}
    # The last one waited 99 s under a lease of 15 s.
    assert len([touch for touch in peer.of(Touch) if touch.id == message_id(99)]) >= 99 // 9
    await world.close()


async def test_near_the_maximum_the_handler_is_told_and_the_redelivery_is_its_own():
    world = ScriptedBrokers(msg_timeout=3.0)
    world.network.terms["max_msg_timeout"] = 6000
    await world.mailbox.start()
    consumption = await world.consume(window=1)
    peer = world.network.consumer()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    message = world.messages[0]
    told = []
    message.on_lease_lost = lambda: told.append(world.clock.monotonic())
    start = world.clock.monotonic()
    assert consumption.claim(message)
    await world.pass_time(6.0)
    assert len(told) == 1
    assert 5.0 < told[0] - start < 6.0
    assert message.lease_lost
    assert peer.of(Rdy)[-1] == Rdy(0)  # it holds a place although the broker counts none
    peer.push(1, attempts=2)
    await turns()
    assert world.messages == [message]  # no second run, and no second attempt
    assert message.attempts == 1
    assert peer.of(Rdy)[-1] == Rdy(1)
    await world.pass_time(4.0)
    assert message.finish()
    await turns()
    assert peer.of(Fin) == [Fin(message_id(1))]
    await world.close()


async def test_a_run_that_ends_before_the_redelivery_finishes_it_unseen():
    world = ScriptedBrokers(msg_timeout=3.0)
    world.network.terms["max_msg_timeout"] = 6000
    await world.mailbox.start()
    consumption = await world.consume(window=1)
    peer = world.network.consumer()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    consumption.claim(world.messages[0])
    await world.pass_time(6.0)
    assert not world.messages[0].finish()  # nobody can promise that this counts
    assert consumption.in_flight == 0
    peer.push(1, attempts=2)
    await turns()
    assert len(world.messages) == 1
    assert peer.of(Fin) == [Fin(message_id(1))] * 2
    await world.close()


async def test_another_message_with_the_same_broker_id_is_another_message():
    world, _, peer = await consuming()
    peer.push(1, stamp=111)
    await world.network.until(lambda: world.messages)
    world.messages[0].finish()
    peer.push(1, attempts=2, stamp=222)
    await world.network.until(lambda: len(world.messages) == 2)
    await settle(world, None)
    await world.close()


async def test_a_lost_connection_takes_the_leases_with_it():
    world, consumption, peer = await consuming()
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    running, waiting = world.messages
    assert consumption.claim(running)
    peer.transport.abort()
    await turns()
    assert running.lease_lost
    assert waiting.lease_lost
    assert not consumption.claim(waiting)
    assert not waiting.finish()
    assert consumption.in_flight == 1
    await world.pass_time(1.0)
    again = world.network.consumer()
    assert again.of(Rdy) == [Rdy(9)]
    again.push(1, 2, attempts=2)
    await turns()
    assert len(world.messages) == 3  # the waiting one is new, the running one goes on
    assert running.finish()
    world.messages[2].finish()
    await turns()
    assert [fin.id for fin in again.of(Fin)] == [message_id(1), message_id(2)]
    await world.close()


async def test_a_finish_lost_with_the_connection_is_repeated_unseen():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    world.messages[0].finish()
    peer.transport.abort()
    await world.pass_time(1.0)
    again = world.network.consumer()
    again.push(1, attempts=2)
    await turns()
    assert len(world.messages) == 1
    assert again.of(Fin) == [Fin(message_id(1))]
    await world.close()


async def test_a_handler_may_settle_while_it_is_told_that_its_lease_is_lost():
    world, consumption, peer = await consuming()
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    for message, settle_it in zip(world.messages, ("requeue", "finish"), strict=True):
        consumption.claim(message)
        message.on_lease_lost = getattr(message, settle_it)
    peer.transport.abort()
    await turns()
    assert consumption.in_flight == 0
    await world.pass_time(1.0)
    again = world.network.consumer()
    assert again.of(Rdy) == [Rdy(10)]  # nothing holds a place any more
    again.push(1, 2, attempts=2)
    await turns()
    assert [message.body for message in world.messages] == [b"1", b"2", b"1"]
    world.messages[2].finish()
    await world.close()


async def test_a_callback_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture):
    world, consumption, peer = await consuming()
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    for message in world.messages:
        message.on_lease_lost = lambda: 1 / 0
    peer.transport.abort()
    await turns()
    assert consumption.in_flight == 0
    assert "on_lease_lost" in caplog.text
    await world.close()


async def test_after_a_stall_the_leases_are_lost_and_it_consumes_again():
    world, consumption, peer = await consuming()
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    consumption.claim(world.messages[0])
    world.clock._now += 16.0  # SIGSTOP: no beat ran meanwhile
    world.clock.advance(0.0)
    await turns()
    assert [message.lease_lost for message in world.messages] == [True, True]
    peer.transport.abort()  # nsqd had closed long ago
    await world.pass_time(5.0)
    again = world.network.consumer()
    again.push(3)
    await world.network.until(lambda: len(world.messages) == 3)
    world.messages[0].finish()
    world.messages[2].finish()
    await world.close()


async def test_the_wall_clock_matters_to_nothing():
    world, _, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    for jump in (3600.0, -7200.0):
        world.clock.wall += jump
        await world.pass_time(3.0, step=0.5)
    assert peer.alive
    assert not world.messages[0].lease_lost
    await settle(world, None)
    await world.close()


async def test_a_lease_longer_than_the_broker_grants_is_asked_for_again():
    world = ScriptedBrokers(msg_timeout=15.0)
    world.network.terms.update(max_msg_timeout=6000, msg_timeout=60_000)
    task = asyncio.ensure_future(world.mailbox.start())
    await world.pass_time(1.0)
    await task
    await world.mailbox.consume("t", "c", world.messages.append, window=1)
    await world.pass_time(1.0)
    peer = world.network.consumer()
    assert b'"msg_timeout": 6000' in peer.of(Identify)[0].body
    await world.close()


# The broker's side -----------------------------------------------------------


async def test_heartbeats_are_answered():
    world, _, peer = await consuming()
    for _ in range(3):
        peer.heartbeat()
        await turns()
    assert len(peer.of(Nop)) == 3
    await world.close()


async def test_what_looks_like_a_heartbeat_within_a_message_is_a_part_of_it():
    world, _, peer = await consuming()
    body = HEARTBEAT_FRAME * 3
    data = encode_message(1, 1, message_id(1), body)
    cut = len(data) - len(HEARTBEAT_FRAME)
    for piece in (data[: cut - len(HEARTBEAT_FRAME)], HEARTBEAT_FRAME, data[cut:]):
        peer.send(piece)
        await turns()
    assert [message.body for message in world.messages] == [body]
    assert not peer.of(Nop)
    await world.close()


async def test_a_silent_broker_is_left():
    world, consumption, peer = await consuming(heartbeat=5.0)
    world.network.mute = True
    await world.pass_time(13.0, step=0.5)
    assert not peer.alive
    assert "no heartbeat" in consumption.health().reason
    world.network.mute = False
    await world.pass_time(1.0)
    assert consumption.health().ok
    await world.close()


async def test_a_silent_broker_is_left_sooner_by_who_has_a_short_lease():
    world, _, peer = await consuming(heartbeat=5.0, msg_timeout=2.0)
    publisher = world.network.publisher()
    assert publisher is not None
    world.network.mute = True
    await world.pass_time(5.5, step=0.5)
    assert not peer.alive
    assert publisher.alive
    await world.close()


async def test_refused_settlements_do_not_end_the_connection(caplog: pytest.LogCaptureFixture):
    world, _, peer = await consuming()
    peer.send(encode_error("E_FIN_FAILED", "FIN 0 failed ID not in flight") * 50)
    await turns()
    assert peer.alive
    assert len([r for r in caplog.records if "E_FIN_FAILED" in r.message]) == 1  # case 125
    await world.close()


async def test_a_refused_subscription_is_tried_again():
    world = ScriptedBrokers()
    await world.mailbox.start()
    world.network.refuse_sub = [("E_SUB_FAILED", "SUB failed to add: exiting")] * 3
    consumption = await world.mailbox.consume("t", "c#ephemeral", world.messages.append, window=1)
    await turns()
    assert "SUB failed" in consumption.health().reason
    await world.pass_time(8.0)
    assert consumption.health().ok
    assert world.network.consumer().of(Rdy) == [Rdy(1)]
    await world.close()


async def test_it_consumes_again_after_restarts_at_any_interval():
    world, consumption, peer = await consuming()
    where = peer.endpoint
    for number, pause in enumerate((0.1, 1.0, 3.0, 30.0, 0.9, 0.9)):
        world.network.down.add(where)
        world.network.consumer().transport.abort()
        await world.pass_time(pause)
        assert not consumption.health().ok
        assert "4150" in consumption.health().reason
        world.network.down.clear()
        await world.pass_time(4.6)
        probe = world.network.consumer()
        probe.push(number)
        await world.network.until(lambda n=number: len(world.messages) == n + 1)
        world.messages[-1].finish()
        assert consumption.health().ok
    await world.close()


# Slowing down ----------------------------------------------------------------


async def slowed(world: ScriptedBrokers, peer: Any, *numbers: int) -> None:
    peer.push(*numbers)
    await world.network.until(lambda: len(world.messages) >= len(numbers))
    for message in world.messages:
        message.requeue()
    await turns()


async def test_fifty_failures_together_pause_the_mailbox_once():
    world, consumption, peer = await consuming(window=50)
    await slowed(world, peer, *range(50))
    assert peer.of(Rdy) == [Rdy(50), Rdy(0)]
    assert "slowed down" in consumption.health().reason
    assert consumption.health().advisory  # 149: on purpose, so no lack of readiness
    await world.pass_time(0.3)
    assert peer.of(Rdy)[-1] == Rdy(1)
    await world.close()


@pytest.mark.parametrize("trial", ["succeeds", "fails", "no penalty", "connection lost"])
async def test_whatever_becomes_of_the_trial_there_is_a_next(trial: str):
    world, consumption, peer = await consuming(window=20)
    await slowed(world, peer, 1, 2, 3)
    await world.pass_time(0.3)
    assert peer.of(Rdy)[-1] == Rdy(1)
    peer.push(4)
    await world.network.until(lambda: len(world.messages) == 4)
    message = world.messages[3]
    if trial == "succeeds":
        message.finish()
        await turns()
        assert peer.of(Rdy)[-1] == Rdy(20)
    elif trial == "fails":
        message.requeue()
        await turns()
        assert peer.of(Rdy)[-1] == Rdy(0)
    elif trial == "no penalty":
        message.requeue(0.0, penalty=False)
    else:
        peer.transport.abort()
    await world.pass_time(3.0)
    peer = world.network.consumer()
    assert peer.of(Rdy)[-1].ready >= 1
    peer.push(5)
    await world.network.until(lambda: len(world.messages) == 5)
    world.messages[4].finish()
    await turns()
    assert peer.of(Rdy)[-1] == Rdy(20)
    assert consumption.health().ok
    await world.close()


async def test_one_poison_message_among_good_ones_slows_nobody():
    world, _, peer = await consuming(window=5)
    for n in range(20):
        peer.push(n)
        await world.network.until(lambda n=n: len(world.messages) == n + 1)
        world.messages[n].requeue() if n % 2 else world.messages[n].finish()
    await turns()
    assert peer.of(Rdy) == [Rdy(5)]
    await world.close()


# Pause, window, stop ---------------------------------------------------------


async def test_pause_resume_and_window():
    world, consumption, peer = await consuming(window=7)
    consumption.pause()
    await turns()
    assert consumption.health().reason == "t: paused"
    consumption.resume()
    await turns()
    consumption.set_window(3)
    await turns()
    consumption.set_window(0)
    await turns()
    consumption.set_window(9)
    await turns()
    assert [rdy.ready for rdy in peer.of(Rdy)] == [7, 0, 7, 3, 0, 9]
    await world.close()


async def test_give_back_returns_what_waits_and_keeps_what_runs():
    world, consumption, peer = await consuming()
    peer.push(*range(5))
    await world.network.until(lambda: len(world.messages) == 5)
    assert consumption.claim(world.messages[0])
    assert consumption.give_back() == 4
    await turns()
    assert peer.of(Req) == [Req(message_id(n), 0) for n in range(1, 5)]
    assert not consumption.claim(world.messages[1])
    assert consumption.in_flight == 1
    world.messages[0].finish()
    await world.close()


async def test_stop_gives_back_what_waits_and_waits_for_what_runs():
    world, consumption, peer = await consuming(window=21)
    peer.push(*range(21))
    await world.network.until(lambda: len(world.messages) == 21)
    consumption.claim(world.messages[0])
    stopping = asyncio.ensure_future(consumption.stop(20.0))
    await turns()
    assert len(peer.of(Req)) == 20
    assert {command.delay_ms for command in peer.of(Req)} == {0}
    assert peer.of(Rdy)[-1] == Rdy(0)
    assert not stopping.done()
    # Case 15: the lease of what runs is kept meanwhile.
    await world.pass_time(9.0, step=0.5)
    assert peer.of(Touch) == [Touch(message_id(0))]
    # Case 16: its FIN is written before CLS, and CLS is answered before the end.
    world.messages[0].finish()
    await stopping
    kinds = [type(command) for command in peer.commands]
    assert kinds.index(Fin) < kinds.index(Cls)
    assert peer.eof
    await world.close()


async def test_messages_that_cross_the_stop_go_straight_back():
    world, consumption, peer = await consuming(window=3)
    peer.push(1)
    await world.network.until(lambda: world.messages)
    consumption.claim(world.messages[0])
    stopping = asyncio.ensure_future(consumption.stop(5.0))
    peer.push(2, 3)
    await turns()
    assert len(world.messages) == 1
    assert peer.of(Req) == [Req(message_id(2), 0), Req(message_id(3), 0)]
    world.messages[0].finish()
    await stopping
    await consumption.stop(5.0)  # again: nothing
    await world.close()


async def test_stop_is_bounded_and_requeues_what_still_runs():
    world, consumption, peer = await consuming()
    peer.push(1)
    await world.network.until(lambda: world.messages)
    consumption.claim(world.messages[0])
    stopping = asyncio.ensure_future(consumption.stop(2.0))
    await world.pass_time(1.9)
    assert not stopping.done()
    await world.pass_time(0.3)
    await stopping
    assert peer.of(Req) == [Req(message_id(1), 0)]
    assert not world.messages[0].finish()
    await world.close()


async def test_what_a_slow_broker_sends_after_our_goodbye_is_answered_no_more():
    # uvloop raises on a write behind the end of all writes: a heartbeat did that to a node.
    world, consumption, peer = await consuming()
    stopping = asyncio.ensure_future(consumption.stop(1.0))
    world.network.deaf = True  # it reads, and closes nothing
    while not peer.eof:
        await turns(1)
    peer.heartbeat()
    peer.push(1)
    await turns()
    assert not peer.too_late
    assert not stopping.done()
    peer.cut()
    await stopping
    await world.close()


async def test_a_closed_mailbox_does_not_come_back_to_life():
    world, _, peer = await consuming()
    where = peer.endpoint
    world.network.down.add(where)
    for living in list(world.network.peers):
        living.transport.abort()
    await world.pass_time(1.0)  # dialling again is planned
    await world.close()  # asserts that no timer is left
    world.network.down.clear()
    dials = len(world.network.dials)
    await world.pass_time(60.0, step=5.0)
    assert len(world.network.dials) == dials


async def test_a_stuck_consumer_says_so():
    world, consumption, peer = await consuming(window=2, stuck_after=60.0)
    reported = []
    world.events.subscribe(
        lambda event: reported.append(event.fields["reason"]) if "stuck" in event.name else None
    )
    await world.pass_time(100.0, step=1.0)  # to be idle is not to be stuck
    peer.push(1, 2)
    await world.network.until(lambda: len(world.messages) == 2)
    await world.pass_time(59.0, step=1.0)
    assert consumption.health().ok
    await world.pass_time(3.0, step=1.0)
    assert "2 messages are held" in consumption.health().reason
    assert len(reported) == 1
    await settle(world, consumption)
    assert consumption.health().ok
    await world.close()


async def test_a_consumer_that_rested_is_not_called_starved_before_it_is():
    world, consumption, _ = await consuming(msg_timeout=15.0)
    await world.pass_time(10.0, step=0.5)
    while consumption.rests_until - world.clock.monotonic() < 3.0:
        await world.pass_time(0.5)
    await world.pass_time(2.0, step=0.5)  # within its rest: nobody has looked for two seconds
    assert consumption.rests_until > world.clock.monotonic()
    rdy = consumption._rdy  # from now on its plans are lost
    plan, rdy._plan = rdy._plan, lambda: setattr(rdy, "_planned", False)
    consumption.set_window(consumption._rdy.window + 1)
    for connection in consumption._connections.values():
        connection.share.ready = 0
    assert consumption.health().ok
    await world.pass_time(2.5, step=0.5)
    assert "RDY 0" in consumption.health().reason
    rdy._plan = plan
    await world.pass_time(2.0, step=0.5)
    assert consumption.health().ok
    await world.close()


async def test_one_of_thousands_rests_for_longer_and_no_loss_is_hidden_by_that():
    world, consumption, peer = await consuming(heartbeat=60.0)
    await world.pass_time(10.0, step=0.5)
    assert consumption.rests_until - world.clock.monotonic() <= 5.0
    consumption._context.consumers = 3000
    await world.pass_time(6.0, step=0.5)
    assert 15.0 < consumption.rests_until - world.clock.monotonic() <= 30.0
    assert consumption.health().ok
    world.network.down.add(peer.endpoint)
    peer.transport.abort()
    await world.pass_time(0.1)
    assert not consumption.health().ok
    await world.close()


async def test_a_beat_looks_at_no_consumer_that_rests_and_at_once_at_one_that_stirs(monkeypatch):
    looks = []
    tick = Consumer.tick
    monkeypatch.setattr(Consumer, "tick", lambda self, now: looks.append(self) or tick(self, now))
    world, consumption, peer = await consuming(heartbeat=60.0, msg_timeout=60.0)
    await world.pass_time(10.0, step=0.25)
    while consumption.rests_until - world.clock.monotonic() < 4.0:
        await world.pass_time(0.25)
    looks.clear()
    await world.pass_time(3.0, step=0.25)
    assert looks == []
    peer.push(1)
    await world.network.until(lambda: world.messages)
    await world.pass_time(3.0, step=0.25)
    assert len(looks) >= 3  # its message is held: its lease is looked after at each beat
    await settle(world, consumption)
    await world.pass_time(2.0, step=0.25)
    assert consumption.rests_until > world.clock.monotonic()
    looks.clear()
    consumption.pause()
    await world.pass_time(2.0, step=0.25)
    assert len(looks) >= 2
    await world.close()
    looks.clear()
    await world.pass_time(60.0, step=0.25)
    assert looks == []  # one that has ended is not looked at when its rest would have been over


async def test_connected_but_never_asking_is_a_fault_that_mends_itself(monkeypatch):
    world, consumption, peer = await consuming()
    await world.pass_time(5.0, step=1.0)
    assert consumption.health().ok
    rdy = consumption._rdy  # its plans are lost, as if it had a fault of its own
    plan, rdy._plan = rdy._plan, lambda: setattr(rdy, "_planned", False)
    for connection in consumption._connections.values():
        connection.share.ready = 0
    await world.pass_time(2.0, step=0.5)
    assert "RDY 0" in consumption.health().reason
    rdy._plan = plan
    await world.pass_time(2.0, step=0.5)
    assert consumption.health().ok
    peer.push(1)
    await world.network.until(lambda: world.messages)
    await settle(world, consumption)
    await world.close()


# Several brokers -------------------------------------------------------------


async def test_the_window_is_shared_over_brokers():
    world, _, _ = await consuming(4150, 4250, 4350, window=10)
    await world.network.until(lambda: all(map(world.network.consumer, (4150, 4250, 4350))))
    await world.pass_time(1.0)
    ready = [world.network.consumer(port).of(Rdy)[-1].ready for port in (4150, 4250, 4350)]
    assert sorted(ready) == [3, 3, 4]
    await world.close()


async def test_places_rotate_when_there_are_fewer_than_brokers():
    ports = (4150, 4250, 4350, 4450, 4550)
    world, _, _ = await consuming(*ports, window=2)
    await world.network.until(lambda: all(map(world.network.consumer, ports)))
    seen: set[int] = set()
    for _ in range(100):
        await world.pass_time(0.1)
        ready = {port: world.network.consumer(port).of(Rdy) for port in ports}
        holders = {port for port, told in ready.items() if told and told[-1].ready}
        assert len(holders) <= 2
        seen |= holders
    assert seen == set(ports)
    await world.close()


async def test_a_hundred_mailboxes_come_back_spread_out_and_soon():
    world = ScriptedBrokers(concurrent_dials=16, dials_per_second=50.0)
    await world.mailbox.start()
    consumptions = [
        await world.mailbox.consume(f"t{n}", "c", world.messages.append, window=1)
        for n in range(100)
    ]
    await world.network.until(lambda: all(c.health().ok for c in consumptions))
    where = world.network.peers[0].endpoint
    world.network.down.add(where)
    for peer in list(world.network.peers):
        peer.transport.abort()
    await turns()
    dials = len(world.network.dials)
    per_second = []
    for second in range(30):
        if second == 5:
            world.network.down.clear()
        before = len(world.network.dials)
        await world.pass_time(1.0)
        per_second.append(len(world.network.dials) - before)
    assert len(world.network.dials) > dials
    assert max(per_second) <= 61  # the rate, and the burst once
    assert all(consumption.health().ok for consumption in consumptions)
    await world.close()
