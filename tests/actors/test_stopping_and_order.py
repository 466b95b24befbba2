"""Ends from every place, order per sender, and what a slow or a crowded system costs."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorRef,
    BlockingCall,
    MailboxFull,
    Overloaded,
    System,
    ThreadActor,
    receives,
    runtime,
)
from actors.testing import settle
from tests.actors.people import Counter, Gate, ThreadCounter

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_sibling_ask_is_cancelled_on_both_sides(actor_system: System) -> None:
    slow = actor_system.start(Gate)
    slow_actor = slow._actor_weakref()

    class Failing(Actor):
        async def on_receive(self, message: Any) -> None:
            await slow_actor.entered.wait()
            raise LookupError("first failure")

    async def ask(ref: ActorRef[Any]) -> object:
        return await ref.ask("x")

    async def both() -> None:
        async with asyncio.TaskGroup() as scope:
            scope.create_task(ask(slow))
            scope.create_task(ask(actor_system.start(Failing)))

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    await settle(actor_system)
    assert slow_actor.cancelled == 1
    assert actor_system.deadlines.pending() == 0
    assert slow.is_alive()


class ClassCounters(Actor):
    handled: list[int]

    def __init__(self, handled: list[int]) -> None:
        super().__init__()
        self.handled = handled

    @receives(int)
    def count(self, number: int) -> int:
        self.handled.append(number)
        return number


class ThreadTally(ThreadActor):
    def __init__(self, handled: list[int]) -> None:
        super().__init__()
        self.handled = handled

    count = ClassCounters.count


class Senders:
    """Eight threads that tell and ask while one ref stops."""

    def __init__(self, ref: ActorRef[Any], others: int = 8) -> None:
        self.ref = ref
        self.told = 0
        self.refused = 0
        self.answered = 0
        self.dead = 0
        self.lock = threading.Lock()
        self.barrier = threading.Barrier(others + 1)
        self.threads = [threading.Thread(target=self._send) for _ in range(others)]

    def _send(self) -> None:
        told = refused = 0
        asks = []
        self.barrier.wait()
        for number in range(20):
            try:
                self.ref.tell(number)
                told += 1
            except ActorDeadError:
                refused += 1
            asks.append(self.ref.ask(number, timeout=60.0))
        answered = dead = 0
        for ask in asks:
            try:
                ask.get()
                answered += 1
            except ActorDeadError:
                dead += 1
        with self.lock:
            self.told += told
            self.refused += refused
            self.answered += answered
            self.dead += dead


@pytest.mark.parametrize(
    ("kind", "rounds"),
    [pytest.param(ClassCounters, 150, id="loop"), pytest.param(ThreadTally, 75, id="thread")],
)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_sent_is_handled_plus_dead(kind: Callable[[list[int]], Any], rounds: int, end: str) -> None:
    system = System(inbox_limit=1_000_000)
    for _ in range(rounds):
        handled: list[int] = []
        ref = system.start(kind, handled)
        before = system.dead_letters.total
        senders = Senders(ref)
        for thread in senders.threads:
            thread.start()
        senders.barrier.wait()
        if end == "stop":
            assert ref.stop(block=True) is True
        else:
            ended = threading.Event()

            def kill(ref: ActorRef[Any] = ref, ended: threading.Event = ended) -> None:
                ref._slot.kill()
                ended.set()

            system.call_on_loop(kill)
            ended.wait()
        for thread in senders.threads:
            thread.join()
        dead_letters = system.dead_letters.total - before
        assert senders.answered + senders.dead == 160, "every ask has ended"
        assert senders.told + senders.refused == 160
        # A tell that was refused with ActorDeadError is a dead letter too.
        surplus = len(handled) - senders.answered + dead_letters - 160
        # A thread that was killed in a handler may still finish it: that one counts twice.
        assert surplus in ({0, 1} if kind is ThreadTally and end == "kill" else {0})
        assert system.deadlines.pending() == 0
    system.close()


async def test_a_slow_actor_costs_bounded_memory(actor_system: System) -> None:
    ref = actor_system.start(Gate)
    ref.tell("blocks")
    await settle(actor_system)
    tracemalloc.start()
    accepted = refused = 0
    for number in range(12_000):
        try:
            ref.tell(number)
            accepted += 1
        except MailboxFull:
            refused += 1
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (accepted, refused) == (10_000, 2_000)
    assert actor_system.counters.refused == 2_000
    assert size < 2_000_000
    with pytest.raises(Overloaded):
        await ref.ask("x")
    await runtime.stop(ref._slot, timeout=0)
    await runtime.end(ref._slot, ref._slot.make_exit("killed"))


async def test_work_that_nobody_waits_for_is_done_or_reported(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    class Background(Actor):
        @receives(int)
        async def work(self, number: int) -> None:
            await asyncio.sleep(0)
            done.append(number)

        @receives(bytes)
        async def die(self, _: bytes) -> None:
            await asyncio.sleep(0)
            raise OSError("peer died")

    refs = [actor_system.start(Background) for _ in range(20)]
    for number in range(2000):
        refs[number % 20].tell(number)
        if number % 200 == 0:
            gc.collect()
            await asyncio.sleep(0)
    dying = [actor_system.start(Background) for _ in range(20)]
    for ref in dying:
        ref.ask(b"")
        ref.tell(1)
    await settle(actor_system)
    gc.collect()
    assert sorted(done) == list(range(2000))
    assert actor_system.dead_letters.counts == {"dead": 20}
    assert caplog.text.count("Unhandled exception in Background") == 20
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_stop_from_every_place(actor_system: System, base: type[Actor]) -> None:
    stops: list[str] = []

    class Stopping(base):  # type: ignore[misc,valid-type]  # a parametrized base
        def __init__(self, early: bool = False) -> None:
            super().__init__()
            self.early = early

        def on_start(self) -> None:
            if self.early:
                self.stop()
                self.stop()

        def on_stop(self) -> None:
            stops.append("on_stop")

        @receives(str)
        def by_itself(self, _: str) -> str:
            self.stop()
            return "stopping"

        @receives(int)
        def and_wait(self, _: int) -> None:
            self.actor_ref.stop(block=True)

    early = actor_system.start(Stopping, early=True)
    with pytest.raises(ActorDeadError):
        await early.ask("x")
    assert stops == ["on_stop"]

    threaded = actor_system.start(Stopping)
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(threaded.stop(block=True))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0)
    assert answers.count(True) >= 1
    assert len(answers) == 3
    assert stops == ["on_stop"] * 2

    itself = actor_system.start(Stopping)
    assert await itself.ask("x") == "stopping"
    while itself.is_alive():
        await asyncio.sleep(0)
    assert stops == ["on_stop"] * 3

    with pytest.raises(BlockingCall, match="own end"):
        await actor_system.start(Stopping).ask(1)


async def test_an_async_handler_cannot_await_its_own_end(actor_system: System) -> None:
    class Stopping(Actor):
        @receives(str)
        async def and_wait(self, _: str) -> None:
            await self.actor_ref.stop()

    with pytest.raises(BlockingCall, match="own end"):
        await actor_system.start(Stopping).ask("x")


async def test_a_crash_answers_all_and_runs_finally_with_awaits(
    actor_system: System,
) -> None:
    cleaned: list[int] = []

    class Concurrent(Actor):
        @receives(int)
        async def work(self, number: int) -> None:
            async with asyncio.TaskGroup() as group:
                for part in range(10):
                    group.create_task(self.part(part))

        async def part(self, number: int) -> None:
            try:
                await asyncio.sleep(0)
                if number == 5:
                    raise ValueError("part 5")
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append(number)

    ref = actor_system.start(Concurrent)
    asks = [ref.ask(number) for number in range(10)]
    with pytest.raises(ExceptionGroup, match="unhandled errors in a TaskGroup"):
        await asks[0]
    for ask in asks[1:]:
        with pytest.raises(ActorDeadError, match="crash"):
            await ask
    assert sorted(cleaned) == list(range(10))


async def test_what_waits_at_an_async_actor_survives_its_restart(
    actor_system: System,
) -> None:
    class Async(Counter):
        async def crash(self, text: bytes) -> None:
            await asyncio.sleep(0)
            raise ValueError(text.decode())

    slot = runtime.new_slot(actor_system, Async)
    await runtime.start(slot)
    down = asyncio.Event()
    slot.on_down = lambda *_: down.set()
    crashing = slot.ref.ask(b"x")
    waiting = [slot.ref.ask(1) for _ in range(10)]
    with pytest.raises(ValueError, match="x"):
        await crashing
    await down.wait()
    await runtime.start(slot)
    assert [await ask for ask in waiting] == list(range(1, 11))
    await runtime.end(slot, await runtime.stop(slot))


@pytest.mark.parametrize("kind", [Counter, ThreadCounter])
async def test_one_senders_order_holds_for_every_verb(
    actor_system: System, kind: type[Counter]
) -> None:
    from actors import Context

    ref = actor_system.start(kind)
    asks = []
    for number in range(1, 1001):
        verb = number % 3
        if verb == 0:
            ref.tell(number)
        elif verb == 1:
            asks.append(ref.ask(number))
        else:
            ref.deliver(number, context=Context(), on_done=lambda _: None)
    assert await ref.ask(None) == list(range(1, 1001))
    assert all(ask.done() for ask in asks)


async def test_a_tell_to_oneself_without_delay_stays_in_order(
    actor_system: System,
) -> None:
    class Selfish(Counter):
        @receives(list)
        def burst(self, numbers: list[int]) -> None:
            for number in numbers:
                if number % 2:
                    self.actor_ref.tell(number)
                else:
                    self._slot.put_later(number, 0.0)

    ref = actor_system.start(Selfish)
    await ref.ask(list(range(100)))
    assert await ref.ask(None) == list(range(100))


async def test_many_actors_need_no_thread_each(actor_system: System) -> None:
    before = threading.active_count()
    refs = [actor_system.start(Counter) for _ in range(20_000)]
    assert threading.active_count() <= before  # one of an earlier test may end meanwhile
    assert await refs[-1].ask(1) == 1
    for ref in refs:
        ref.stop()
    await settle(actor_system)
    assert len(actor_system) == 0
    assert threading.active_count() <= before


async def test_a_stop_for_what_is_no_actor_is_harmless(actor_system: System) -> None:
    dead = actor_system.start(Counter)
    await dead.stop()
    assert await dead.stop() is False
    forged: ActorRef[Any] = ActorRef(runtime.new_slot(actor_system, Counter))
    stopped = forged.stop()
    asked = forged.ask(1)
    assert actor_system.find("urn:actor:0000:1") is None
    ref = actor_system.start(Counter)
    answer = ref.ask(1)
    assert await answer == 1
    with pytest.raises(AttributeError):
        answer.stop()
    assert not stopped.done()
    assert not asked.done()
    slot = forged._slot
    await runtime.end(slot, slot.make_exit("noproc"))
    assert await stopped is True
    with pytest.raises(ActorDeadError, match="noproc"):
        await asked
