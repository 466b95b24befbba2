"""`reply_later`: a promise that is kept, and one that is not, leave nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, Context, Outcome, ThreadActor, receives
from actors.errors import ActorDeadError, AskCancelled, AskTimeout
from actors.testing import ManualClock, settle

if TYPE_CHECKING:
    from actors import ActorRef, Reply, System

MANY = 10_000


class Promiser(Actor):
    """Promises an answer to each number, and forgets it unless it is even."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[int, Reply] = {}

    @receives(int)
    def promise(self, number: int) -> None:
        reply = self.reply_later()
        if number % 2 == 0:
            self.replies[number] = reply


class PromiserThread(ThreadActor):
    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[int, Reply] = {}

    @receives(int)
    def promise(self, number: int) -> None:
        self.replies[number] = self.reply_later()


def promises(ref: ActorRef[Any]) -> int:
    attached = ref._slot.attached
    return 0 if attached is None else len(attached.promises)


def watched(clock: ManualClock) -> int:
    """How many promises have a timer of their own."""
    timers = [timer for _, _, timer in clock._timers if not timer.cancelled]
    return sum(timer.callback.__name__ == "_overdue" for timer in timers)


async def ended(*asks: Any) -> list[Any]:
    return await asyncio.gather(*asks, return_exceptions=True)


def deliver(ref: ActorRef[Any], message: Any, deadline: float | None) -> list[Outcome]:
    """Deliver as a transport does; the list gets the outcome."""
    outcomes: list[Outcome] = []
    ref.deliver(message, context=Context(kind="ask", deadline=deadline), on_done=outcomes.append)
    return outcomes


async def test_local_asks_whose_answers_were_promised_leave_nothing_after_their_deadlines(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Promiser)
    asks = [ref.ask(number, timeout=2.0) for number in range(MANY)]
    await settle(actor_system)
    assert promises(ref) == MANY
    assert watched(manual_clock) == 0  # the deadlines of asks are known already
    manual_clock.advance(2.0)
    assert {type(end) for end in await ended(*asks)} == {AskTimeout}
    assert promises(ref) == 0
    statistics = actor_system.statistics()
    assert (statistics.expired, statistics.pending_asks) == (MANY, 0)
    assert watched(manual_clock) == 0


async def test_deliveries_whose_answers_were_promised_leave_nothing_after_their_deadlines(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Promiser)
    ends = [deliver(ref, number, 1.0 + number / MANY) for number in range(MANY)]
    await settle(actor_system)
    assert promises(ref) == watched(manual_clock) == MANY
    manual_clock.advance(1.5)
    assert 0 < promises(ref) < MANY
    assert not ends[-1]
    manual_clock.advance(0.5)
    assert [[outcome.kind for outcome in each] for each in ends] == [["expired"]] * MANY
    assert promises(ref) == 0
    assert actor_system.statistics().expired == MANY
    assert watched(manual_clock) == 0


async def test_a_promise_kept_in_time_is_not_touched_by_its_deadline(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Promiser)
    ask, delivered, for_ever = ref.ask(0, timeout=2.0), deliver(ref, 2, 2.0), deliver(ref, 4, None)
    await settle(actor_system)
    manual_clock.advance(1.9)
    replies = ref._slot.actor.replies
    assert replies[0]("asked")
    assert replies[2]("delivered")
    assert watched(manual_clock) == 0
    manual_clock.advance(1000.0)
    assert replies[4]("for ever")  # nobody set it a deadline
    assert await ask == "asked"
    assert [outcome.value for outcome in (*delivered, *for_ever)] == ["delivered", "for ever"]
    assert actor_system.statistics().expired == 0
    assert promises(ref) == 0


async def test_an_answer_after_the_deadline_reaches_nobody_and_says_so(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Promiser)
    ask, delivered = ref.ask(0, timeout=2.0), deliver(ref, 2, 2.0)
    await settle(actor_system)
    manual_clock.advance(2.0)
    replies = ref._slot.actor.replies
    assert replies[0]("late") is False
    assert replies[0]("later") is False
    assert replies[2](error=ValueError("late")) is False
    assert isinstance((await ended(ask))[0], AskTimeout)
    assert [outcome.kind for outcome in delivered] == ["expired"]
    assert actor_system.statistics().late_answers == 1  # of asks; a transport counts its own
    assert ref.is_alive()


async def test_a_promise_to_who_gave_up_ends_at_once(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(Promiser)
    ask = ref.ask(0, timeout=2.0)
    context = Context(kind="ask", deadline=2.0)
    outcomes: list[Outcome] = []
    delivery = ref.deliver(2, context=context, on_done=outcomes.append)
    await settle(actor_system)
    assert ask.cancel()
    assert delivery.cancel()
    assert promises(ref) == 0
    assert isinstance((await ended(ask))[0], AskCancelled)
    assert [outcome.kind for outcome in outcomes] == ["cancelled"]
    assert ref._slot.actor.replies[0]("late") is False
    assert watched(manual_clock) == 0
    manual_clock.advance(2.0)
    assert actor_system.statistics().expired == 0


async def test_a_promise_that_comes_after_the_deadline_ends_at_once(
    actor_system: System, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()

    class Late(Actor):
        async def on_receive(self, message: Any) -> None:
            await gate.wait()
            self.reply_later()

    ref = actor_system.start(Late)
    ask = ref.ask("x", timeout=1.0)
    await settle(actor_system)
    manual_clock.advance(1.0)
    gate.set()
    assert isinstance((await ended(ask))[0], AskTimeout)
    await settle(actor_system)
    assert promises(ref) == 0
    delivered = deliver(ref, "y", 2.0)
    gate.clear()
    await settle(actor_system)
    manual_clock.advance(2.0)
    gate.set()
    await settle(actor_system)
    manual_clock.advance(0.0)
    assert [outcome.kind for outcome in delivered] == ["expired"]
    assert promises(ref) == 0


@pytest.mark.parametrize("kind", [Promiser, PromiserThread])
async def test_the_end_of_the_actor_takes_the_timers_of_its_promises_along(
    actor_system: System, manual_clock: ManualClock, kind: type[Actor]
) -> None:
    ref = actor_system.start(kind)
    await ref.started()
    ask, delivered = ref.ask(0, timeout=2.0), deliver(ref, 2, 2.0)
    while promises(ref) < 2 or watched(manual_clock) < 1:
        await settle(actor_system)
    await ref.stop()
    assert [outcome.kind for outcome in delivered] == ["dead"]
    assert isinstance((await ended(ask))[0], ActorDeadError)
    assert watched(manual_clock) == 0
    manual_clock.advance(2.0)
    assert actor_system.statistics().expired == 0


async def test_the_promise_of_a_thread_ends_with_its_deadline_too(
    actor_system: System, manual_clock: ManualClock
) -> None:
    ref = actor_system.start(PromiserThread)
    await ref.started()
    ask, delivered, kept = ref.ask(0, timeout=2.0), deliver(ref, 2, 2.0), deliver(ref, 4, 2.0)
    while promises(ref) < 3 or watched(manual_clock) < 2:
        await settle(actor_system)
    assert await asyncio.to_thread(ref._slot.actor.replies[4], "kept")
    await settle(actor_system)
    manual_clock.advance(2.0)
    assert isinstance((await ended(ask))[0], AskTimeout)
    assert [outcome.kind for outcome in (*delivered, *kept)] == ["expired", "replied"]
    assert promises(ref) == 0
    assert actor_system.statistics().expired == 2
    assert watched(manual_clock) == 0
