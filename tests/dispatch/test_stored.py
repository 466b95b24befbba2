"""Stored messages from the broker to the actor and back, step by step."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

import pytest

from actors import Actor, Retry, message, receives
from actors.testing import ManualClock, settle
from irismq_runtime.errors import EncodeError, RemoteError
from irismq_runtime.messaging import dead_topic
from irismq_runtime.node import durable
from irismq_runtime.wire import Envelope, Kind, decode_dead_untrusted, encode_envelope, new_id
from supervisors import Backoff, Supervisor, child
from tests.node.helpers import Add, Counter, Fail, MemoryServers
from tests.support.transports import MemoryBroker

ADDRESS = "test.counter"
DEAD = dead_topic(ADDRESS)


@message("test.hold")
@dataclass(frozen=True)
class Hold:
    name: str = "held"


class Holder(Actor):
    """Keeps a message until it is let go."""

    address = "test.holder"

    def __init__(self, gate: asyncio.Event, log: list) -> None:
        self.gate = gate
        self.log = log

    @receives(Hold)
    async def hold(self, message: Hold) -> None:
        self.log.append(("begin", message.name))
        await self.gate.wait()
        self.log.append(("end", message.name, self.context.lease_lost))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def world(clock):
    return MemoryServers(MemoryBroker(clock))


@pytest.fixture
async def node(world, clock):
    async with world.node("server", clock=clock, max_attempts=3) as node:
        await settle(node.system)
        clock.advance(1.5)
        yield node


def buried(world):
    return [decode_dead_untrusted(body, max_size=2**20) for body in world.broker.bodies(DEAD)]


def consumption(node):
    (binding,) = node.parts.binder
    return binding.stored[0][1]


async def start(node, log, **options):
    await node.start(Supervisor.of(child(Counter, log, **options), max_restarts=1000))


async def pump(node, clock, seconds=0.0):
    """Let everything run that can; move the clock a little, for growing delays."""
    await settle(node.system)
    clock.advance(seconds)
    await settle(node.system)


async def test_bytes_that_cannot_be_read_go_to_dead_letters_untouched(node, world, clock):
    log = []
    await start(node, log)
    bad = [bytes([0xC1, 1, n]) * 5 for n in range(10)]
    for body in bad:
        world.broker.store(ADDRESS, body, 0)
    await pump(node, clock)
    assert [record.body for record in buried(world)] == bad
    assert {record.reason.split(":")[0] for record in buried(world)} == {"decode"}
    assert log == []
    assert (await node.ref(ADDRESS).ask(Add(1))) == 1


async def test_an_unknown_type_is_not_the_actors_fault(node, world, clock):
    log = []
    await start(node, log)
    envelope = Envelope(Kind.TELL, new_id(), "test.unheard.of", b"\x80", {})
    world.broker.store(ADDRESS, encode_envelope(envelope), 0)
    for _ in range(5):
        await pump(node, clock, 2.0)
    (record,) = buried(world)
    assert "test.unheard.of" in record.reason
    assert record.id == envelope.id
    assert record.attempts == 3
    settled = consumption(node).history
    assert [message.settled[0] for message in settled] == ["requeue", "requeue", "bury"]


async def test_a_message_that_always_fails_is_stored_before_it_is_given_up(node, world, clock):
    log = []
    await start(node, log)
    receipt = node.ref(ADDRESS).tell(Fail("crash"))
    for _ in range(5):
        await pump(node, clock, 2.0)
    assert log == [("crash", 1), ("crash", 2), ("crash", 3)]
    (record,) = buried(world)
    assert record.id == receipt.id
    assert record.attempts == 3
    assert record.reason == "crashed: ValueError: boom"
    assert "ValueError: boom" in record.traceback
    assert record.address == ADDRESS
    settled = consumption(node).history
    assert [message.settled[0] for message in settled] == ["requeue", "requeue", "bury"]


async def test_retry_brings_a_message_again_without_a_crash(node, world, clock):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Fail("retry", times=2))
    for _ in range(4):
        await pump(node, clock, 2.0)
    assert log == [("retry", 1), ("retry", 2), ("retry", 3)]
    assert buried(world) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [("reject", "rejected: Reject: never again"), ("refuse", "refused: Refused: no such thing")],
)
async def test_what_the_actor_turns_down_is_buried_at_once(node, world, clock, how, reason):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Fail(how))
    await pump(node, clock)
    assert log == [(how, 1)]
    assert [record.reason for record in buried(world)] == [reason]


async def test_the_same_envelope_is_handled_once_whatever_the_brokers_say(node, world, clock):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Add(1))
    await pump(node, clock)
    (body,) = world.broker.bodies(ADDRESS)
    world.broker.store(ADDRESS, body, 0)
    await pump(node, clock)
    assert log == [1]
    assert node.parts.dispatch.counters.duplicates == 1
    assert [m.settled for m in consumption(node).history] == [("finish",), ("finish",)]


async def test_equal_broker_ids_do_not_make_two_envelopes_one(node, world, clock):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Add(1))
    await pump(node, clock)
    world.broker.ids = itertools.count(1)
    node.ref(ADDRESS).tell(Add(2))
    await pump(node, clock)
    assert log == [1, 2]
    ids = [message.id for message in consumption(node).history]
    assert ids[0] == ids[1]


async def test_a_redelivery_joins_the_run_in_hand(world, clock):
    gate, log = asyncio.Event(), []
    async with world.node("server", clock=clock) as node:
        await node.start(Supervisor.of(child(Holder, gate, log)))
        node.ref("test.holder").tell(Hold())
        await settle(node.system)
        first = consumption(node).history[0]
        first.lose_lease()
        await settle(node.system)
        assert log == [("begin", "held")]
        gate.set()
        await settle(node.system)
        assert log == [("begin", "held"), ("end", "held", True)]
        first, second = consumption(node).history
        assert first.settled is None
        assert second.settled == ("finish",)
        assert node.parts.dispatch.counters.leases_lost == 1


async def test_a_message_whose_lease_is_lost_while_it_waits_is_told_nothing_of_it(world, clock):
    """Its new lease stands when its turn comes, and no handler had begun before."""
    gate, log, attempts = asyncio.Event(), [], []

    class Counting(Holder):
        @receives(Hold)
        async def hold(self, message: Hold) -> None:
            attempts.append(self.context.attempt)
            await super().hold(message)

    async with world.node("server", clock=clock, max_attempts=1) as node:
        await node.start(Supervisor.of(child(Counting, gate, log)))
        node.ref("test.holder").tell(Hold("runs"))
        node.ref("test.holder").tell(Hold("waits"))
        await settle(node.system)
        for _ in range(3):
            consumption(node).history[-1].lose_lease()
            await settle(node.system)
        assert len(consumption(node).history) == 5
        gate.set()
        await settle(node.system)
        assert [entry for entry in log if entry[0] == "end"] == [
            ("end", "runs", False),
            ("end", "waits", False),
        ]
        assert attempts == [1, 1]
        assert node.parts.dispatch.counters.leases_lost == 0
        assert node.parts.dispatch.counters.buried == 0


async def test_an_event_that_was_sent_away_early_is_tried_as_often_as_any_other(world, clock):
    tried = []

    class Reader(Actor):
        subscribes = (durable("news", channel="board"),)

        def on_receive(self, message):
            tried.append(message)
            raise Retry(after=0.0)

    async with world.node("server", clock=clock, max_attempts=3) as node:
        await node.start(Supervisor.of(child(Reader)))
        due = round((clock.time() + 60.0) * 1000)
        event = Envelope(Kind.EVENT, new_id(), "", b"\xa4late", {"t": due})
        world.broker.store("news", encode_envelope(event), 0)
        await pump(node, clock, 30.0)  # a broker that forgot its deferral: sent away once
        assert tried == []
        await pump(node, clock, 31.0)
        await pump(node, clock)
        assert tried == ["late"] * 3
        assert len(world.broker.bodies(dead_topic("news"))) == 1


async def test_a_message_that_comes_before_its_due_time_is_sent_away_again(node, world, clock):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Add(1), delay=60.0)
    body = world.broker.bodies(ADDRESS)[0]
    world.broker.store(ADDRESS, body, 0)  # as a broker that forgot its deferral
    await pump(node, clock, 30.0)
    assert log == []
    # Its clock may go on for a millisecond meanwhile.
    assert world.broker.published[-1][2] == pytest.approx(60.0, abs=0.01)
    await pump(node, clock, 31.0)
    assert log == [1]


async def test_two_hours_are_reached_in_hops_and_run_once(node, world, clock):
    log = []
    await start(node, log)
    node.ref(ADDRESS).tell(Add(1), delay=7200.0)
    for _ in range(3):
        await pump(node, clock, 3601.0)
    assert log == [1]
    assert max(delay for _, _, delay in world.broker.published) <= 3600.0


async def test_an_expired_tell_is_not_handled_and_not_buried_but_counted(node, world, clock):
    log = []
    node.ref(ADDRESS).tell(Add(1), expires=5.0)
    await pump(node, clock, 6.0)
    await start(node, log)
    await pump(node, clock)
    assert log == []
    assert buried(world) == []
    assert node.parts.dispatch.counters.expired == 1
    assert [letter.reason for letter in node.system.dead_letters] == ["expired"]


async def test_foreign_json_is_handled_as_a_plain_value(world, clock):
    log = []

    class Plain(Actor):
        address = "test.plain"

        def on_receive(self, message):
            log.append(message)

    async with world.node("server", clock=clock) as node:
        await node.start(Supervisor.of(child(Plain)))
        world.broker.store("test.plain", b'{"a": [1, 2]}', 0)
        world.broker.store("test.plain", b"not json", 0)
        await settle(node.system)
        assert log == [{"a": [1, 2]}]
        assert node.parts.dispatch.counters.buried == 1


async def test_a_full_inbox_gives_back_and_pauses_until_there_is_room(world, clock):
    gate, log = asyncio.Event(), []

    class Small(Holder):
        address = "test.small"
        inbox_limit = 2
        mailbox_window = 100

    async with world.node("server", clock=clock) as node:
        root = await node.start(Supervisor.of(child(Small, gate, log)))
        (binding,) = node.parts.binder
        binding.ref.tell(Hold("local 1"))
        await settle(node.system)
        binding.ref.tell(Hold("local 2"))
        binding.ref.tell(Hold("local 3"))
        node.ref("test.small").tell(Hold("remote"))
        await settle(node.system)
        dispatch, consumer = binding.stored[0]
        assert "full" in dispatch.pause.reasons
        assert consumer.paused
        assert consumer.history[0].settled == ("requeue", 0.1, False)
        health = node.health()  # 149: it has enough to do, and its other addresses are served
        assert health.ready
        assert "consumer test.small: paused: full" in health.reasons
        clock.advance(node.config.slow_after + 1.0)
        (handlers,) = [check for check in node.health().checks if check.name == "handlers"]
        assert "Small has been handling" in handlers.reason  # nothing of it gets done
        assert not handlers.advisory
        gate.set()
        await settle(node.system)
        clock.advance(0.2)
        await settle(node.system)
        assert not consumer.paused
        assert ("end", "remote", False) in log
        assert root.is_alive()


async def test_while_the_actor_restarts_its_consumer_is_paused(world, clock):
    log = []
    async with world.node("server", clock=clock) as node:
        await node.start(
            Supervisor.of(child(Counter, log), max_restarts=10, backoff=Backoff(1.0, 1.0, 0.0))
        )
        node.ref(ADDRESS).tell(Fail("crash", times=1))
        await settle(node.system)
        assert consumption(node).paused
        health = node.health()  # 149: its own messages fail, and its others are handled
        assert health.ready
        assert f"consumer {ADDRESS}: paused: restarting" in health.reasons
        node.ref(ADDRESS).tell(Add(1))
        await settle(node.system)
        assert 1 not in log
        clock.advance(1.1)
        await settle(node.system)
        assert not consumption(node).paused
        assert 1 in log


async def test_what_cannot_be_encoded_raises_at_the_caller_with_its_path(node):
    with pytest.raises(EncodeError) as caught:
        node.ref(ADDRESS).tell({"lines": [{"price": object()}]})
    assert caught.value.path == "$.lines[0].price"


async def test_the_outcome_of_a_supervisor_that_gives_up_unbinds_the_address(world, clock):
    async with world.node("server", clock=clock) as node:
        await node.start(Supervisor.of(child(Counter), max_restarts=0))
        asked = asyncio.ensure_future(node.ref(ADDRESS).ask(Fail("crash")))
        await settle(node.system)
        with pytest.raises(RemoteError):
            await asked
        assert list(node.parts.binder) == []
        assert not node.health().live
        assert world.relay.members[ADDRESS] == []
