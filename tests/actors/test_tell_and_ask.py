"""tell, ask, receipts, errors of asks, the bounded inbox."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle

import pykka
import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorRef,
    AskCancelled,
    AskCycle,
    AskTimeout,
    BlockingCall,
    Future,
    MailboxFull,
    Receipt,
    Refused,
    System,
    ThreadActor,
    receives,
)
from actors.receipt import LocalReceipt
from actors.testing import ManualClock, settle
from irismq_runtime.refs.receipt import PeerReceipt, TellReceipt
from tests.actors.people import AsyncCounter, Counter, Gate, ThreadCounter

KINDS = [Counter, AsyncCounter, ThreadCounter]


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_of_one_sender_are_handled_one_by_one_in_order(
    actor_system: System, kind: type[Counter]
) -> None:
    ref = actor_system.start(kind)
    for number in range(500):
        await ref.tell(number)
    assert await ref.ask(0) == sum(range(500))
    assert await ref.ask(None) == [*range(500), 0]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_ask_gives_what_the_handler_returns_or_raises(
    actor_system: System, kind: type[Counter]
) -> None:
    ref = actor_system.start(kind, 40)
    assert await ref.ask(2) == 42
    with pytest.raises(Refused, match="no"):
        await ref.ask("no")
    assert await ref.ask(1) == 43
    with pytest.raises(ValueError, match="boom"):
        await ref.ask(b"boom")
    with pytest.raises(ActorDeadError, match=r"crash .ValueError: boom. while handling bytes"):
        await ref.ask(1)


async def test_it_is_what_pykka_says(actor_system: System) -> None:
    ref = actor_system.start(Counter)
    future = ref.ask(1)
    assert isinstance(ref, pykka.ActorRef)
    assert isinstance(future, pykka.Future)
    assert isinstance(future, Future)
    assert issubclass(Actor, pykka.Actor)
    assert issubclass(ThreadActor, pykka.ThreadingActor)
    assert issubclass(ActorDeadError, pykka.ActorDeadError)
    assert await future == 1


async def test_a_full_inbox_refuses_and_nothing_is_lost() -> None:
    system = System(inbox_limit=3)
    gate = system.start(Gate)
    gate.tell("running")
    await settle(system)
    for number in range(3):
        gate.tell(number)
    assert gate.room == 0
    with pytest.raises(MailboxFull, match=r"full .3 messages.") as caught:
        gate.tell("too much")
    assert caught.value.limit == 3
    with pytest.raises(MailboxFull):
        await gate.ask("too much")
    assert system.counters.refused == 2
    actor = gate._actor_weakref()
    actor.open.set()
    await settle(system)
    assert actor.handled == ["running", 0, 1, 2]
    assert gate.room == 3
    await system.shutdown()


async def test_a_class_sets_its_own_limit(actor_system: System) -> None:
    class Small(Gate):
        inbox_limit = 1

    ref = actor_system.start(Small)
    ref.tell(1)
    with pytest.raises(MailboxFull):
        ref.tell(2)
    ref._actor_weakref().open.set()


async def test_an_ask_ends_by_its_deadline_and_says_where_it_was(
    actor_system: System, manual_clock: ManualClock
) -> None:
    gate = actor_system.start(Gate)
    running = gate.ask("first", timeout=2.0)
    waiting = gate.ask("second", timeout=1.0)
    default = gate.ask("third")
    await settle(actor_system)
    manual_clock.advance(0.999)
    assert not waiting.done()
    manual_clock.advance(0.001)
    with pytest.raises(AskTimeout, match=r"no answer from Gate .* to str within 1 s") as caught:
        await waiting
    assert caught.value.state.startswith("waiting in the inbox")
    manual_clock.advance(1.0)
    with pytest.raises(AskTimeout, match="its handler is running"):
        await running
    manual_clock.advance(2.999)
    assert not default.done()
    manual_clock.advance(0.001)
    with pytest.raises(AskTimeout):
        await default
    assert actor_system.deadlines.pending() == 0
    # What comes now is late: the first is counted, the others are not handled any more.
    actor = gate._actor_weakref()
    actor.open.set()
    await settle(actor_system)
    assert actor.handled == ["first"]
    assert actor_system.counters.late_answers == 1
    assert actor_system.counters.expired == 2


async def test_many_asks_share_a_timer(actor_system: System, manual_clock: ManualClock) -> None:
    gate = actor_system.start(Gate)
    asks = [gate.ask(number, timeout=3.0) for number in range(50)]
    manual_clock.advance(1.0)
    asks += [gate.ask(number, timeout=3.0) for number in range(50)]
    assert actor_system.deadlines.pending() == 100
    await settle(actor_system)
    assert manual_clock.pending <= 2
    manual_clock.advance(2.0)
    assert [ask.done() for ask in asks] == [True] * 50 + [False] * 50
    manual_clock.advance(1.0)
    assert all(ask.done() for ask in asks)


@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1.0, -math.inf, "soon"])
async def test_a_deadline_is_a_finite_time(actor_system: System, timeout: float) -> None:
    ref = actor_system.start(Counter)
    with pytest.raises(ValueError, match="finite number of seconds"):
        ref.ask(1, timeout=timeout)


async def test_a_cancelled_ask_is_taken_back_on_both_sides(actor_system: System) -> None:
    gate = actor_system.start(Gate)
    actor = gate._actor_weakref()

    async def ask(value: str) -> object:
        return await gate.ask(value)

    running = asyncio.ensure_future(ask("running"))
    waiting = asyncio.ensure_future(ask("waiting"))
    await actor.entered.wait()
    waiting.cancel()
    running.cancel()
    await asyncio.wait([running, waiting])
    await settle(actor_system)
    assert actor.cancelled == 1
    actor.open.set()
    assert await gate.ask("next") == "next"
    assert actor.handled == ["next"]
    assert gate.is_alive()


async def test_an_ask_may_be_cancelled_by_hand(actor_system: System) -> None:
    gate = actor_system.start(Gate)
    future = gate.ask(1)
    assert future.cancel()
    assert not future.cancel()
    with pytest.raises(AskCancelled):
        await future


async def test_an_ask_to_oneself_raises_at_once(actor_system: System) -> None:
    class Narcissus(Actor):
        @receives(str)
        async def in_async(self, _: str) -> object:
            return await self.actor_ref.ask(1)

        @receives(int)
        def in_plain(self, _: int) -> object:
            return self.actor_ref.ask("x")

    for question in ("x", 1):
        ref = actor_system.start(Narcissus)
        with pytest.raises(AskCycle) as caught:
            await ref.ask(question)
        assert caught.value.chain == (ref.actor_urn,)


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_a_circle_of_asks_fails_at_once(actor_system: System, base: type[Actor]) -> None:
    class Loop(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.next: ActorRef[Loop] | None = None

        @receives(list)
        def meet(self, others: list[ActorRef[Loop]]) -> None:
            self.next = others[0]

        @receives(str)
        async def pass_on(self, text: str) -> object:
            assert self.next is not None
            return await self.next.ask(text)

    class Threaded(ThreadActor):
        def __init__(self) -> None:
            super().__init__()
            self.next: ActorRef[Loop] | None = None

        @receives(list)
        def meet(self, others: list[ActorRef[Loop]]) -> None:
            self.next = others[0]

        @receives(str)
        def pass_on(self, text: str) -> object:
            assert self.next is not None
            return self.next.ask(text, block=True)

    kind = Loop if base is Actor else Threaded
    refs = [actor_system.start(kind) for _ in range(3)]
    for position, ref in enumerate(refs):
        await ref.ask([refs[(position + 1) % 3]])
    with pytest.raises(AskCycle) as caught:
        await refs[0].ask("round")
    assert caught.value.chain == tuple(ref.actor_urn for ref in refs)


async def test_asks_of_tasks_inside_a_handler_belong_to_the_chain(actor_system: System) -> None:
    class Grouping(Actor):
        @receives(str)
        async def group(self, _: str) -> object:
            async def ask() -> object:
                return await self.actor_ref.ask(1)

            async with asyncio.TaskGroup() as group:
                task = group.create_task(ask())
            return task.result()

    with pytest.raises(BaseExceptionGroup) as caught:
        await actor_system.start(Grouping).ask("x")
    assert caught.group_contains(AskCycle)


async def test_a_task_that_outlives_its_handler_may_ask_its_actor(actor_system: System) -> None:
    class Busy(Actor):
        task: asyncio.Task[object]

        @receives(str)
        def spawn(self, _: str) -> None:
            async def later() -> object:
                return await self.actor_ref.ask(41)

            self.task = asyncio.create_task(later())

        @receives(int)
        async def add(self, number: int) -> int:
            await asyncio.sleep(0)
            return number + 1

    ref = actor_system.start(Busy)
    await ref.ask("x")
    assert await ref._actor_weakref().task == 42


async def test_blocking_on_the_loop_raises(actor_system: System) -> None:
    ref = actor_system.start(Counter)
    with pytest.raises(BlockingCall):
        ref.ask(1, block=True)
    with pytest.raises(BlockingCall):
        ref.stop(block=True)


async def test_a_ref_is_a_value(actor_system: System) -> None:
    ref = actor_system.start(Counter, name="sum")
    assert copy.copy(ref) is ref
    assert copy.deepcopy({"a": [ref]})["a"][0] is ref
    assert ref.name == "sum"
    assert str(ref) == f"Counter ({ref.actor_urn})"
    assert repr(ref) == f"<ActorRef for {ref}>"
    assert actor_system.find(ref.actor_urn) is ref
    for strange in ("", "urn:actor:x:1", ref.actor_urn + "0", ref.actor_urn + "²"):
        assert actor_system.find(strange) is None
    with pytest.raises(TypeError, match="address in this process"):
        pickle.dumps(ref)


async def test_urns_of_two_systems_differ() -> None:
    one, two = System(), System()
    first, second = one.start(Counter), two.start(Counter)
    assert first.actor_urn != second.actor_urn
    assert one.find(second.actor_urn) is None
    await one.shutdown()
    await two.shutdown()


async def test_an_actor_knows_who_asks_and_by_when(
    actor_system: System, manual_clock: ManualClock
) -> None:
    class Curious(Actor):
        @receives(str)
        def look(self, _: str) -> tuple[object, ...]:
            context = self.context
            return context.kind, context.sender, context.deadline, context.attempt, context.chain

    class Asker(Actor):
        @receives(object)
        async def ask(self, ref: ActorRef[Curious]) -> object:
            return await ref.ask("x", timeout=3.0)

    curious = actor_system.start(Curious)
    asker = actor_system.start(Asker)
    manual_clock.advance(100.0)
    assert await curious.ask("x") == ("ask", None, 105.0, 1, ())
    assert await asker.ask(curious) == ("ask", asker, 103.0, 1, (asker.actor_urn,))


async def test_a_loop_that_is_gone_is_a_death_and_not_a_hang() -> None:
    def program() -> tuple[System, ActorRef[Counter]]:
        system = System()

        async def main() -> ActorRef[Counter]:
            ref = system.start(Counter)
            await ref.ask(1)
            return ref

        return system, asyncio.run(main())

    system, ref = await asyncio.to_thread(program)
    ref.tell(2)
    assert system.dead_letters.counts == {"dead": 1}
    assert not ref.is_alive()
    with pytest.raises(ActorDeadError):
        await ref.ask(1)


async def test_a_receipt_may_be_awaited_as_often_as_one_likes(actor_system: System) -> None:
    receipt = actor_system.start(Counter).tell(1)
    assert isinstance(receipt, Receipt)
    assert [await receipt, await receipt] == [None, None]


@pytest.mark.parametrize("kind", [LocalReceipt, PeerReceipt, TellReceipt])
def test_each_side_has_a_receipt_of_its_own_and_users_know_one(kind: type) -> None:
    assert issubclass(kind, Receipt)
    assert Receipt not in kind.__mro__, "what a protocol asks is not inherited"
