"""The watchdog of the loop, and handlers that take too long without blocking it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, BlockedLoop, Event, SlowHandler, System, receives
from actors.testing import ManualClock, settle
from tests.actors.people import Counter, Gate, ThreadGate

if TYPE_CHECKING:
    from actors import ActorRef


class Blocking(Actor):
    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    @receives(str)
    def plain(self, _: str) -> None:
        self.gate.wait(20)

    @receives(int)
    async def late(self, _: int) -> None:
        await asyncio.sleep(0)
        self.gate.wait(20)


@pytest.mark.blocking_ok
@pytest.mark.parametrize("message", ["plain", 1])
async def test_a_handler_that_blocks_the_loop_is_reported_while_it_does(
    message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system = System(blocked_after=0.05)
    gate = threading.Event()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        if event.name == "loop.blocked":
            seen.append(event)
            gate.set()

    system.events.subscribe(on_event)
    ref: ActorRef[Any] = system.start(Blocking, gate)
    await ref.ask(message, timeout=30.0)
    blocked: BlockedLoop = seen[0].fields["blocked"]
    assert blocked.ref is ref
    assert blocked.message_type == type(message).__name__
    assert blocked.seconds == 0.05
    assert "self.gate.wait(20)" in blocked.stack
    assert "blocks the loop while handling" in caplog.text
    assert len(seen) == 1
    await system.shutdown()


@pytest.mark.blocking_ok
async def test_code_of_nobody_is_told_apart() -> None:
    system = System(blocked_after=0.05)
    gate = threading.Event()
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        if event.name == "loop.blocked":
            seen.append(event)
            gate.set()

    system.events.subscribe(on_event)
    waiting = system.start(Gate)
    waiting.tell("keeps the watchdog awake")
    await settle(system)
    gate.wait(20)
    assert seen[0].fields["blocked"].ref is None
    waiting._actor_weakref().open.set()
    await system.shutdown()


async def test_a_system_needs_no_watchdog() -> None:
    before = threading.active_count()
    system = System(blocked_after=None)
    assert await system.start(Counter).ask(1) == 1
    assert threading.active_count() == before
    await system.shutdown()


async def test_an_async_handler_that_never_ends_is_reported_once(
    actor_system: System, manual_clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[SlowHandler] = []
    actor_system.events.subscribe(
        lambda event: (
            seen.append(event.fields["slow"]) if event.name == "actor.slow_handler" else None
        )
    )
    ref = actor_system.start(Gate)
    ref.tell("x")
    await settle(actor_system)
    manual_clock.advance(29.0)
    assert seen == []
    manual_clock.advance(16.0)
    assert [(s.ref, s.message_type, s.seconds) for s in seen] == [(ref, "str", 30.0)]
    assert "await self.open.wait()" in seen[0].stack
    assert "has been handling str" in caplog.text
    manual_clock.advance(100.0)
    assert len(seen) == 1
    assert [s.ref for s in actor_system.statistics().slow_handlers] == [ref]
    ref._actor_weakref().open.set()
    await settle(actor_system)
    assert actor_system.statistics().slow_handlers == ()
    manual_clock.advance(100.0)
    assert manual_clock.pending == 0


async def test_where_a_handler_stands_is_looked_at_when_it_is_slow_and_not_before(
    actor_system: System, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look formats a stack, which reads files: each look at health would, for each handler."""
    looked: list[Any] = []
    monkeypatch.setattr("actors._loop_slot.stack_of", lambda each: looked.append(each) or "there")
    ref = actor_system.start(Gate)
    ref.tell("wait")
    await settle(actor_system)
    manual_clock.advance(actor_system.slow.limit * 0.75)
    assert (actor_system.slow.now(), looked) == ([], [])
    manual_clock.advance(actor_system.slow.limit)
    assert [each.stack for each in actor_system.slow.now()] == ["there"]
    ref._actor_weakref().open.set()
    await settle(actor_system)


async def test_hung_threads_are_seen_and_the_pool_refuses(
    actor_system: System, manual_clock: ManualClock
) -> None:
    """Ten hang in a call without a timeout; nothing is silently idle."""

    class Small(ThreadGate):
        inbox_limit = 1

    seen: list[SlowHandler] = []
    actor_system.events.subscribe(
        lambda event: (
            seen.append(event.fields["slow"]) if event.name == "actor.slow_handler" else None
        )
    )
    gate = threading.Event()
    pool = []
    for _ in range(10):
        entered = threading.Event()
        ref = actor_system.start(Small, entered, gate)
        ref.tell("hang")
        await asyncio.to_thread(entered.wait)
        pool.append(ref)
    manual_clock.advance(30.0)
    manual_clock.advance(15.0)
    assert {s.ref for s in seen} == set(pool)
    assert all("self.gate.wait()" in s.stack for s in seen)
    assert {s.ref for s in actor_system.statistics().slow_handlers} == set(pool)
    for ref in pool:
        ref.tell("waits")
        assert ref.room == 0
    gate.set()
    for ref in pool:
        await ref.stop()
