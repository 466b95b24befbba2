"""Actors on threads: ours, and plain Pykka classes, behind the same slot."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka._envelope import Envelope

from actors import (
    ActorDeadError,
    BlockingCall,
    Event,
    Exit,
    Future,
    Refused,
    StartFailed,
    ThreadAbandoned,
    ThreadActor,
    receives,
    runtime,
)
from actors.runtime import SlotState
from actors.testing import ManualClock, settle
from tests.actors.people import Counter, ThreadCounter, ThreadGate

if TYPE_CHECKING:
    from actors import ActorRef, System


class Plain(pykka.ThreadingActor):
    """Written for Pykka, knowing nothing of us."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log
        self.early_ref = self.actor_ref
        self.number = 7

    def on_start(self) -> None:
        self.log.append(f"start {threading.current_thread().name.split('-')[0]}")

    def on_stop(self) -> None:
        self.log.append("stop")

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: object,
    ) -> None:
        self.log.append(f"failure {exception_value}")

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        if message == "stop":
            self.stop()
            return "stopping"
        return ("got", message)

    def method(self, number: int) -> int:
        return number + self.number


async def test_a_plain_pykka_class_lives_in_our_slot(actor_system: System) -> None:
    log: list[str] = []
    slot = runtime.new_slot(actor_system, Plain, (log,))
    await runtime.start(slot)
    assert await slot.ref.ask("x") == ("got", "x")
    assert slot.actor.actor_ref is slot.ref
    downs: list[Exit] = []
    down = asyncio.Event()
    slot.on_down = lambda _, exit_: (downs.append(exit_), down.set())  # type: ignore[func-returns-value]  # two calls in one
    with pytest.raises(ValueError, match="boom"):
        await slot.ref.ask(ValueError("boom"))
    await down.wait()
    waiting = slot.ref.ask("y")
    await runtime.start(slot)
    assert await waiting == ("got", "y")
    down.clear()
    assert await slot.ref.ask("stop") == "stopping"
    await down.wait()
    assert [exit_.reason for exit_ in downs] == ["crash", "normal"]
    await runtime.end(slot, downs[-1])
    assert log == ["start Plain", "failure boom", "start Plain", "stop"]


async def test_a_ref_that_pykka_made_reaches_the_slot_too(actor_system: System) -> None:
    slot = runtime.new_slot(actor_system, Plain, ([],))
    await runtime.start(slot)
    early = slot.actor.early_ref
    assert type(early) is pykka.ActorRef
    future = early.ask("through pykka", block=False)
    assert await asyncio.to_thread(future.get) == ("got", "through pykka")
    actor = slot.actor
    await runtime.stop(slot)
    assert not early.is_alive()
    assert actor.actor_stopped.is_set()
    await runtime.end(slot, Exit("normal"))


@pytest.mark.parametrize("kind", [Counter, ThreadCounter])
async def test_envelopes_of_pykka_may_be_put_in_the_inbox(
    actor_system: System, kind: type[Counter]
) -> None:
    ref = actor_system.start(kind)
    future: Future[int] = Future()
    refused: Future[int] = Future()
    ref.actor_inbox.put(Envelope(5, reply_to=future))
    ref.actor_inbox.put(Envelope("no", reply_to=refused))
    ref.actor_inbox.put(Envelope(6))
    assert await future == 5
    with pytest.raises(Refused):
        await refused
    assert await ref.ask(0) == 11
    assert ref.actor_inbox.empty()
    with pytest.raises(TypeError, match="only the runtime"):
        ref.actor_inbox.get()
    await ref.stop()
    with pytest.raises(ActorDeadError):
        ref.actor_inbox.put(Envelope(7))


async def test_proxies_reach_a_plain_pykka_class(actor_system: System) -> None:
    ref = actor_system.start(Plain, [])
    proxy = ref.proxy()
    assert await proxy.method(1) == 8
    assert await proxy.number == 7


