"""Timers that die with their incarnation, and watches."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, Exit, Terminated, ThreadActor, Timer, receives, runtime
from actors.runtime import Slot
from actors.testing import ManualClock, Probe, settle
from tests.actors.people import Counter
from tests.support.instances import instances_of

if TYPE_CHECKING:
    from actors import ActorRef, System


class Ticking(Actor):
    def __init__(self, ticks: list[tuple[int, float]], period: float = 0.1) -> None:
        super().__init__()
        self.ticks = ticks
        self.period = period
        self.timer: Timer | None = None

    def on_start(self) -> None:
        self.timer = self.send_every(self.period, "tick")

    @receives(str)
    def tick(self, _: str) -> None:
        self.ticks.append((self._slot.incarnation, self.system.now()))

    @receives(bytes)
    def crash(self, _: bytes) -> None:
        raise ValueError("x")

    @receives(int)
    def cancel(self, _: int) -> None:
        assert self.timer is not None
        self.timer.cancel()


async def test_send_after_sends_once_at_its_time(
    actor_system: System, manual_clock: ManualClock
) -> None:
    class Once(Counter):
        def on_start(self) -> None:
            self.send_after(2.0, 5)

    ref = actor_system.start(Once)
    await settle(actor_system)
    manual_clock.advance(1.9)
    assert await ref.ask(0) == 0
    manual_clock.advance(0.1)
    assert await ref.ask(0) == 5
    manual_clock.advance(10)
    assert await ref.ask(0) == 5
    assert manual_clock.pending == 1, "the shared deadline of the asks"


async def test_send_every_keeps_its_rate_and_skips_what_passed(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ticks: list[tuple[int, float]] = []
    ref = actor_system.start(Ticking, ticks, 1.0)
    await settle(actor_system)
    for _ in range(3):
        manual_clock.advance(1.0)
        await settle(actor_system)
    assert [time for _, time in ticks] == [1.0, 2.0, 3.0]
    manual_clock.advance(0.5)
    assert len(ticks) == 3
    await ref.ask(0)
    manual_clock.advance(5.0)
    await settle(actor_system)
    assert len(ticks) == 3


async def test_no_tick_of_an_older_incarnation(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ticks: list[tuple[int, float]] = []
    slot = runtime.new_slot(actor_system, Ticking, (ticks,))
    await runtime.start(slot)
    for restart in range(20):
        for _ in range(10):
            manual_clock.advance(0.1)
            await settle(actor_system)
        down = asyncio.Event()
        slot.on_down = lambda *_, told=down: told.set()
        slot.ref.tell(b"x")
        manual_clock.advance(0.1)  # this tick stands behind the crash in the inbox
        await down.wait()
        assert actor_system.dead_letters.counts.get("of an earlier incarnation", 0) == restart
        await runtime.start(slot)
        await settle(actor_system)
    per_life = {life: [i for i, _ in ticks].count(life) for life in range(1, 21)}
    assert per_life == dict.fromkeys(range(1, 21), 10)
    assert manual_clock.pending == 1
    await runtime.end(slot, await runtime.stop(slot))
    assert manual_clock.pending == 0


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
async def test_a_delay_is_a_finite_time(actor_system: System, seconds: float) -> None:
    class Bad(Actor):
        @receives(float)
        def after(self, delay: float) -> None:
            self.send_after(delay, "x")

        @receives(int)
        def every(self, _: int) -> None:
            self.send_every(0, "x")

    with pytest.raises(ValueError, match="finite number of seconds"):
        await actor_system.start(Bad).ask(seconds)
    with pytest.raises(ValueError, match="more than 0"):
        await actor_system.start(Bad).ask(1)


async def test_a_tick_that_finds_a_full_inbox_is_a_dead_letter(
    actor_system: System, manual_clock: ManualClock
) -> None:
    class Blocked(Ticking):
        inbox_limit = 1

        @receives(list)
        async def wait(self, event: list[asyncio.Event]) -> None:
            await event[0].wait()

    ref = actor_system.start(Blocked, [], 1.0)
    go = asyncio.Event()
    await settle(actor_system)
    ref.tell([go])
    await settle(actor_system)
    ref.tell([go])
    manual_clock.advance(1.0)
    manual_clock.advance(1.0)
    assert actor_system.dead_letters.counts == {"mailbox full": 2}
    go.set()
    await settle(actor_system)


async def test_watching_tells_once_and_a_restart_is_no_end(
    actor_system: System, probe: Probe
) -> None:
    slot = runtime.new_slot(actor_system, Counter)
    await runtime.start(slot)
    await probe.watch(slot.ref)
    await probe.watch(slot.ref)
    await runtime.stop(slot)
    await runtime.start(slot)
    await probe.expect_none()
    exit_ = await runtime.stop(slot)
    await runtime.end(slot, exit_)
    assert await probe.expect_terminated(slot.ref) is exit_
    await probe.expect_none()


async def test_watching_the_dead_answers_at_once(actor_system: System, probe: Probe) -> None:
    ref = actor_system.start(Counter)
    ref.tell(b"boom")
    await settle(actor_system)
    await probe.watch(ref)
    exit_ = await probe.expect_terminated(ref)
    assert (exit_.reason, str(exit_.error)) == ("crash", "boom")


class Watcher(Actor):
    def __init__(self, target: ActorRef[Any], log: list[Exit]) -> None:
        super().__init__()
        self.target = target
        self.log = log

    @receives(str)
    def order(self, word: str) -> None:
        if word == "watch":
            self.watch(self.target)
        elif word == "unwatch":
            self.unwatch(self.target)
        else:
            raise ValueError(word)

    @receives(Terminated)
    def ended(self, message: Terminated) -> None:
        assert message.ref is self.target
        self.log.append(message.exit)


async def test_who_watched_keeps_nothing_of_what_has_ended(actor_system: System) -> None:
    heard: list[str] = []

    class Patient(Counter):  # of its own: other tests of this process may leave a Counter
        pass

    class Nurse(Actor):
        @receives(str)
        def watch_one(self, _: str) -> int:
            watched = actor_system.start(Patient)
            self.watch(watched)
            watched.stop()
            return id(watched._slot)

        @receives(Terminated)
        def ended(self, ended: Terminated) -> None:
            heard.append(ended.exit.reason)

    nurse = actor_system.start(Nurse)
    for number in range(5):
        await nurse.ask("watch")
        await settle(actor_system)
        assert len(heard) == number + 1
    gc.collect()
    assert [o for o in instances_of(Slot) if o.actor_class is Patient] == []
    assert nurse._slot.attachments().watching == {}


async def test_a_watch_can_be_taken_back(actor_system: System) -> None:
    log: list[Exit] = []
    target = actor_system.start(Counter)
    watcher = actor_system.start(Watcher, target, log)
    await watcher.ask("watch")
    await watcher.ask("unwatch")
    await target.stop()
    await settle(actor_system)
    assert log == []


async def test_a_watch_dies_with_the_incarnation(actor_system: System) -> None:
    log: list[Exit] = []
    target = actor_system.start(Counter)
    slot = runtime.new_slot(actor_system, Watcher, (target, log))
    await runtime.start(slot)
    await slot.ref.ask("watch")
    await runtime.stop(slot)
    await runtime.start(slot)
    await target.stop()
    await settle(actor_system)
    assert log == []
    await runtime.end(slot, await runtime.stop(slot))


async def test_word_of_a_death_gets_into_a_full_inbox(actor_system: System) -> None:
    class Small(Watcher):
        inbox_limit = 1

        @receives(asyncio.Event)
        async def wait(self, event: asyncio.Event) -> None:
            await event.wait()

    log: list[Exit] = []
    go = asyncio.Event()
    target = actor_system.start(Counter)
    watcher = actor_system.start(Small, target, log)
    await watcher.ask("watch")
    watcher.tell(go)
    await settle(actor_system)
    watcher.tell("unwatch")
    assert watcher.room == 0
    await target.stop()
    go.set()
    await settle(actor_system)
    assert [exit_.reason for exit_ in log] == ["normal"]


async def test_anything_with_the_two_methods_can_be_watched(actor_system: System) -> None:
    class Remote:
        def __init__(self) -> None:
            self.watchers: list[ActorRef[Any]] = []

        def add_watcher(self, watcher: ActorRef[Any]) -> None:
            self.watchers.append(watcher)

        def remove_watcher(self, watcher: ActorRef[Any]) -> None:
            self.watchers.remove(watcher)

    remote = Remote()
    log: list[Exit] = []
    watcher = actor_system.start(Watcher, remote, log)
    await watcher.ask("watch")
    assert remote.watchers == [watcher]
    await watcher.stop()
    assert remote.watchers == []


class _Slow:
    inbox_limit = 3

    def __init__(self, gate: Any, ticks: list[str]) -> None:
        super().__init__()
        self.gate, self.ticks = gate, ticks

    def on_start(self) -> None:
        self.send_every(1.0, "tick")  # type: ignore[attr-defined]  # of an actor


class SlowThread(_Slow, ThreadActor):
    def on_receive(self, message: str) -> str:
        if message == "tick":
            self.ticks.append(message)
            self.gate.wait()
        return message


class SlowAsync(_Slow, Actor):
    async def on_receive(self, message: str) -> str:
        if message == "tick":
            self.ticks.append(message)
            while not self.gate.is_set():
                await asyncio.sleep(0)
        return message


class SlowStash(_Slow, Actor):
    def on_receive(self, message: str) -> str:
        if message == "tick" and not self.gate.is_set():
            self.ticks.append(message)
            self.stash()
        return message


@pytest.mark.parametrize("kind", [SlowThread, SlowAsync, SlowStash])
async def test_a_timer_that_is_faster_than_its_handler_leaves_room_for_others(
    actor_system: System, manual_clock: ManualClock, kind: type[Actor]
) -> None:
    """145: 241 ticks waited after 3 s, and the tells of others found a full inbox."""
    gate, ticks = threading.Event(), []
    ref = actor_system.start(kind, gate, ticks)
    await ref.started()
    await settle(actor_system)
    for _ in range(50):
        manual_clock.advance(1.0)
        for _ in range(5):
            await asyncio.sleep(0)
    assert len(ref._slot.inbox) <= 1
    ref.tell("hello")
    answer = ref.ask("hello", timeout=1000.0)
    assert actor_system.dead_letters.total == 0
    gate.set()
    assert await answer == "hello"
    before = len(ticks)
    if kind is not SlowStash:
        manual_clock.advance(1.0)
        await ref.ask("hello", timeout=1000.0)
        assert len(ticks) > before, "it goes on when there is room"


class Quiet(Actor):
    """Says so when nothing has come for a while."""

    def __init__(self, log):
        self.log = log

    @receives(str)
    def heard(self, message):
        if message == "hush":
            self.log.append(self.cancel_timer("idle"))
        else:
            self.log.append(message)
            self.send_after(10.0, 10, name="idle")

    @receives(float)
    async def hold(self, seconds):
        self.send_after(5.0, 5, name="idle")
        await self.gate.wait()
        self.send_after(20.0, 20, name="idle")

    @receives(int)
    def idle(self, message):
        self.log.append(message)


async def test_a_timer_takes_the_place_of_the_last_one_of_its_name(actor_system, manual_clock):
    log = []
    quiet = actor_system.start(Quiet, log)
    for _ in range(3):
        quiet.tell("a")
        await settle(actor_system)
        manual_clock.advance(9.0)
        await settle(actor_system)
    assert log == ["a", "a", "a"]
    manual_clock.advance(1.0)
    await settle(actor_system)
    assert log == ["a", "a", "a", 10]
    assert manual_clock.pending == 0


async def test_what_a_replaced_timer_has_sent_is_not_handled(actor_system, manual_clock):
    log, Quiet.gate = [], asyncio.Event()
    quiet = actor_system.start(Quiet, log)
    quiet.tell(0.0)
    await settle(actor_system)
    manual_clock.advance(6.0)  # it has fired, and waits behind the handler
    Quiet.gate.set()
    await settle(actor_system)
    assert log == []
    manual_clock.advance(20.0)
    await settle(actor_system)
    assert log == [20]


async def test_a_timer_is_cancelled_by_its_name(actor_system, manual_clock):
    log = []
    quiet = actor_system.start(Quiet, log)
    for message in ("hush", "a", "hush", "hush"):
        quiet.tell(message)
    await settle(actor_system)
    manual_clock.advance(60.0)
    await settle(actor_system)
    assert log == [False, "a", True, False]
