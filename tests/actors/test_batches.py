"""Messages that are handled together, and settled one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from actors import (
    Actor,
    ActorClassError,
    ActorDeadError,
    Context,
    HandlerTableError,
    Refused,
    Reject,
    Retry,
    System,
    ThreadActor,
    message,
    receives,
)
from actors.testing import ManualClock, eventually, settle
from irismq_runtime import Durable
from irismq_runtime.messaging import dead_topic
from supervisors import Supervisor, child, start, which_children
from tests.node.helpers import MemoryServers
from tests.support.transports import MemoryBroker


@message("batches.row")
@dataclass(frozen=True)
class Row:
    number: int
    fails: str = ""


class Writer(Actor):
    address = "batches.writer"

    def __init__(self, log):
        self.log = log

    @receives(Row, batch=3, within=1.0)
    async def write(self, rows):
        self.log.append([row.number for row in rows])
        if any(row.fails == "all" for row in rows):
            raise ValueError("one of them")
        answers = {"retry": Retry(0.5), "reject": Reject("no"), "refuse": Refused("no")}
        return [answers.get(row.fails, row.number * 10) for row in rows]

    @receives(str)
    def other(self, message):
        self.log.append(message)
        if message == "crash":
            raise ValueError("crash")


@pytest.fixture
def log():
    return []


async def test_a_full_batch_goes_at_once_and_a_part_of_one_in_its_time(
    actor_system, manual_clock, log
):
    writer = actor_system.start(Writer, log)
    asked = [writer.ask(Row(n)) for n in range(5)]
    writer.tell("between")
    await settle(actor_system)
    assert log == [[0, 1, 2], "between"]
    manual_clock.advance(0.9)
    await settle(actor_system)
    assert len(log) == 2
    manual_clock.advance(0.2)
    await settle(actor_system)
    assert log == [[0, 1, 2], "between", [3, 4]]
    assert [await each for each in asked] == [0, 10, 20, 30, 40]
    assert manual_clock.pending <= 1  # the deadlines of asks
    writer.tell(Row(5))
    await settle(actor_system)
    manual_clock.advance(1.1)
    await settle(actor_system)
    assert log[-1] == [5]


async def test_each_is_settled_by_its_own_value(actor_system, manual_clock, log):
    writer = actor_system.start(Writer, log)
    good, refused, rejected = (
        writer.ask(Row(1)),
        writer.ask(Row(2, "refuse")),
        writer.ask(Row(3, "reject")),
    )
    await settle(actor_system)
    assert await good == 10
    for each in (refused, rejected):
        with pytest.raises(Refused):
            await each
    for row in (Row(4), Row(5), Row(6, "retry")):
        writer.tell(row)
    await settle(actor_system)
    manual_clock.advance(0.6)
    await settle(actor_system)
    assert log == [[1, 2, 3], [4, 5, 6], [6]]


async def test_an_answer_of_another_length_is_a_crash(actor_system, manual_clock):
    class Wrong(Actor):
        @receives(Row, batch=2, within=1.0)
        def write(self, rows):
            return [1]

    wrong = actor_system.start(Wrong)
    asked = [wrong.ask(Row(1)), wrong.ask(Row(2))]
    await settle(actor_system)
    for each in asked:
        with pytest.raises(TypeError, match="a list of as many"):
            await each
    assert wrong.exit.reason == "crash"


async def test_what_is_put_aside_survives_a_crash_and_ends_with_its_slot(
    actor_system, manual_clock, log
):
    root = start(Supervisor.of(child(Writer, log)), actor_system)
    await root.started()
    writer = which_children(root)[0].ref
    asked = [writer.ask(Row(n), timeout=60) for n in (1, 2)]
    writer.tell("crash")
    await settle(actor_system)
    assert log == ["crash"]
    manual_clock.advance(1.1)
    await settle(actor_system)
    assert log == ["crash", [1, 2]]
    assert [await each for each in asked] == [10, 20]
    late = writer.ask(Row(3), timeout=60)
    await settle(actor_system)
    await root.stop()
    with pytest.raises(ActorDeadError):
        await late


async def test_it_works_on_a_thread(log):
    class Blocking(ThreadActor):
        @receives(Row, batch=3, within=0.01)
        def write(self, rows):
            log.append(len(rows))
            return [row.number for row in rows]

    from actors import System

    system = System("threads")
    system.attach()
    blocking = system.start(Blocking)
    assert await asyncio.gather(*(blocking.ask(Row(n)) for n in range(7))) == list(range(7))
    assert sum(log) == 7
    assert max(log) == 3
    await eventually(lambda: len(log) >= 3)
    await system.shutdown(5.0)


async def test_stored_messages_are_settled_one_by_one_and_a_bad_one_fails_alone():
    log, clock = [], ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("server", clock=clock, max_attempts=3) as node:
        await settle(node.system)
        clock.advance(1.5)
        root = await node.start(Supervisor.of(child(Writer, log)))
        writer = node.ref("batches.writer")
        for row in (Row(1), Row(2, "all"), Row(3)):
            writer.tell(row)
        for _ in range(12):
            await settle(node.system)
            clock.advance(1.0)
        assert log[0] == [1, 2, 3]
        assert sorted(log[1:]) == [[1], [2], [2], [3]]
        assert len(world.broker.bodies(dead_topic("batches.writer"))) == 1
        assert root.is_alive()
        (binding,) = node.parts.binder
        settled = [m.settled[0] for m in binding.stored[0][1].history]
        assert sorted(settled) == ["bury", *["finish"] * 2, *["requeue"] * 4]


async def test_what_crashed_together_comes_again_alone_and_in_its_order(actor_system, manual_clock):
    log = []

    class Stubborn(Writer):
        crash_retries = 1

    root = start(Supervisor.of(child(Stubborn, log)), actor_system)
    await root.started()
    writer = which_children(root)[0].ref
    for row in (Row(1), Row(2, "all"), Row(3)):
        writer.tell(row)
    writer.tell("after")
    for _ in range(6):
        await settle(actor_system)
        manual_clock.advance(0.1)
    assert log == [[1, 2, 3], [1], [2], [3], "after"]


async def test_what_fails_by_its_own_value_comes_again_in_its_order(actor_system, manual_clock):
    class Picky(Actor):
        crash_retries = 1

        def __init__(self):
            self.log = []

        @receives(Row, batch=4, within=1.0)
        def write(self, rows):
            self.log.append([row.number for row in rows])
            return [ValueError(row.fails) if row.fails else None for row in rows]

    picky = actor_system.start(Picky)
    for row in (Row(1, "no"), Row(2), Row(3, "no"), Row(4, "no")):
        picky.tell(row)
    await settle(actor_system)
    assert await picky.proxy().log == [[1, 2, 3, 4], [1], [3], [4]]


async def test_an_answer_for_later_is_refused_in_a_batch(actor_system, manual_clock):
    class Promising(Actor):
        @receives(Row, batch=1)
        def write(self, rows):
            self.reply_later()

    promising = actor_system.start(Promising)
    with pytest.raises(RuntimeError, match="return a list with an answer for each"):
        await promising.ask(Row(1))


async def test_middleware_gets_each_message_of_a_batch_once_and_with_its_context(log):
    seen = []

    async def allowed(context, message, call_next):
        seen.append((type(message).__name__, context.kind))
        if message == Row(2):
            raise Refused("not yours")
        return await call_next(message)

    system = System("within", middleware=[allowed])
    system.attach()
    writer = system.start(Writer, log)
    refused = writer.ask(Row(2))
    good = writer.ask(Row(1))
    writer.tell(Row(3))
    writer.tell(Row(4))
    with pytest.raises(Refused):
        await refused
    assert await good == 10
    assert log == [[1, 3, 4]]
    assert seen == [("Row", "ask"), ("Row", "ask"), ("Row", "tell"), ("Row", "tell")]
    await system.shutdown(1.0)


@pytest.fixture
async def stored(log):
    """A node with one writer, and what came to its mailbox."""
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("server", clock=clock, max_attempts=3) as node:
        await settle(node.system)
        clock.advance(1.5)
        await node.start(Supervisor.of(child(Writer, log)))
        yield node, clock


def came(node):
    (binding,) = node.parts.binder
    return binding.stored[0][1].history


async def test_what_is_put_aside_is_not_handled_when_its_lease_has_ended(stored, log):
    node, clock = stored
    for number in (1, 2):
        node.ref("batches.writer").tell(Row(number))
    await settle(node.system)
    given_to_another = came(node)[0]
    given_to_another.lease_lost = True
    given_to_another.on_lease_lost()
    clock.advance(1.1)
    await settle(node.system)
    assert log == [[2]]
    assert node.parts.dispatch.counters.leases_lost == 0


async def test_what_comes_again_while_it_is_put_aside_is_handled_once(stored, log):
    node, clock = stored
    for number in (1, 2):
        node.ref("batches.writer").tell(Row(number))
    await settle(node.system)
    came(node)[0].lose_lease()
    clock.advance(1.1)
    await settle(node.system)
    assert log == [[1, 2]]
    assert node.parts.dispatch.counters.finished == 2


async def test_a_batch_that_is_killed_gives_its_messages_back(stored, log):
    node, clock = stored
    hangs = asyncio.Event()

    class Hanging(Writer):
        address = "batches.hanging"

        @receives(Row, batch=2, within=1.0)
        async def write(self, rows):
            self.log.append([row.number for row in rows])
            if not hangs.is_set():
                hangs.set()
                await asyncio.Event().wait()

    root = await node.start(Supervisor.of(child(Hanging, log)))
    hanging = which_children(root)[0].ref
    for number in (1, 2):
        node.ref("batches.hanging").tell(Row(number))
    await hangs.wait()
    hanging._slot.kill()
    for _ in range(4):
        await settle(node.system)
        clock.advance(0.6)
    assert log[0] == [1, 2]
    assert sorted(number for batch in log[1:] for number in batch) == [1, 2]
    assert node.parts.dispatch.counters.finished == 2


async def test_a_mailbox_holds_enough_for_a_batch():
    class Wide(Writer):
        @receives(Row, batch=2000, within=0.1)
        async def write(self, rows): ...

    async with MemoryServers().node() as node:
        await node.start(child(Wide, []))
        (binding,) = node.parts.binder
        assert binding._window == 2000


def test_what_cannot_be_a_batch_is_refused():
    for options in ({"batch": 0}, {"batch": 5, "within": 0}, {"batch": 5, "timeout": 1.0}):
        with pytest.raises(HandlerTableError):
            receives(Row, **options)
    with pytest.raises(ActorClassError, match="durable"):

        class Kept(Durable):
            @receives(Row, batch=5)
            def write(self, rows): ...


async def test_a_value_whose_meaning_cannot_be_read_spares_the_others(actor_system, manual_clock):
    class Odd(Retry):
        penalty = property(lambda _: 1 / 0, lambda *_: None)

    class Odder(Actor):
        @receives(Row, batch=2, within=1.0)
        def write(self, rows):
            return [Odd(), 5]

    odd = actor_system.start(Odder)
    bad, good = odd.ask(Row(1)), odd.ask(Row(2))
    await settle(actor_system)
    with pytest.raises(Odd):
        await bad
    assert await good == 5
    assert odd.is_alive()


async def test_a_batch_that_is_passed_on_arrives_one_by_one(actor_system, manual_clock, log):
    writer = actor_system.start(Writer, log)

    class Passing(Actor):
        @receives(Row, batch=2, within=1.0)
        def write(self, rows):
            self.forward(writer)

    passing = actor_system.start(Passing)
    asked = passing.ask(Row(1))
    passing.tell(Row(2))
    await settle(actor_system)
    writer.tell(Row(3))
    await settle(actor_system)
    assert log == [[1, 2, 3]]
    assert await asked == 10


async def test_what_waits_of_a_batch_in_the_stash_can_be_taken_back(actor_system, manual_clock):
    class Stashing(Actor):
        @receives(Row, batch=1)
        def write(self, rows):
            self.stash()

    outcomes = []
    stashing = actor_system.start(Stashing)
    delivery = stashing.deliver(Row(1), context=Context(), on_done=outcomes.append)
    await settle(actor_system)
    assert delivery.cancel()
    assert [outcome.kind for outcome in outcomes] == ["cancelled"]
