"""Asks that are handled where they are awaited: when, when not, and that nothing else changes."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, ActorDeadError, AskTimeout, Refused, System, receives
from actors._inline_budget import ASKS, CHAIN, FRAMES, SECONDS
from actors.testing import ManualClock, settle
from tests.actors.people import AsyncCounter, Counter, Gate, ThreadCounter

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import FrameType

    from actors import ActorRef
    from actors._slot import Slot

# Time stands still, as asks are inline for a time only.
pytestmark = pytest.mark.usefixtures("manual_clock")

HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


class Plain(Actor):
    """Answers a function with what it gives, plainly."""

    @receives(object)
    def call(self, function: Any) -> Any:
        return function()


class Coroutines(Actor):
    """The same from a coroutine; what the function gives is awaited if it can be."""

    @receives(object)
    async def call(self, function: Any) -> Any:
        result = function()
        return await result if asyncio.iscoroutine(result) else result


KINDS = [Plain, Coroutines]


async def turned(awaitable: Awaitable[Any]) -> bool:
    """Whether the loop has had a turn while it was awaited."""
    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    await awaitable
    return bool(turns)


def nothing() -> None:
    """What a handler is asked to call."""


@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_actor_answers_before_the_loop_has_its_turn(
    actor_system: System, kind: type[Any]
) -> None:
    ref = actor_system.start(kind)
    assert not await turned(ref.ask(nothing))
    assert not await turned(ref.ask(nothing))


async def test_a_handler_that_waits_is_waited_for(actor_system: System) -> None:
    ref = actor_system.start(Coroutines)
    assert await turned(ref.ask(lambda: asyncio.sleep(0)))
    assert await ref.ask(lambda: asyncio.sleep(0, "slept")) == "slept"
    assert not await turned(ref.ask(nothing))


async def test_what_came_before_is_handled_before(actor_system: System) -> None:
    ref = actor_system.start(Counter)
    ref.tell(1)
    assert await turned(ref.ask(2))
    ask = ref.ask(3)
    ref.tell(4)
    assert await turned(ask)
    assert await ref.ask(None) == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_actor_tells_itself_comes_after(
    actor_system: System, kind: type[Any]
) -> None:
    ref = actor_system.start(kind)
    seen: list[str] = []

    def tells() -> None:
        ref.tell(lambda: seen.append("told"))
        seen.append("asked")

    assert not await turned(ref.ask(tells))
    assert seen == ["asked"]
    await ref.ask(nothing)
    assert seen == ["asked", "told"]


async def test_an_actor_with_a_message_in_hand_is_not_disturbed(actor_system: System) -> None:
    gate = actor_system.start(Gate)
    gate.tell("running")
    await settle(actor_system)
    ask = asyncio.ensure_future(gate.ask("next"))
    await settle(actor_system)
    assert not ask.done()
    gate._actor_weakref().open.set()
    await ask


async def test_a_thread_answers_from_its_own(actor_system: System) -> None:
    ref = actor_system.start(ThreadCounter)
    assert await ref.ask(2) == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_the_handler_runs_in_the_context_of_its_actor(
    actor_system: System, kind: type[Any]
) -> None:
    ref = actor_system.start(kind)
    HERE.set("caller")

    def look() -> str:
        before = HERE.get()
        HERE.set("handler")
        return before

    assert [await ref.ask(look) for _ in range(3)] == ["nowhere"] * 3
    assert HERE.get() == "caller"
    assert not await turned(ref.ask(nothing))
    ref.tell(nothing)
    assert await ref.ask(HERE.get) == "nowhere"


async def test_the_task_of_the_caller_is_not_that_of_the_handler(actor_system: System) -> None:
    plain, coroutines = actor_system.start(Plain), actor_system.start(Coroutines)
    me = asyncio.current_task()
    assert await plain.ask(asyncio.current_task) is None
    task = await coroutines.ask(asyncio.current_task)
    assert isinstance(task, asyncio.Task)
    assert task is not me
    assert asyncio.current_task() is me


async def test_a_crash_is_the_actors_and_not_its_callers(actor_system: System) -> None:
    for kind in (Counter, AsyncCounter):
        ref = actor_system.start(kind)
        me = asyncio.current_task()
        with pytest.raises(ValueError, match="boom"):
            await ref.ask(b"boom")
        assert asyncio.current_task() is me
        with pytest.raises(ActorDeadError):
            await ref.ask(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError])
async def test_whatever_leaves_the_handler_ends_its_actor_alone(
    actor_system: System, kind: type[Any], error: type[BaseException]
) -> None:
    ref = actor_system.start(kind)

    def raises() -> None:
        raise error("out")

    with pytest.raises(Exception, match="out"):
        await ref.ask(raises)
    assert not ref.is_alive()
    assert await actor_system.start(Counter).ask(1) == 1


async def test_a_refusal_leaves_the_actor_alive(actor_system: System) -> None:
    ref = actor_system.start(Counter)
    with pytest.raises(Refused):
        await ref.ask("no")
    assert not await turned(ref.ask(1))


@pytest.mark.parametrize("kind", KINDS)
async def test_others_have_their_turn_after_so_many_asks(
    actor_system: System, kind: type[Any]
) -> None:
    ref = actor_system.start(kind)
    await settle(actor_system)
    ref.tell(nothing)
    await settle(actor_system)
    turns = [await turned(ref.ask(nothing)) for _ in range(ASKS + 1)]
    assert turns == [False] * ASKS + [True]
    assert not await turned(ref.ask(nothing))


async def test_others_have_their_turn_after_so_much_time(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Counter)
    ref.tell(0)
    await settle(actor_system)
    assert not await turned(ref.ask(1))
    manual_clock.advance(2 * SECONDS)
    assert await turned(ref.ask(2))
    assert not await turned(ref.ask(3))


async def test_asks_over_many_actors_are_inline_up_to_a_length_of_the_chain(
    actor_system: System,
) -> None:
    depths: list[int] = []

    class Link(Actor):
        @receives(int)
        async def pass_on(self, left: int) -> int:
            frame: FrameType | None = sys._getframe()
            depth = 0
            while frame is not None:
                depth, frame = depth + 1, frame.f_back
            depths.append(depth)
            return left if not left else await links[left - 1].ask(left - 1)

    links: list[ActorRef[Any]] = [actor_system.start(Link) for _ in range(10 * CHAIN)]
    assert await links[-1].ask(len(links) - 1) == 0
    assert len(depths) == len(links)
    assert depths[1] > depths[0]
    assert max(depths) < 200


async def test_a_caller_that_stands_deep_leaves_the_actor_a_stack_of_its_own(
    actor_system: System,
) -> None:
    ref = actor_system.start(Plain)
    ref.tell(nothing)
    await settle(actor_system)

    async def deep(levels: int) -> Any:
        return await deep(levels - 1) if levels else await turned(ref.ask(nothing))

    assert not await deep(10)
    ref.tell(nothing)
    await settle(actor_system)
    assert await deep(FRAMES)

    def recursive(levels: int = sys.getrecursionlimit() // 2) -> None:
        if levels:
            recursive(levels - 1)

    async def deep_asks(levels: int) -> None:
        await (deep_asks(levels - 1) if levels else ref.ask(recursive))

    await deep_asks(sys.getrecursionlimit() * 3 // 5)


async def test_a_caller_that_is_cancelled_learns_of_it_where_it_waits(
    actor_system: System,
) -> None:
    ref = actor_system.start(Counter)
    after: list[int] = []

    async def caller() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        after.append(await ref.ask(1))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(caller())
    assert after == []


async def test_a_caller_that_is_cancelled_while_the_handler_waits_cancels_it(
    actor_system: System,
) -> None:
    ref = actor_system.start(Coroutines)
    ended: list[BaseException] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.append(error)
            raise

    caller = asyncio.ensure_future(ref.ask(waits))
    await asyncio.sleep(0)
    caller.cancel()
    await settle(actor_system)
    assert caller.cancelled()
    assert len(ended) == 1
    assert await ref.ask(lambda: "alive") == "alive"


async def test_the_deadline_is_kept(actor_system: System, manual_clock: ManualClock) -> None:
    ref = actor_system.start(Coroutines)
    caller = asyncio.ensure_future(ref.ask(lambda: asyncio.Event().wait(), timeout=3.0))
    await settle(actor_system)
    manual_clock.advance(3.0)
    with pytest.raises(AskTimeout, match="its handler is running"):
        await caller


async def test_who_is_called_by_an_event_is_not_entered_twice(actor_system: System) -> None:
    """A task in an actor's own context asks it: the handler runs when the task does not."""
    ref = actor_system.start(Plain)
    slot = ref._slot

    async def awaits() -> Any:
        return await ref.ask(lambda: "answered")

    task = asyncio.Task(awaits(), loop=asyncio.get_running_loop(), context=slot.ctx)
    assert await task == "answered"
    assert not await turned(ref.ask(nothing))


