"""Starting, stopping, restarting and ending: hooks, order, states, lifecycle hooks."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Actor,
    ActorDeadError,
    Exit,
    Ignore,
    StartFailed,
    System,
    ThreadActor,
    default_system,
    receives,
    runtime,
)
from actors.runtime import Slot, SlotState
from actors.testing import ManualClock, settle
from tests.actors.people import AsyncCounter, Counter, Gate, ThreadCounter

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef


def plain_hooks(base: type[Actor], log: list[str]) -> type[Actor]:
    class Hooked(base):  # type: ignore[misc,valid-type]  # a parametrized base
        def __init__(self) -> None:
            super().__init__()
            log.append("init")

        def on_start(self) -> None:
            log.append("start")

        def after_start(self) -> None:
            log.append("after")

        def on_stop(self, reason: str) -> None:
            log.append(f"stop {reason}")

        def on_failure(self, kind: type, value: BaseException, traceback: object) -> None:
            log.append(f"failure {kind.__name__} {value} {traceback is not None}")

        def on_receive(self, message: Any) -> None:
            log.append(str(message))
            if isinstance(message, Exception):
                raise message

    return Hooked


def async_hooks(_: type[Actor], log: list[str]) -> type[Actor]:
    class Hooked(Actor):
        async def on_start(self) -> None:
            log.append("init")
            await asyncio.sleep(0)
            log.append("start")

        async def after_start(self) -> None:
            await asyncio.sleep(0)
            log.append("after")

        async def on_stop(self, reason: str) -> None:
            await asyncio.sleep(0)
            log.append(f"stop {reason}")

        async def on_failure(self, kind: type, value: BaseException, traceback: object) -> None:
            await asyncio.sleep(0)
            log.append(f"failure {kind.__name__} {value} {traceback is not None}")

        async def on_receive(self, message: Any) -> None:
            await asyncio.sleep(0)
            log.append(str(message))
            if isinstance(message, Exception):
                raise message

    return Hooked


HOOKED = [
    pytest.param(plain_hooks, Actor, id="plain"),
    pytest.param(async_hooks, Actor, id="async"),
    pytest.param(plain_hooks, ThreadActor, id="thread"),
]


@pytest.mark.parametrize(("make", "base"), HOOKED)
async def test_the_hooks_of_an_orderly_life(
    actor_system: System, make: Callable[[type[Actor], list[str]], type[Actor]], base: type[Actor]
) -> None:
    log: list[str] = []
    ref = actor_system.start(make(base, log))
    ref.tell("hello")
    await ref.started()
    assert log[:2] == ["init", "start"]
    await ref.ask("there")
    assert await ref.stop() is True
    assert log == ["init", "start", "after", "hello", "there", "stop normal"]
    assert not ref.is_alive()
    assert ref.actor_stopped.is_set()
    assert await ref.stop() is False


@pytest.mark.parametrize(("make", "base"), HOOKED)
async def test_a_crash_runs_on_failure_and_not_on_stop(
    actor_system: System, make: Callable[[type[Actor], list[str]], type[Actor]], base: type[Actor]
) -> None:
    log: list[str] = []
    ref = actor_system.start(make(base, log))
    with pytest.raises(ValueError, match="boom"):
        await ref.ask(ValueError("boom"))
    await gone(ref)
    assert log == ["init", "start", "after", "boom", "failure ValueError boom True"]
    assert ref.exit is not None
    assert (ref.exit.reason, ref.exit.message_type) == ("crash", "ValueError")


async def gone(ref: ActorRef[Any]) -> None:
    while ref.exit is None:
        await asyncio.sleep(0)


async def test_an_actor_on_its_way_out_is_not_alive(actor_system: System) -> None:
    leaving = asyncio.Event()

    class Slow(Actor):
        async def on_stop(self) -> None:
            await leaving.wait()

    ref = actor_system.start(Slow)
    stopped = ref.stop()
    await settle(actor_system)
    assert not ref.is_alive()
    assert not stopped.done()
    leaving.set()
    assert await stopped is True


async def test_on_stop_may_leave_the_reason_out(actor_system: System) -> None:
    log: list[str] = []

    class Short(Actor):
        def on_stop(self) -> None:
            log.append("stopped")

    await actor_system.start(Short).stop()
    assert log == ["stopped"]


async def test_the_constructor_fails_in_the_caller(actor_system: System) -> None:
    with pytest.raises(TypeError):
        actor_system.start(Counter, 1, 2, 3)
    assert len(actor_system) == 0


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), asyncio.CancelledError()])
@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_a_failed_start_ends_the_actor_and_is_told(
    actor_system: System,
    base: type[Actor],
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(base):  # type: ignore[misc,valid-type]  # a parametrized base
        def on_start(self) -> None:
            raise error

    ref = actor_system.start(Failing)
    asked = ref.ask("x")
    with pytest.raises(StartFailed) as caught:
        await ref.started()
    assert caught.value.__cause__ is error
    with pytest.raises(ActorDeadError):
        await asked
    assert not ref.is_alive()
    with pytest.raises(StartFailed):
        await ref.started()
    assert "Unhandled exception in Failing" in caplog.text


async def test_an_async_start_fails_alike(actor_system: System) -> None:
    class Failing(Actor):
        async def on_start(self) -> None:
            await asyncio.sleep(0)
            raise SystemExit(1)

    with pytest.raises(StartFailed, match="SystemExit: 1"):
        await actor_system.start(Failing).started()


async def test_ignore_ends_quietly(actor_system: System, caplog: pytest.LogCaptureFixture) -> None:
    class Nothing(Actor):
        async def on_start(self) -> None:
            raise Ignore

    ref = actor_system.start(Nothing)
    with pytest.raises(ActorDeadError, match="normal"):
        await ref.started()
    assert caplog.text == ""


async def test_after_start_does_not_delay_the_start_and_comes_before_messages(
    actor_system: System,
) -> None:
    log: list[str] = []
    warm = asyncio.Event()

    class Slow(Actor):
        async def after_start(self) -> None:
            await warm.wait()
            log.append("warm")

        def on_receive(self, message: str) -> None:
            log.append(message)

    ref = actor_system.start(Slow)
    ref.tell("first")
    await ref.started()
    await settle(actor_system)
    assert log == []
    warm.set()
    await ref.ask("second")
    assert log == ["warm", "first", "second"]


async def test_a_crash_in_after_start_is_a_crash(actor_system: System) -> None:
    class Bad(Actor):
        async def after_start(self) -> None:
            raise ValueError("cold")

    ref = actor_system.start(Bad)
    with pytest.raises(ActorDeadError, match="cold"):
        await ref.ask(1)


async def test_a_stop_goes_before_what_waits_and_what_waits_is_not_lost(
    actor_system: System,
) -> None:
    ref = actor_system.start(Counter)
    asked = ref.ask(1)
    ref.tell(2)
    assert await ref.stop() is True
    with pytest.raises(ActorDeadError):
        await asked
    assert actor_system.dead_letters.counts == {"dead": 1}
    with pytest.raises(ActorDeadError):
        ref.tell(3)
    assert [(d.message, d.target) for d in actor_system.dead_letters] == [(2, ref), (3, ref)]


async def test_a_stop_waits_for_the_message_in_hand(actor_system: System) -> None:
    ref = actor_system.start(Gate)
    actor = ref._actor_weakref()
    asked = ref.ask("x")
    await actor.entered.wait()
    stopped = ref.stop()
    await settle(actor_system)
    assert not stopped.done()
    actor.open.set()
    assert await asked == "x"
    assert await stopped is True


async def test_an_error_in_on_stop_is_reported_and_ends_it_all_the_same(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    for base in (Actor, ThreadActor):

        class Bad(base):  # type: ignore[misc,valid-type]  # a parametrized base
            def on_stop(self) -> None:
                raise SystemExit(4)

        ref = actor_system.start(Bad)
        assert await ref.stop() is True
        assert ref.exit is not None
        assert ref.exit.reason == "crash"
    assert [record.actor_doing for record in caplog.records] == ["on_stop"] * 2


@pytest.mark.parametrize("kind", [Counter, AsyncCounter, ThreadCounter])
async def test_a_slot_restarts_with_its_arguments_and_its_inbox(
    actor_system: System, kind: type[Counter]
) -> None:
    slot = runtime.new_slot(actor_system, kind, (10,), {})
    downs: list[Exit] = []
    down = asyncio.Event()

    def on_down(_: Slot, exit_: Exit) -> None:
        downs.append(exit_)
        down.set()

    slot.on_down = on_down
    assert slot.state is SlotState.NEW
    await runtime.start(slot)
    assert slot.state is SlotState.RUNNING
    assert await slot.ref.ask(1) == 11
    slot.ref.tell(b"boom")
    waiting = slot.ref.ask(5)
    await down.wait()
    assert slot.state is SlotState.DOWN
    assert slot.ref.is_alive()
    assert not waiting.done()
    await runtime.start(slot)
    assert await waiting == 15
    assert (slot.incarnation, slot.restarts) == (2, 1)
    assert [(e.reason, e.message_type, e.restarts) for e in downs] == [("crash", "bytes", 0)]
    exit_ = await runtime.stop(slot, "shutdown", 5.0)
    assert (exit_.reason, exit_.restarts, slot.state) == ("shutdown", 1, SlotState.DOWN)
    assert len(downs) == 1, "a stop that was asked for is not told to on_down"
    slot.ref.tell(6)
    await runtime.end(slot, exit_)
    await runtime.end(slot, exit_)
    assert slot.state is SlotState.ENDED
    assert actor_system.dead_letters.counts == {"crashed": 1, "dead": 1}
    with pytest.raises(ActorDeadError):
        await runtime.start(slot)


async def test_a_normal_end_of_its_own_is_told_to_on_down(actor_system: System) -> None:
    slot = runtime.new_slot(actor_system, Counter)
    exits: list[Exit] = []
    slot.on_down = lambda _, exit_: exits.append(exit_)
    await runtime.start(slot)
    assert await slot.ref.stop() is True
    assert [e.reason for e in exits] == ["normal"]
    assert slot.ref.is_alive()
    await runtime.start(slot)
    runtime.exit_with(slot, "shutdown")
    await settle(actor_system)
    assert [e.reason for e in exits] == ["normal", "shutdown"]
    await runtime.end(slot, exits[-1])


async def test_a_start_that_fails_leaves_the_slot_down(actor_system: System) -> None:
    fails = 2

    class Flaky(Actor):
        def __init__(self) -> None:
            super().__init__()
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise OSError("port busy")

        @receives(int)
        def echo(self, number: int) -> int:
            return number

    slot = runtime.new_slot(actor_system, Flaky)
    slot.ref.tell(0)
    waiting = slot.ref.ask(1)
    for _ in range(2):
        with pytest.raises(StartFailed, match="port busy") as caught:
            await runtime.start(slot)
        assert isinstance(caught.value.__cause__, OSError)
        assert slot.state is SlotState.DOWN
        assert slot.exit is not None
        assert slot.exit.reason == "start_failed"
    await runtime.start(slot)
    assert await waiting == 1
    assert actor_system.find(slot.urn) is slot.ref
    await runtime.end(slot, await runtime.stop(slot))


async def test_ignore_leaves_the_slot_down_without_an_error(actor_system: System) -> None:
    class Idle(Actor):
        def on_start(self) -> None:
            raise Ignore

    slot = runtime.new_slot(actor_system, Idle)
    await runtime.start(slot)
    assert slot.ignored
    assert slot.state is SlotState.DOWN
    await runtime.end(slot, Exit("normal"))


async def test_a_kill_cancels_the_handler_and_gives_finally_a_moment(
    actor_system: System, manual_clock: ManualClock
) -> None:
    log: list[str] = []

    class Long(Actor):
        async def on_receive(self, message: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append("cleaned")

        def on_stop(self) -> None:
            log.append("on_stop")

    slot = runtime.new_slot(actor_system, Long)
    await runtime.start(slot)
    asked = slot.ref.ask("x")
    await settle(actor_system)
    stopping = asyncio.ensure_future(runtime.stop(slot, "shutdown", 3.0))
    await settle(actor_system)
    manual_clock.advance(2.9)
    await settle(actor_system)
    assert not stopping.done()
    manual_clock.advance(0.1)
    exit_ = await stopping
    assert (exit_.reason, exit_.message_type) == ("killed", "str")
    assert log == ["cleaned"]
    with pytest.raises(ActorDeadError, match="killed while handling str"):
        await asked
    await runtime.end(slot, exit_)


async def test_a_kill_of_an_idle_actor_runs_no_hook(actor_system: System) -> None:
    log: list[str] = []

    class Hooked(Actor):
        def on_stop(self) -> None:
            log.append("on_stop")

    slot = runtime.new_slot(actor_system, Hooked)
    await runtime.start(slot)
    assert (await runtime.stop(slot, timeout=0)).reason == "killed"
    assert log == []
    await runtime.end(slot, Exit("killed"))


async def test_a_handler_that_is_killed_before_it_began_never_begins(
    actor_system: System,
) -> None:
    slot = runtime.new_slot(actor_system, Gate)
    await runtime.start(slot)
    actor = slot.actor
    asked = slot.ref.ask("x")
    while slot.handler_task() is None:
        await asyncio.sleep(0)
    assert (await runtime.stop(slot, timeout=0)).reason == "killed"
    assert not actor.entered.is_set() or actor.cancelled
    with pytest.raises(ActorDeadError):
        await asked
    await runtime.end(slot, Exit("killed"))


async def test_a_task_that_swallows_cancellation_is_abandoned_by_name(
    actor_system: System, manual_clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()
    log: list[str] = []

    class Stubborn(Actor):
        async def on_receive(self, message: Any) -> str:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    log.append("swallowed")
            try:
                self.send_after(1.0, "late")
            except ActorDeadError:
                log.append("stale")
            return "too late"

    slot = runtime.new_slot(actor_system, Stubborn)
    await runtime.start(slot)
    asked = slot.ref.ask("x")
    await settle(actor_system)
    stopping = asyncio.ensure_future(runtime.stop(slot, timeout=0))
    await settle(actor_system)
    assert not stopping.done()
    manual_clock.advance(0.1)
    assert (await stopping).reason == "killed"
    assert "Stubborn" in caplog.text
    assert "release.wait" in caplog.text
    with pytest.raises(ActorDeadError):
        await asked
    # The slot goes on without it.
    await runtime.start(slot)
    again = slot.ref.ask("y")
    release.set()
    assert await again == "too late"
    await settle(actor_system)
    assert log == ["swallowed", "stale"]
    await runtime.end(slot, await runtime.stop(slot))


async def test_a_stop_while_the_start_runs_fails_the_start(
    actor_system: System, manual_clock: ManualClock
) -> None:
    never = asyncio.Event()

    class Starting(Actor):
        async def on_start(self) -> None:
            await never.wait()

    slot = runtime.new_slot(actor_system, Starting)
    starting = asyncio.ensure_future(runtime.start(slot))
    await settle(actor_system)
    patient = asyncio.ensure_future(runtime.stop(slot, "shutdown", 10.0))
    await settle(actor_system)
    killed = await runtime.stop(slot, timeout=0)
    assert killed.reason == "killed"
    assert (await patient).reason == "killed"
    with pytest.raises(StartFailed):
        await starting
    assert slot.state is SlotState.DOWN
    await runtime.end(slot, killed)


async def test_a_cancelled_start_cancels_on_start(actor_system: System) -> None:
    cancelled = asyncio.Event()

    class Starting(Actor):
        async def on_start(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    slot = runtime.new_slot(actor_system, Starting)
    starting = asyncio.ensure_future(runtime.start(slot))
    await settle(actor_system)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    await cancelled.wait()
    assert slot.state is SlotState.DOWN
    await runtime.end(slot, Exit("killed"))


async def test_the_end_calls_back_however_it_comes(actor_system: System) -> None:
    log: list[str] = []

    class Plain(Counter):
        def on_start(self) -> None:
            runtime.on_incarnation_end(self._slot, lambda: log.append("over"))
            if self.total < 0:
                raise ValueError("negative")

    slot = runtime.new_slot(actor_system, Plain)
    slot.on_down = lambda *_: log.append("down")
    await runtime.start(slot)
    await runtime.stop(slot, "shutdown", 1.0)
    await runtime.start(slot)
    await runtime.stop(slot, timeout=0)
    await runtime.start(slot)
    slot.ref.tell(b"crash")
    await settle(actor_system)
    slot.args = (-1,)
    with pytest.raises(StartFailed):
        await runtime.start(slot)
    assert log == ["over", "over", "over", "down", "over"]
    await runtime.end(slot, Exit("normal"))


async def test_callbacks_at_the_end_that_fail_leave_nobody_waiting(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(*_: object) -> None:
        raise RuntimeError("broken callback")

    slot = runtime.new_slot(actor_system, Counter)
    slot.on_down = bad
    await runtime.start(slot)
    runtime.on_incarnation_end(slot, bad)
    assert await slot.ref.stop() is True
    assert slot.state is SlotState.DOWN
    assert len(caplog.records) == 2
    await runtime.end(slot, Exit("normal"))


class Recorder:
    """Lifecycle hooks that write down what they see."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fail = False

    async def started(self, ref: ActorRef[Any], actor: Any) -> None:
        await asyncio.sleep(0)
        self.log.append(f"started {type(actor).__name__}")
        if self.fail:
            raise OSError("cannot bind")

    async def restarting(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # the hook's parameter
        await asyncio.sleep(0)
        self.log.append(f"restarting {exit.reason}")
        if self.fail:
            raise OSError("cannot pause")

    async def restarted(self, ref: ActorRef[Any], actor: Any) -> None:
        self.log.append(f"restarted {type(actor).__name__}")

    async def ended(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # the hook's parameter
        await asyncio.sleep(0)
        self.log.append(f"ended {exit.reason}")


async def test_lifecycle_hooks_are_awaited_in_order(actor_system: System) -> None:
    hooks = Recorder()
    actor_system.lifecycle.append(hooks)
    ref = actor_system.start(Counter)
    await ref.started()
    assert hooks.log == ["started Counter"]
    assert await ref.stop() is True
    assert hooks.log == ["started Counter", "ended normal"]
    hooks.log.clear()
    slot = runtime.new_slot(actor_system, Counter)
    slot.on_down = lambda *_: hooks.log.append("down")
    await runtime.start(slot)
    slot.ref.tell(b"x")
    await settle(actor_system)
    await runtime.start(slot)
    exit_ = await runtime.stop(slot)
    await runtime.end(slot, exit_)
    assert hooks.log == [
        "started Counter",
        "restarting crash",
        "down",
        "restarted Counter",
        "restarting shutdown",
        "ended shutdown",
    ]


async def test_a_lifecycle_hook_that_fails_fails_the_start(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Recorder()
    hooks.fail = True
    actor_system.lifecycle.append(hooks)
    with pytest.raises(StartFailed, match="cannot bind"):
        await actor_system.start(Counter).started()
    hooks.fail = False
    slot = runtime.new_slot(actor_system, Counter)
    await runtime.start(slot)
    hooks.fail = True
    exit_ = await runtime.stop(slot)
    assert exit_.reason == "shutdown"
    assert "cannot pause" in caplog.text
    await runtime.end(slot, exit_)


async def test_shutdown_ends_the_latest_first() -> None:
    system = System()
    log: list[int] = []

    class Numbered(Actor):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        async def on_stop(self, reason: str) -> None:
            assert reason == "shutdown"
            log.append(self.number)

    for number in range(5):
        system.start(Numbered, number)
    await system.shutdown()
    assert log == [4, 3, 2, 1, 0]
    assert len(system) == 0
    await system.shutdown()
    await System().shutdown()


async def test_start_uses_the_system_of_the_loop_and_of_the_actor() -> None:
    seen: list[Any] = []

    class Parent(Actor):
        def on_start(self) -> None:
            seen.append(Counter.start()._slot.system)

    ref = Counter.start()
    assert ref._slot.system is default_system()
    own = System()
    await own.start(Parent).started()
    assert seen == [own]
    await own.shutdown()
    await default_system().shutdown()


async def test_an_instance_made_by_hand_says_what_is_wrong() -> None:
    with pytest.raises(RuntimeError, match=r"start it with Counter.start\(\)"):
        _ = Counter().actor_ref
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = Counter().nothing


def test_other_classes_are_no_actors() -> None:
    with pytest.raises(TypeError, match=r"neither an actors\.Actor"):
        System().start(int)
    for other in ((Counter, ()), Counter(), None, "Counter"):
        with pytest.raises(TypeError, match=r"is not a class: .* started by supervisors\.start"):
            System().start(other)  # type: ignore[call-overload]  # a caller without a checker


def test_what_would_run_on_a_closed_loop_is_refused_and_closed() -> None:
    async def made() -> System:
        system = System("gone")
        system.start(Counter)
        await system.shutdown()
        return system

    async def never() -> None:
        raise AssertionError("it ran")

    system, coroutine = asyncio.run(made()), never()
    with pytest.raises(RuntimeError, match="closed"):
        system.spawn(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
