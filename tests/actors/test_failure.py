"""Let it crash: what is a crash, what is not, and who learns of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Actor,
    ActorCrashed,
    ActorDeadError,
    AskTimeout,
    Event,
    Exit,
    MailboxFull,
    Refused,
    Reject,
    Restarting,
    Retry,
    StashFull,
    ThreadActor,
    receives,
    runtime,
)
from actors.testing import ManualClock, Probe, settle
from tests.actors.people import AsyncCounter, Counter, Gate, ThreadCounter

if TYPE_CHECKING:
    from actors import ActorRef, System
    from actors.runtime import Slot

KINDS = [Counter, AsyncCounter, ThreadCounter]


async def downed(slot: Slot) -> Exit:
    """Wait until the supervisor of `slot` (there is none) is told of an end."""
    told: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    slot.on_down = lambda _, exit_: told.set_result(exit_)
    return await told


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_no_crash_in_tell_nor_ask(
    actor_system: System, kind: type[Counter]
) -> None:
    events: list[Event] = []
    actor_system.events.subscribe(events.append)
    ref = actor_system.start(kind)
    ref.tell("no")
    with pytest.raises(Refused):
        await ref.ask("no")
    assert await ref.ask(1) == 1
    assert actor_system.dead_letters.total == 0
    refused = [e for e in events if e.name == "tell.refused"]
    assert [e.fields["message"] for e in refused] == ["no"]


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_a_class_names_errors_that_are_refusals(
    actor_system: System, base: type[Actor]
) -> None:
    class Shop(base):  # type: ignore[misc,valid-type]  # a parametrized base
        refuses = (KeyError,)

        @receives(str)
        def get(self, key: str) -> Any:
            return {}[key]

        @receives(int)
        def divide(self, number: int) -> float:
            return 1 / number

    ref = actor_system.start(Shop)
    for _ in range(4):
        with pytest.raises(KeyError):
            await ref.ask("sku")
    assert ref.is_alive()
    with pytest.raises(ZeroDivisionError):
        await ref.ask(0)
    with pytest.raises(ActorDeadError):
        await ref.ask("sku")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_in_tell_is_told_with_its_cause(
    actor_system: System, kind: type[Counter], caplog: pytest.LogCaptureFixture
) -> None:
    ref = actor_system.start(kind)
    ref.tell(b"boom")
    with pytest.raises(ActorDeadError) as caught:
        await ref.ask(1)
    exit_ = caught.value.exit
    assert exit_ is not None
    assert isinstance(exit_.error, ValueError)
    assert (exit_.reason, exit_.message_type, exit_.restarts) == ("crash", "bytes", 0)
    assert actor_system.dead_letters.counts == {"crashed": 1}
    (letter,) = actor_system.dead_letters
    assert (letter.message, letter.exit) == (b"boom", exit_)
    assert "Unhandled exception in Counter" in caplog.text.replace("Async", "").replace(
        "Thread", ""
    )


class Trouble(Actor):
    @receives(BaseException)
    def plain(self, error: BaseException) -> None:
        raise error


class AsyncTrouble(Actor):
    @receives(BaseException)
    async def plain(self, error: BaseException) -> None:
        raise error


class LateTrouble(Actor):
    @receives(BaseException)
    async def plain(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error


class ThreadTrouble(ThreadActor):
    @receives(BaseException)
    def plain(self, error: BaseException) -> None:
        raise error


TROUBLES = [Trouble, AsyncTrouble, LateTrouble, ThreadTrouble]
HARMFUL = [
    asyncio.CancelledError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseExceptionGroup("g", [SystemExit(1)]),
]


@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.parametrize("error", HARMFUL, ids=lambda e: type(e).__name__)
async def test_a_harmful_exception_fails_one_actor_and_nothing_else(
    actor_system: System, kind: type[Actor], error: BaseException
) -> None:
    others = [actor_system.start(Counter) for _ in range(50)]
    asked, told = runtime.new_slot(actor_system, kind), runtime.new_slot(actor_system, kind)
    await runtime.start(asked)
    await runtime.start(told)
    supervised = [asyncio.ensure_future(downed(slot)) for slot in (asked, told)]
    await asyncio.sleep(0)
    with pytest.raises(ActorCrashed) as caught:
        await asked.ref.ask(error)
    assert caught.value.__cause__ is error
    told.ref.tell(error)
    for exit_ in await asyncio.gather(*supervised):
        assert (exit_.reason, exit_.error) == ("crash", error)
    assert await asyncio.gather(*(_ask(ref) for ref in others)) == [1] * 50
    for slot in (asked, told):
        await runtime.end(slot, Exit("crash"))


@pytest.mark.parametrize("kind", [Trouble, ThreadTrouble])
@pytest.mark.parametrize(
    "error",
    [TimeoutError("t"), concurrent.futures.TimeoutError(), StopIteration(5), StopAsyncIteration()],
    ids=lambda e: type(e).__name__,
)
async def test_a_timeout_raised_by_the_handler_is_told_at_once(
    actor_system: System, manual_clock: ManualClock, kind: type[Actor], error: Exception
) -> None:
    ref = actor_system.start(kind)
    with pytest.raises((type(error), ActorCrashed)) as caught:
        await ref.ask(error)
    assert caught.value is error or caught.value.__cause__ is error
    assert not isinstance(caught.value, AskTimeout)
    assert manual_clock.monotonic() == 0.0


async def _ask(ref: ActorRef[Counter]) -> object:
    return await ref.ask(1)


@pytest.mark.parametrize("kind", TROUBLES)
async def test_one_rule_for_ask_and_tell(actor_system: System, kind: type[Actor]) -> None:
    for verb in ("ask", "tell"):
        slot = runtime.new_slot(actor_system, kind)
        await runtime.start(slot)
        supervised = asyncio.ensure_future(downed(slot))
        await asyncio.sleep(0)
        first = slot.actor
        if verb == "ask":
            with pytest.raises(ValueError, match="same"):
                await slot.ref.ask(ValueError("same"))
        else:
            slot.ref.tell(ValueError("same"))
        exit_ = await supervised
        assert exit_.reason == "crash"
        await runtime.start(slot)
        assert slot.actor is not first, "no state is kept after a crash"
        await runtime.end(slot, await runtime.stop(slot))


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_the_mailbox_survives_restarts_in_order(
    actor_system: System, manual_clock: ManualClock, base: type[Actor]
) -> None:
    """Message 1 fails three times and then passes; there is a backoff between."""
    handled: list[int] = []
    failures = 3

    class Flaky(base):  # type: ignore[misc,valid-type]  # a parametrized base
        crash_retries = 5

        @receives(int)
        def handle(self, number: int) -> None:
            nonlocal failures
            if number == 1 and failures:
                failures -= 1
                raise OSError("not yet")
            handled.append(number)
            assert self.context.attempt == (4 if number == 1 else 1)

    slot = runtime.new_slot(actor_system, Flaky)
    for number in range(1, 101):
        slot.ref.tell(number)
    for delay in (1.0, 2.0, 4.0):
        supervised = asyncio.ensure_future(downed(slot))
        await asyncio.sleep(0)
        await runtime.start(slot)
        assert (await supervised).reason == "crash"
        slot.retry_after = delay
        manual_clock.advance(delay)
    await runtime.start(slot)
    while slot.inbox or slot.current is not None:
        await asyncio.sleep(0)
    assert handled == list(range(1, 101))
    assert actor_system.dead_letters.total == 0
    await runtime.end(slot, await runtime.stop(slot))


async def test_a_message_that_crashes_too_often_is_buried(actor_system: System) -> None:
    class Hopeless(Actor):
        crash_retries = 2

        @receives(int)
        def handle(self, number: int) -> None:
            raise OSError("never")

    slot = runtime.new_slot(actor_system, Hopeless)
    slot.ref.tell(7)
    for _ in range(3):
        supervised = asyncio.ensure_future(downed(slot))
        await asyncio.sleep(0)
        await runtime.start(slot)
        await supervised
    assert [(d.message, d.reason) for d in actor_system.dead_letters] == [(7, "crashed")]
    assert not slot.inbox
    await runtime.end(slot, Exit("normal"))


@pytest.mark.parametrize("kind", KINDS)
async def test_every_death_has_one_report_and_watchers_are_told_once(
    actor_system: System, probe: Probe, kind: type[Counter]
) -> None:
    slots = [runtime.new_slot(actor_system, kind) for _ in range(20)]
    reports: list[tuple[str, str | None, str]] = []

    def restart(slot: Slot, exit_: Exit) -> None:
        reports.append((slot.urn, exit_.message_type, str(exit_.error)))
        actor_system.spawn(runtime.start(slot))

    for slot in slots:
        slot.on_down = restart
        await runtime.start(slot)
        await probe.watch(slot.ref)
    for turn in range(3):
        for slot in slots[turn::3]:
            slot.ref.tell(f"{turn}".encode())
    assert await asyncio.gather(*(_ask(slot.ref) for slot in slots)) == [1] * 20
    expected = [(slot.urn, "bytes", str(turn)) for turn in range(3) for slot in slots[turn::3]]
    assert sorted(reports) == sorted(expected)
    await probe.expect_none()
    for slot in slots:
        await runtime.end(slot, await runtime.stop(slot))
        assert (await probe.expect_terminated(slot.ref)).reason == "shutdown"
    await probe.expect_none()


async def test_retry_brings_a_tell_back_after_the_time(
    actor_system: System, manual_clock: ManualClock
) -> None:
    attempts: list[int] = []

    class Patient(Actor):
        @receives(str)
        def handle(self, text: str) -> int:
            attempts.append(self.context.attempt)
            if self.context.attempt < 3:
                raise Retry(after=2.0)
            return self.context.attempt

    ref = actor_system.start(Patient)
    ref.tell("x")
    await settle(actor_system)
    assert attempts == [1]
    manual_clock.advance(1.9)
    await settle(actor_system)
    assert attempts == [1]
    manual_clock.advance(0.1)
    await settle(actor_system)
    manual_clock.advance(2.0)
    await settle(actor_system)
    assert attempts == [1, 2, 3]
    # An ask is tried again within its deadline.
    asked = ref.ask("y", timeout=4.5)
    for _ in range(2):
        await settle(actor_system)
        manual_clock.advance(2.0)
    assert await asked == 3


async def test_a_retry_that_waits_is_not_lost_at_the_end(
    actor_system: System, manual_clock: ManualClock
) -> None:
    class Patient(Actor):
        @receives(object)
        def handle(self, _: object) -> None:
            raise Retry(after=60.0)

    ref = actor_system.start(Patient)
    ref.tell("told")
    asked = ref.ask("asked")
    await settle(actor_system)
    await ref.stop()
    assert [(d.message, d.reason) for d in actor_system.dead_letters] == [("told", "dead")]
    with pytest.raises(ActorDeadError):
        await asked
    manual_clock.advance(60.0)
    assert actor_system.dead_letters.total == 1


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_reject_is_a_dead_letter_or_a_refusal(
    actor_system: System, base: type[Actor]
) -> None:
    class Strict(base):  # type: ignore[misc,valid-type]  # a parametrized base
        @receives(int)
        def handle(self, number: int) -> None:
            raise Reject(f"{number} is bad")

    ref = actor_system.start(Strict)
    ref.tell(1)
    with pytest.raises(Refused, match="2 is bad"):
        await ref.ask(2)
    assert [(d.message, d.reason) for d in actor_system.dead_letters] == [(1, "rejected: 1 is bad")]


async def test_an_ask_that_meets_a_restart_waits_or_fails_at_once(
    actor_system: System, manual_clock: ManualClock
) -> None:
    slot = runtime.new_slot(actor_system, Counter)
    await runtime.start(slot)
    supervised = asyncio.ensure_future(downed(slot))
    await asyncio.sleep(0)
    slot.ref.tell(b"x")
    early = slot.ref.ask(1, timeout=2.0)
    patient = slot.ref.ask(2, timeout=20.0)
    await supervised
    assert slot.retry_after is None
    unknown = slot.ref.ask(3, timeout=2.0)
    slot.retry_after = 5.0
    for ask in (early, unknown):
        assert ask.done()
        with pytest.raises(Restarting, match="try again in 5 s") as caught:
            await ask
        assert caught.value.retry_after == 5.0
    manual_clock.advance(2.0)
    assert slot.retry_after == 3.0
    at_once = slot.ref.ask(4, timeout=2.9)
    assert at_once.done()
    in_time = slot.ref.ask(5, timeout=3.1)
    assert not in_time.done()
    manual_clock.advance(3.0)
    await runtime.start(slot)
    assert slot.retry_after is None
    assert await patient == 2
    assert await in_time == 7
    await runtime.end(slot, await runtime.stop(slot))


async def test_a_full_slot_that_is_down_refuses_asks() -> None:
    from actors import System

    system = System(inbox_limit=1)
    system.attach()
    slot = runtime.new_slot(system, Counter)
    slot.ref.tell(1)
    with pytest.raises(MailboxFull):
        await slot.ref.ask(2)
    await runtime.end(slot, Exit("normal"))


async def test_stash_puts_aside_and_back_in_order(actor_system: System) -> None:
    class Lazy(Actor):
        stash_limit = 3

        def __init__(self) -> None:
            super().__init__()
            self.open = False
            self.seen: list[int] = []

        @receives(int)
        def number(self, number: int) -> int:
            if not self.open:
                self.stash()
                return -1
            self.seen.append(number)
            return number

        @receives(str)
        def unlock(self, _: str) -> None:
            self.open = True
            self.unstash_all()

        @receives(type(None))
        def look(self, _: None) -> list[int]:
            return self.seen

    ref = actor_system.start(Lazy)
    ref.tell(1)
    asked = ref.ask(2)
    assert await ref.ask(None) == []
    ref.tell(3)
    with pytest.raises(StashFull):
        await ref.ask(4)
    ref = actor_system.start(Lazy)
    ref.tell(5)
    asked = ref.ask(5)
    other = ref.ask(None)
    assert await other == []
    ref.tell("open")
    ref.tell(6)
    assert await asked == 5
    assert await ref.ask(None) == [5, 5, 6]


async def test_the_stash_goes_back_when_the_incarnation_ends(actor_system: System) -> None:
    class Lazy(Actor):
        opened = False

        @receives(int)
        async def number(self, number: int) -> int:
            if not Lazy.opened:
                self.stash()
            return number

        @receives(bytes)
        def crash(self, _: bytes) -> None:
            Lazy.opened = True
            raise ValueError("x")

    slot = runtime.new_slot(actor_system, Lazy)
    await runtime.start(slot)
    supervised = asyncio.ensure_future(downed(slot))
    first, second = slot.ref.ask(1), slot.ref.ask(2)
    slot.ref.tell(b"x")
    third = slot.ref.ask(3)
    await supervised
    assert [item.message for item in slot.inbox] == [1, 2, 3]
    await runtime.start(slot)
    assert [await first, await second, await third] == [1, 2, 3]
    await runtime.end(slot, await runtime.stop(slot))


async def test_a_message_that_was_put_aside_before_the_crash_is_not_buried(
    actor_system: System,
) -> None:
    class Odd(Actor):
        @receives(int)
        def number(self, number: int) -> None:
            self.stash()
            raise ValueError("after all")

    slot = runtime.new_slot(actor_system, Odd)
    await runtime.start(slot)
    supervised = asyncio.ensure_future(downed(slot))
    await asyncio.sleep(0)
    slot.ref.tell(5)
    await supervised
    assert list(slot.inbox) == [5]
    assert actor_system.dead_letters.total == 0
    await runtime.end(slot, Exit("normal"))
    assert actor_system.dead_letters.counts == {"dead": 1}


async def test_stash_needs_a_message_in_hand(actor_system: System) -> None:
    class Odd(Actor):
        def on_start(self) -> None:
            self.stash()

    ref = actor_system.start(Odd)
    with pytest.raises(Exception, match="no message is in hand"):
        await ref.started()


async def test_become_takes_everything_until_the_incarnation_ends(actor_system: System) -> None:
    class Moody(Counter):
        @receives(list)
        def change(self, _: list[int]) -> None:
            self.become(self.angry)

        async def angry(self, message: Any) -> str:
            if message == "calm":
                self.become(None)
            return f"grr {message}"

    slot = runtime.new_slot(actor_system, Moody)
    await runtime.start(slot)
    await slot.ref.ask([])
    assert await slot.ref.ask(1) == "grr 1"
    assert await slot.ref.ask("calm") == "grr calm"
    assert await slot.ref.ask(1) == 1
    await slot.ref.ask([])
    await runtime.stop(slot)
    await runtime.start(slot)
    assert await slot.ref.ask(1) == 1
    await runtime.end(slot, await runtime.stop(slot))


async def test_forward_passes_the_asker_on(actor_system: System) -> None:
    class Front(Actor):
        def __init__(self, back: ActorRef[Any]) -> None:
            super().__init__()
            self.back = back

        def on_receive(self, message: Any) -> str:
            self.forward(self.back)
            return "not this"

    gate = actor_system.start(Gate)
    front = actor_system.start(Front, gate)
    gate._actor_weakref().open.set()
    assert await front.ask("x") == "x"
    front.tell("y")
    await settle(actor_system)
    assert gate._actor_weakref().handled == ["x", "y"]
    await gate.stop()
    with pytest.raises(ActorDeadError):
        await front.ask("z")
    front.tell("w")
    await settle(actor_system)
    assert [(d.message, d.target) for d in actor_system.dead_letters] == [("w", gate)]
    assert front.is_alive()


@pytest.mark.parametrize("end", ["answer", "error", "crash", "stop"])
async def test_an_answer_may_come_later(actor_system: System, end: str) -> None:
    class Later(Actor):
        @receives(str)
        def promise(self, _: str) -> None:
            self.reply = self.reply_later()

        @receives(int)
        def keep(self, number: int) -> bool:
            return self.reply(number)

        @receives(Exception)
        def fail(self, error: Exception) -> bool:
            return self.reply(error=error)

        @receives(bytes)
        def crash(self, _: bytes) -> None:
            raise ValueError("crashed")

    ref = actor_system.start(Later)
    asked = ref.ask("x")
    if end == "answer":
        assert await ref.ask(5) is True
        assert await ref.ask(6) is False
        assert await asked == 5
    elif end == "error":
        assert await ref.ask(KeyError("k")) is True
        with pytest.raises(KeyError):
            await asked
    elif end == "crash":
        ref.tell(b"")
        with pytest.raises(ValueError, match="crashed"):
            await asked
    else:
        await settle(actor_system)
        await ref.stop()
        with pytest.raises(ActorDeadError):
            await asked