async def test_a_machine_without_a_thread_left_fails_the_start_and_nothing_hangs(
    actor_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 188."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    ref = actor_system.start(ThreadCounter)
    with pytest.raises(ActorDeadError, match="can't start new thread"):
        await ref.ask(1)
    assert actor_system.statistics().threads == 0


async def test_handlers_run_on_the_thread_and_may_block_for_others(actor_system: System) -> None:
    class Asking(ThreadActor):
        @receives(object)
        def ask_other(self, ref: ActorRef[Any]) -> tuple[str, Any]:
            return threading.current_thread().name, ref.ask("x", block=True)

    class Answering(ThreadActor):
        @receives(str)
        def where(self, _: str) -> str:
            return threading.current_thread().name

    asking = actor_system.start(Asking)
    here, there = await asking.ask(actor_system.start(Answering))
    assert here.startswith("Asking-")
    assert there.startswith("Answering-")


async def test_a_thread_that_hangs_is_abandoned_by_name(
    actor_system: System, manual_clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    actor_system.events.subscribe(events.append)
    entered, gate = threading.Event(), threading.Event()
    slot = runtime.new_slot(actor_system, ThreadGate, (entered, gate))
    await runtime.start(slot)
    first = slot.ref.ask("x")
    second = slot.ref.ask("y", timeout=60.0)
    await asyncio.to_thread(entered.wait)
    stopping = asyncio.ensure_future(runtime.stop(slot, "shutdown", 3.0))
    await settle(actor_system)
    manual_clock.advance(3.0)
    exit_ = await stopping
    assert exit_.reason == "killed"
    assert isinstance(exit_.error, ThreadAbandoned)
    assert exit_.error.thread.startswith("ThreadGate-")
    assert "self.gate.wait()" in exit_.error.running
    assert exit_.error.thread in caplog.text
    (stuck,) = [e for e in events if e.name == "actor.stuck"]
    assert stuck.fields["ref"] is slot.ref
    with pytest.raises(ActorDeadError):
        await first
    assert actor_system.statistics().stuck_threads == (exit_.error.thread,)
    # The slot goes on with another thread, and the old one hurts nobody.
    await runtime.start(slot)
    gate.set()
    assert await second == "y"
    await runtime.end(slot, await runtime.stop(slot))


async def test_an_on_start_that_hangs_is_abandoned(
    actor_system: System, manual_clock: ManualClock
) -> None:
    gate = threading.Event()

    class Hanging(ThreadActor):
        def on_start(self) -> None:
            gate.wait()

    slot = runtime.new_slot(actor_system, Hanging)
    starting = asyncio.ensure_future(runtime.start(slot))
    await settle(actor_system)
    stopping = asyncio.ensure_future(runtime.stop(slot, "shutdown", 1.0))
    await settle(actor_system)
    manual_clock.advance(1.0)
    assert (await stopping).reason == "killed"
    with pytest.raises(StartFailed):
        await starting
    assert slot.state is SlotState.DOWN
    gate.set()
    await runtime.end(slot, Exit("killed"))


async def test_killing_an_idle_thread_abandons_nothing(actor_system: System) -> None:
    slot = runtime.new_slot(actor_system, ThreadGate, (threading.Event(), threading.Event()))
    await runtime.start(slot)
    exit_ = await runtime.stop(slot, timeout=0)
    assert (exit_.reason, exit_.error) == ("killed", None)
    assert actor_system.statistics().stuck_threads == ()
    await runtime.end(slot, exit_)


async def test_a_thread_cannot_wait_for_its_own_end(actor_system: System) -> None:
    class Self(ThreadActor):
        @receives(str)
        def stop_and_wait(self, _: str) -> None:
            self.actor_ref.stop(block=True)

    with pytest.raises(BlockingCall, match="own end"):
        await actor_system.start(Self).ask("x")


async def test_facilities_work_on_threads(actor_system: System, manual_clock: ManualClock) -> None:
    class Busy(ThreadActor):
        open = False

        def on_start(self) -> None:
            self.send_after(1.0, 1.5)

        @receives(float)
        def tick(self, _: float) -> None:
            self.open = True
            self.unstash_all()

        @receives(str)
        def text(self, text: str) -> str:
            if not self.open:
                self.stash()
            return text

        @receives(bytes)
        def promise(self, _: bytes) -> None:
            reply = self.reply_later()
            self.system.call_on_loop(reply, "later")

    ref = actor_system.start(Busy)
    await ref.started()
    asked = ref.ask("x")
    assert await ref.ask(b"") == "later"
    assert not asked.done()
    manual_clock.advance(1.0)
    assert await asked == "x"


async def test_threads_end_with_their_actors(actor_system: System) -> None:
    before = threading.active_count()
    refs = [actor_system.start(ThreadGate, threading.Event(), threading.Event()) for _ in range(20)]
    for ref in refs:
        await ref.started()
    assert threading.active_count() == before + 20
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ThreadGate")]
    for ref in refs:
        await ref.stop()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert threading.active_count() <= before + 1  # the executor's own thread
    assert actor_system.statistics().threads == 0
