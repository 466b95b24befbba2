"""`ref.deliver`: what a transport gives, and what it learns, exactly once, on the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Actor,
    ActorDeadError,
    AskCycle,
    Context,
    Event,
    Exit,
    MailboxFull,
    Outcome,
    Refused,
    Reject,
    Restarting,
    Retry,
    ThreadActor,
    receives,
    runtime,
)
from actors.testing import ManualClock, settle
from tests.actors.people import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actors import ActorRef, System


class Worker(Actor):
    refuses = (KeyError,)

    @receives(BaseException)
    def throw(self, error: BaseException) -> None:
        raise error

    @receives(int)
    def double(self, number: int) -> int:
        return 2 * number

    @receives(str)
    def look(self, _: str) -> Context:
        return self.context

    @receives(list)
    async def stream(self, items: list[int]) -> AsyncIterator[int]:
        for item in items:
            yield item


class AsyncWorker(Worker):
    async def throw(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def double(self, number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number


class ThreadWorker(ThreadActor):
    refuses = (KeyError,)
    throw = Worker.throw
    double = Worker.double
    look = Worker.look


KINDS = [Worker, AsyncWorker, ThreadWorker]


async def outcome(ref: ActorRef[Any], message: Any, **context: Any) -> Outcome:
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    ref.deliver(message, context=Context(**context), on_done=done.set_result)
    return await done


@pytest.mark.parametrize("kind", KINDS)
async def test_each_outcome(actor_system: System, kind: type[Actor]) -> None:
    ref = actor_system.start(kind)
    assert await outcome(ref, 21) == Outcome("replied", value=42)
    refused = Refused("no", code="n")
    assert await outcome(ref, refused) == Outcome("refused", error=refused)
    named = KeyError("k")
    assert await outcome(ref, named) == Outcome("refused", error=named)
    retry = Retry(after=3.0, penalty=False)
    assert await outcome(ref, retry) == Outcome(
        "retry", error=retry, retry_after=3.0, penalty=False
    )
    reject = Reject("bad")
    assert await outcome(ref, reject) == Outcome("reject", error=reject)
    error = ValueError("boom")
    crashed = await outcome(ref, error)
    assert (crashed.kind, crashed.error) == ("crashed", error)
    assert crashed.exit is not None
    assert crashed.exit.message_type == "ValueError"
    assert actor_system.dead_letters.total == 0, "the transport keeps the message"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_handler_sees_the_context(actor_system: System, kind: type[Actor]) -> None:
    ref = actor_system.start(kind)
    context = Context(id=b"i" * 16, sender="peer", attempt=3, headers={"tp": "x"})
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    ref.deliver("x", context=context, on_done=done.set_result)
    assert (await done).value is context


async def test_what_is_too_late_is_not_handled(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Worker)
    manual_clock.advance(10.0)
    assert (await outcome(ref, 1, deadline=9.9)).kind == "expired"
    assert (await outcome(ref, 1, deadline=10.1)).kind == "replied"


async def test_dead_and_full_and_circular_are_said_at_once(
    actor_system: System, manual_clock: ManualClock
) -> None:
    class Small(Gate):
        inbox_limit = 1

    nothing: Callable[[Outcome], None] = pytest.fail
    ref = actor_system.start(Small)
    with pytest.raises(AskCycle):
        ref.deliver(1, context=Context(kind="ask", chain=(ref.actor_urn,)), on_done=nothing)
    ended = asyncio.ensure_future(outcome(ref, "waits"))
    await asyncio.sleep(0)
    with pytest.raises(MailboxFull):
        ref.deliver(1, context=Context(), on_done=nothing)
    await ref.stop()
    assert (await ended).kind == "dead"
    with pytest.raises(ActorDeadError):
        ref.deliver(1, context=Context(), on_done=nothing)
    slot = runtime.new_slot(actor_system, Worker)
    slot.retry_after = 5.0
    with pytest.raises(Restarting):
        slot.ref.deliver(1, context=Context(kind="ask", deadline=4.0), on_done=nothing)
    waits = asyncio.ensure_future(outcome(slot.ref, 4, kind="tell"))
    manual_clock.advance(5.0)
    await runtime.start(slot)
    assert (await waits).value == 8
    await runtime.end(slot, await runtime.stop(slot))


async def test_a_delivery_is_cancelled_waiting_or_running(actor_system: System) -> None:
    ref = actor_system.start(Gate)
    actor = ref._actor_weakref()
    outcomes: list[tuple[str, str]] = []

    def note(name: str) -> Callable[[Outcome], None]:
        return lambda outcome: outcomes.append((name, outcome.kind))

    running = ref.deliver("running", context=Context(), on_done=note("running"))
    waiting = ref.deliver("waiting", context=Context(), on_done=note("waiting"))
    last = ref.deliver("last", context=Context(), on_done=note("last"))
    await actor.entered.wait()
    assert waiting.cancel()
    assert not waiting.cancel()
    assert running.cancel()
    actor.open.set()
    await settle(actor_system)
    assert outcomes == [("waiting", "cancelled"), ("running", "cancelled"), ("last", "replied")]
    assert not last.cancel()
    assert actor.handled == ["last"]
    assert ref.is_alive()


async def test_a_delivery_cancelled_before_its_task_began_never_begins(
    actor_system: System,
) -> None:
    ref = actor_system.start(Gate)
    outcomes: list[str] = []
    delivery = ref.deliver("x", context=Context(), on_done=lambda o: outcomes.append(o.kind))
    while ref._slot.handler_task() is None:
        await asyncio.sleep(0)
    delivery.cancel()
    await settle(actor_system)
    assert outcomes == ["cancelled"]


async def test_a_plain_handler_cannot_be_cancelled(actor_system: System) -> None:
    entered, gate = threading.Event(), threading.Event()

    class Hard(ThreadActor):
        def on_receive(self, message: Any) -> str:
            entered.set()
            gate.wait()
            return "done"

    ref = actor_system.start(Hard)
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    delivery = ref.deliver("x", context=Context(), on_done=done.set_result)
    await asyncio.to_thread(entered.wait)
    assert not delivery.cancel()
    gate.set()
    assert (await done).kind == "replied"


@pytest.mark.parametrize("kind", KINDS)
async def test_on_start_may_forbid_the_handler(actor_system: System, kind: type[Actor]) -> None:
    ref = actor_system.start(kind)
    threads: list[int] = []
    for allow, expected in ((False, "cancelled"), (True, "replied")):
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def on_start(answer: bool = allow) -> bool:
            threads.append(threading.get_ident())
            return answer

        ref.deliver(1, context=Context(), on_done=done.set_result, on_start=on_start)
        assert (await done).kind == expected
    assert set(threads) == {threading.get_ident()}


async def test_a_stashed_delivery_is_done_when_it_is_handled(actor_system: System) -> None:
    class Lazy(Actor):
        open = False

        @receives(int)
        def number(self, number: int) -> int:
            if not self.open:
                self.stash()
            return number

        @receives(str)
        def unlock(self, _: str) -> None:
            self.open = True
            self.unstash_all()

    ref = actor_system.start(Lazy)
    outcomes: list[Outcome] = []
    first = ref.deliver(1, context=Context(), on_done=outcomes.append)
    ref.deliver(2, context=Context(), on_done=outcomes.append)
    await settle(actor_system)
    assert outcomes == []
    assert first.cancel()
    await ref.ask("open")
    await settle(actor_system)
    assert [(o.kind, o.value) for o in outcomes] == [("cancelled", None), ("replied", 2)]


async def test_a_generator_is_the_value(actor_system: System) -> None:
    result = await outcome(actor_system.start(Worker), [1, 2, 3])
    assert [item async for item in result.value] == [1, 2, 3]


async def test_the_steps_are_told_to_observers(actor_system: System) -> None:
    events: list[Event] = []
    actor_system.events.subscribe(events.append)
    ref = actor_system.start(Worker)
    await outcome(ref, 1, id=b"\x01" * 16, attempt=2)
    steps = [e for e in events if "id" in e.fields]
    assert [e.name for e in steps] == ["inbox.queued", "handler.started", "handler.returned"]
    assert {e.fields["id"] for e in steps} == {"01" * 16}
    assert {e.fields["attempt"] for e in steps} == {2}


async def test_a_transport_that_fails_is_not_the_actors_crash(
    actor_system: System, caplog: pytest.LogCaptureFixture
) -> None:
    ref = actor_system.start(Worker)

    def bad(_: Outcome) -> None:
        raise RuntimeError("transport")

    ref.deliver(1, context=Context(), on_done=bad)
    await settle(actor_system)
    assert ref.is_alive()
    assert "RuntimeError: transport" in caplog.text


async def test_a_killed_handler_gives_its_message_back(actor_system: System) -> None:
    slot = runtime.new_slot(actor_system, Gate)
    await runtime.start(slot)
    actor = slot.actor
    done = asyncio.ensure_future(outcome(slot.ref, "x"))
    await actor.entered.wait()
    await runtime.stop(slot, timeout=0)
    assert (await done).kind == "dead"
    await runtime.end(slot, Exit("killed"))
