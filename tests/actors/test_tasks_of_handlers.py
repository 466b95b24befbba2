"""Async handlers begin in place; what has to wait goes on in a task of the actor."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, System, receives
from actors._stopping import stop
from actors.testing import settle

if TYPE_CHECKING:
    from collections.abc import Generator

MARK: contextvars.ContextVar[int] = contextvars.ContextVar("MARK", default=0)


class Runs(Actor):
    """Awaits what the function of its message makes."""

    @receives(object)
    async def run(self, function: Any) -> Any:
        return await function()


async def nothing() -> None:
    """What a handler awaits that need not wait."""


def tasks_of(system: System) -> int:
    """How many tasks there are beside the one of the test."""
    return len(asyncio.all_tasks(system.loop)) - 1


async def test_a_handler_has_one_task_from_its_first_line_to_its_last(
    actor_system: System,
) -> None:
    async def looks() -> list[Any]:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        second = asyncio.current_task()
        await asyncio.create_task(nothing())
        return [first, second, asyncio.current_task()]

    ref = actor_system.start(Runs)
    ref.tell(looks)
    tasks = await ref.ask(looks)
    assert isinstance(tasks[0], asyncio.Task)
    assert len(set(tasks)) == 1


async def test_a_busy_actor_has_one_task_and_an_idle_one_none(actor_system: System) -> None:
    seen: set[Any] = set()

    async def looks() -> None:
        seen.add(asyncio.current_task())

    ref = actor_system.start(Runs)
    assert tasks_of(actor_system) == 0
    for _ in range(100):
        await asyncio.sleep(0)
        await ref.ask(looks)
    assert len(seen) == 1
    await settle(actor_system)
    assert tasks_of(actor_system) == 0
    assert next(iter(seen)).done()


async def test_only_a_handler_that_waits_is_counted(actor_system: System) -> None:
    go = asyncio.Event()
    ref = actor_system.start(Runs)
    await ref.ask(nothing)
    assert actor_system.statistics().async_handlers == 0
    ref.tell(go.wait)
    await settle(actor_system)
    assert actor_system.statistics().async_handlers == 1
    go.set()
    await settle(actor_system)
    assert actor_system.statistics().async_handlers == 0


async def test_a_handler_that_waits_keeps_no_answer_of_the_one_before(
    actor_system: System,
) -> None:
    answers: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()

    async def answers_late() -> asyncio.Event:
        await asyncio.sleep(0)
        answers.add(answer := asyncio.Event())
        return answer

    ref = actor_system.start(Runs)
    ref.tell(answers_late)
    ref.tell(asyncio.Event().wait)
    await settle(actor_system)
    gc.collect()
    assert actor_system.statistics().async_handlers == 1
    assert not answers


async def test_a_timeout_of_asyncio_ends_what_it_is_around(actor_system: System) -> None:
    async def limited() -> str:
        try:
            async with asyncio.timeout(0.0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    ref = actor_system.start(Runs)
    assert [await ref.ask(limited) for _ in range(3)] == ["in time"] * 3


async def test_a_task_group_cancels_the_handler_that_made_it(actor_system: System) -> None:
    async def fails() -> None:
        raise KeyError("child")

    async def grouped() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await asyncio.Event().wait()
        except ExceptionGroup:
            return "both ended"
        return "never"

    ref = actor_system.start(Runs)
    assert [await ref.ask(grouped) for _ in range(3)] == ["both ended"] * 3


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_handler_cancels_what_it_waits_for(
    actor_system: System, turns: int
) -> None:
    """Also in the turn of the loop before its task has taken that up."""
    ended: list[str] = []
    inner: asyncio.Task[bool] = asyncio.create_task(asyncio.Event().wait())
    begun = asyncio.Event()

    async def outer() -> None:
        begun.set()
        try:
            await inner
        finally:
            ended.append("outer")

    ref = actor_system.start(Runs)
    ask = ref.ask(outer)
    while not begun.is_set():
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    assert ask.cancel()
    await settle(actor_system)
    assert inner.cancelled()
    assert ended == ["outer"]
    assert await ref.ask(nothing) is None


async def test_a_future_that_others_await_too_wakes_all(actor_system: System) -> None:
    shared = actor_system.loop.create_future()

    async def waits() -> Any:
        return await shared

    async def beside() -> Any:
        return await shared

    first, second = actor_system.start(Runs), actor_system.start(Runs)
    asks = [first.ask(waits), second.ask(waits)]
    # These come when the handlers have begun, and their tasks have not gone on.
    others = [asyncio.create_task(beside()) for _ in range(2)]
    await settle(actor_system)
    shared.set_result("all")
    assert [await ask for ask in asks] == ["all"] * 2
    assert [await task for task in others] == ["all"] * 2


async def test_a_future_done_meanwhile_is_not_missed(actor_system: System) -> None:
    shared = actor_system.loop.create_future()

    async def waits() -> Any:
        actor_system.loop.call_soon(shared.set_result, "done")
        return await shared

    assert await actor_system.start(Runs).ask(waits) == "done"


async def test_a_handler_that_cancels_its_own_task_and_waits_for_nothing_hits_no_other(
    actor_system: System,
) -> None:
    async def cancels() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned"

    async def waits() -> str:
        await asyncio.sleep(0)
        return "waited"

    ref = actor_system.start(Runs)
    asks = [ref.ask(cancels), ref.ask(waits), ref.ask(cancels), ref.ask(nothing)]
    assert [await ask for ask in asks] == ["returned", "waited", "returned", None]


async def test_a_task_that_is_cancelled_when_its_handler_has_ended_is_used_no_more(
    actor_system: System,
) -> None:
    kept: list[asyncio.Task[Any]] = []

    async def looks() -> None:
        task = asyncio.current_task()
        assert task is not None
        kept.append(task)

    async def waits() -> str:
        await asyncio.sleep(0)
        return "waited"

    ref = actor_system.start(Runs)
    await ref.ask(looks)
    kept[0].cancel()
    assert await ref.ask(waits) == "waited"
    await ref.ask(looks)
    assert kept[0] is not kept[1]


async def test_a_kill_right_after_the_first_step_reaches_the_handler(
    actor_system: System,
) -> None:
    seen: list[BaseException] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            seen.append(error)
            raise

    ref = actor_system.start(Runs)
    ref._slot.on_down = lambda _slot, _exit: None
    ref.tell(waits)
    await asyncio.sleep(0)
    exit_ = await stop(ref._slot, timeout=0)
    assert exit_.reason == "killed"
    assert [type(error) for error in seen] == [asyncio.CancelledError]


async def test_what_a_handler_sets_is_gone_whether_it_waits_or_not(actor_system: System) -> None:
    async def sets() -> int:
        before = MARK.get()
        MARK.set(before + 1)
        return before

    async def sets_and_waits() -> int:
        before = MARK.get()
        MARK.set(7)
        await asyncio.sleep(0)
        return before * 10 + MARK.get()

    ref = actor_system.start(Runs)
    asks = [ref.ask(handler) for handler in (sets, sets_and_waits, sets, sets_and_waits) * 3]
    assert [await ask for ask in asks] == [0, 7] * 6


async def test_a_handler_that_yields_what_no_task_takes_crashes(actor_system: System) -> None:
    @types.coroutine
    def wrong() -> Generator[Any, None, None]:
        yield "not a future"

    async def yields() -> None:
        await wrong()

    ref = actor_system.start(Runs)
    with pytest.raises(RuntimeError, match="bad yield"):
        await ref.ask(yields)
    assert not ref.is_alive()


def test_a_loop_that_ends_right_after_a_message_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()

    async def main() -> None:
        system = System(blocked_after=None)
        await system.start(Runs).ask(nothing)

    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert "destroyed" not in caplog.text
