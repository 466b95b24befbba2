"""Handlers that end in time: what they are cancelled by, and what that means for their actor."""

from __future__ import annotations

import asyncio

import pytest

from actors import (
    Actor,
    ActorClassError,
    ActorDeadError,
    AskTimeout,
    HandlerTableError,
    HandlerTimeout,
    Request,
    ThreadActor,
    exposed,
    receives,
)
from actors.testing import ManualClock, settle
from supervisors import Supervisor, child, start, which_children


class Work(Request[str]):
    def __init__(self, gate=None, *, then="done"):
        self.gate = gate
        self.then = then


class Quick(Work):
    pass


class Worker(Actor):
    handler_timeout = 5.0

    def __init__(self, log):
        self.log = log

    async def after_start(self):
        await asyncio.sleep(0)
        self.log.append("warm")

    @receives(Work)
    async def work(self, message):
        try:
            if message.gate is not None:
                await message.gate.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            if message.then == "stubborn":
                await message.gate.wait()
            if message.then == "returns":
                return "in time after all"
            raise
        return message.then

    @receives(Quick, timeout=1.0)
    async def quick(self, message):
        return await self.work(message)

    @exposed
    async def called(self, gate):
        await gate.wait()


@pytest.fixture
def log():
    return []


async def wait_for_end(actor_system, clock, seconds):
    await settle(actor_system)
    clock.advance(seconds)
    await settle(actor_system)


async def test_a_handler_over_its_time_is_cancelled_and_its_actor_starts_anew(
    actor_system, manual_clock, log
):
    root = start(Supervisor.of(child(Worker, log)), actor_system)
    await root.started()
    worker = which_children(root)[0].ref
    never = asyncio.Event()
    asked = worker.ask(Work(never), timeout=60.0)
    behind = worker.ask(Work(), timeout=60.0)
    await wait_for_end(actor_system, manual_clock, 4.9)
    assert log == ["warm"]
    manual_clock.advance(0.2)
    with pytest.raises(HandlerTimeout) as caught:
        await asked
    assert (caught.value.message_type, caught.value.limit) == ("Work", 5.0)
    assert await behind == "done"
    assert log == ["warm", "cancelled", "warm"]
    assert which_children(root)[0].restarts == 1


async def test_a_handler_has_its_own_time_and_one_that_overrides_it_too(
    actor_system, manual_clock, log
):
    class Heir(Worker):
        async def quick(self, message):
            return await self.work(message)

    for kind in (Worker, Heir):
        asked = actor_system.start(kind, log).ask(Quick(asyncio.Event()), timeout=60.0)
        await wait_for_end(actor_system, manual_clock, 1.1)
        with pytest.raises(HandlerTimeout, match="within 1 s"):
            await asked


async def test_methods_that_are_called_have_the_time_of_the_class(actor_system, manual_clock, log):
    class Short(Worker):
        handler_timeout = 2.0

    called = actor_system.start(Short, log).proxy().called(asyncio.Event())
    await wait_for_end(actor_system, manual_clock, 2.5)
    with pytest.raises(HandlerTimeout):
        await called


async def test_a_handler_that_ends_in_time_leaves_no_timer(actor_system, manual_clock, log):
    gate = asyncio.Event()
    worker = actor_system.start(Worker, log)
    asked = worker.ask(Work(gate))
    await settle(actor_system)
    before = manual_clock.pending
    gate.set()
    assert await asked == "done"
    assert manual_clock.pending < before
    assert await worker.ask(Work()) == "done"  # and one that does not wait makes none
    manual_clock.advance(100.0)
    assert await worker.ask(Work()) == "done"
    assert log == ["warm"]


async def test_a_handler_may_still_answer_when_it_is_cancelled(actor_system, manual_clock, log):
    worker = actor_system.start(Worker, log)
    asked = worker.ask(Work(asyncio.Event(), then="returns"), timeout=60.0)
    await wait_for_end(actor_system, manual_clock, 5.5)
    assert await asked == "in time after all"
    assert await worker.ask(Work()) == "done"


async def test_a_handler_that_swallows_its_end_is_killed(actor_system, manual_clock, log):
    worker = actor_system.start(Worker, log)
    asked = worker.ask(Work(asyncio.Event(), then="stubborn"), timeout=60.0)
    await wait_for_end(actor_system, manual_clock, 5.5)
    assert worker.is_alive()
    await wait_for_end(actor_system, manual_clock, 1.0)
    with pytest.raises(ActorDeadError):
        await asked
    assert worker.exit.reason == "killed"


async def test_the_deadline_of_an_ask_ends_its_handler_and_not_its_actor(
    actor_system, manual_clock, log
):
    class Polite(Worker):
        handler_timeout = None
        ends_with_ask = True

    worker = actor_system.start(Polite, log)
    asked = worker.ask(Work(asyncio.Event()), timeout=2.0)
    await wait_for_end(actor_system, manual_clock, 2.1)
    with pytest.raises(AskTimeout):
        await asked
    await settle(actor_system)
    assert log == ["warm", "cancelled"]
    assert await worker.ask(Work()) == "done"
    gate = asyncio.Event()
    worker.tell(Work(gate))  # a tell has no deadline
    await wait_for_end(actor_system, manual_clock, 1000.0)
    assert log == ["warm", "cancelled"]
    gate.set()
    assert await worker.ask(Work()) == "done"


async def test_a_stop_that_is_late_is_no_time_limit(actor_system, manual_clock, log):
    worker = actor_system.start(Worker, log)
    worker.tell(Work(asyncio.Event()))
    await settle(actor_system)
    worker._slot.kill()
    await settle(actor_system)
    assert worker.exit.reason == "killed"


def test_what_cannot_be_interrupted_has_no_time_limit():
    with pytest.raises(ActorClassError, match="on a thread"):

        class Blocks(ThreadActor):
            handler_timeout = 1.0

    with pytest.raises(HandlerTableError, match="plain def"):

        class Plain(Actor):
            @receives(int, timeout=1.0)
            def handle(self, message): ...

    with pytest.raises(HandlerTableError, match="finite number"):
        receives(int, timeout=-1)
    with pytest.raises(ActorClassError, match="handler_timeout"):

        class Wrong(Actor):
            handler_timeout = 0


def test_a_class_that_limits_nothing_has_its_handlers_as_they_are():
    class Free(Actor):
        @receives(int)
        async def handle(self, message): ...

    assert Free.__handlers__[int] is Free.handle
    assert ManualClock().pending == 0