async def test_the_watchdog_knows_whose_handler_it_is(actor_system: System) -> None:
    seen: list[Any] = []
    inner, outer = actor_system.start(Plain), actor_system.start(Coroutines)

    def look() -> None:
        seen.append(actor_system.busy)

    async def asks() -> None:
        look()
        await inner.ask(look)
        look()

    before = actor_system.turns
    await outer.ask(asks)
    assert [slot.ref for slot in seen] == [outer, inner, outer]
    assert actor_system.busy is None
    assert actor_system.turns == before + 2


class Scope:
    """What a handler runs within, and says where it is."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def enter(self) -> None:
        self.log.append("entered")

    def leave(self) -> None:
        self.log.append("left")

    def end(self, outcome: Any) -> None:
        self.log.append("ended")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_in_force_where_it_is_asked_goes_along(
    actor_system: System, kind: type[Any]
) -> None:
    log: list[str] = []
    actor_system.propagate_context(lambda: Scope(log), ())
    ref = actor_system.start(kind)
    assert not await turned(ref.ask(lambda: log.append("handled")))
    assert log == ["entered", "handled", "left"]


async def test_what_a_handler_does_with_its_message_holds_as_ever(actor_system: System) -> None:
    class Lazy(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.promise: Any = None

        @receives(str)
        def later(self, _: str) -> None:
            self.promise = self.reply_later()

        @receives(int)
        def now(self, number: int) -> None:
            self.promise(number)

    ref = actor_system.start(Lazy)
    asked = asyncio.ensure_future(ref.ask("promise"))
    await asyncio.sleep(0)
    assert not asked.done()
    assert await ref.ask(7) is None
    assert await asked == 7


async def test_a_stop_from_a_handler_comes_after_its_answer(actor_system: System) -> None:
    class Once(Actor):
        @receives(str)
        def last(self, text: str) -> str:
            self.stop()
            return text

    ref = actor_system.start(Once)
    assert await ref.ask("last") == "last"
    await settle(actor_system)
    assert not ref.is_alive()


async def test_every_message_counts_once(actor_system: System) -> None:
    ref = actor_system.start(Plain)
    for _ in range(3 * ASKS):
        await ref.ask(nothing)
    assert actor_system.counters_by_class()[Plain].handled == 3 * ASKS


@pytest.mark.blocking_ok
async def test_threads_that_send_at_the_same_time_lose_nothing(actor_system: System) -> None:
    ref = actor_system.start(Counter)
    threads = [
        threading.Thread(target=lambda: [ref.tell(1) for _ in range(2_000)]) for _ in range(2)
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        asked = 0
        while any(thread.is_alive() for thread in threads):
            asked += 1
            await ref.ask(1)
    finally:
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert await ref.ask(0) == 4_000 + asked


class Raced(deque[Any]):
    """An inbox in which a stop comes first, just as a message is taken out."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.slot: Slot | None = slot

    def popleft(self) -> Any:
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.request_stop()
        return super().popleft()


async def test_a_stop_from_another_thread_goes_before_the_ask(actor_system: System) -> None:
    called: list[None] = []
    ref = actor_system.start(Plain)
    ref._slot.inbox = Raced(ref._slot)
    with pytest.raises(ActorDeadError):
        await ref.ask(lambda: called.append(None))
    assert called == []
    assert not ref.is_alive()


async def test_a_function_that_awaits_without_a_task_waits_for_the_loop(
    actor_system: System,
) -> None:
    ref = actor_system.start(Counter)
    found: list[Any] = []
    asyncio.get_running_loop().call_soon(lambda: found.append(next(ref.ask(1).__await__())))
    await settle(actor_system)
    assert len(found) == 1
    assert await ref.ask(1) == 2


async def test_a_late_answer_is_none(actor_system: System) -> None:
    heard: list[str] = []
    actor_system.events.subscribe(lambda event: heard.append(event.name))
    ref = actor_system.start(Plain)
    for _ in range(3):
        await ref.ask(nothing)
    assert "ask.late_answer" not in heard
    assert actor_system.counters.late_answers == 0
    assert actor_system.deadlines.pending() == 0
