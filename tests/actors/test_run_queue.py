"""The run queue: which slots run when, and that nothing is forgotten there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, Context, Delivery, Outcome, System, receives
from actors._run_queue import CHUNK, TIME_BUDGET
from actors.testing import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef


class Calls(Actor):
    """Calls what it is sent."""

    @receives(object)
    def call(self, function: Callable[[], Any]) -> Any:
        return function()


async def test_slots_run_in_the_order_in_which_they_became_ready(actor_system: System) -> None:
    refs = [actor_system.start(Calls) for _ in range(5)]
    seen: list[int] = []
    for number in (3, 1, 4, 0, 2, 3):
        refs[number].tell(lambda number=number: seen.append(number))
    await settle(actor_system)
    assert seen == [3, 3, 1, 4, 0, 2]


async def test_those_that_become_ready_meanwhile_come_after_what_else_the_loop_has(
    actor_system: System,
) -> None:
    first, second = actor_system.start(Calls), actor_system.start(Calls)
    seen: list[str] = []

    def passes_on() -> None:
        actor_system.loop.call_soon(seen.append, "callback")
        second.tell(lambda: seen.append("second"))
        seen.append("first")

    first.tell(passes_on)
    await settle(actor_system)
    assert seen == ["first", "callback", "second"]


async def test_a_crowd_lets_others_have_the_loop_after_so_much_time(
    actor_system: System, manual_clock: ManualClock
) -> None:
    seen: list[int] = []
    callbacks: list[int] = []

    def takes_long() -> None:
        seen.append(len(callbacks))
        manual_clock.advance(2 * TIME_BUDGET / CHUNK)

    for _ in range(5 * CHUNK):
        actor_system.start(Calls).tell(takes_long)
    actor_system.loop.call_soon(callbacks.append, 0)
    await settle(actor_system)
    assert len(seen) == 5 * CHUNK
    assert seen.count(0) == 2 * CHUNK


async def test_what_leaves_the_loop_between_two_slots_leaves_the_others_there(
    actor_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [actor_system.start(Calls) for _ in range(3)]
    seen: list[int] = []
    for number, ref in enumerate(refs):
        ref.tell(lambda number=number: seen.append(number))
    queue = actor_system.run_queue

    class Leaving:
        def run(self) -> None:
            raise KeyboardInterrupt

    queue._ready.appendleft(Leaving())
    with pytest.raises(KeyboardInterrupt):
        queue._run()
    assert seen == []
    await settle(actor_system)
    assert seen == [0, 1, 2]


def test_a_loop_that_closed_before_it_could_run_a_slot_ends_the_next_one() -> None:
    loop = asyncio.new_event_loop()
    refs: list[Any] = []

    async def main() -> None:
        system = System(blocked_after=None)
        refs.extend(system.start(Calls) for _ in range(2))
        refs[0].tell(loop.stop)

    loop.run_until_complete(main())
    refs[0].tell(print)
    loop.close()
    refs[1].tell(print)
    assert not refs[1].is_alive()
    assert refs[1]._slot.system.dead_letters.counts == {"dead": 1}


class Asked(Delivery):
    """A request as a transport gives it, which notes its answer."""

    def __init__(self, message: Any, answers: list[Any]) -> None:
        self._state = "waiting"
        self.message, self.deadline, self.answers = message, None, answers

    def context(self) -> Context:
        return Context(kind="ask")

    def returned(self, value: object) -> None:
        self.answers.append(value)

    def ended(self, outcome: Outcome) -> None:
        self.answers.append(outcome.kind)


async def put_at_once(system: System, ref: ActorRef[Any], asked: Asked) -> list[Any]:
    """What was answered when `put_ask` returned, in a callback of the loop."""
    seen: asyncio.Future[list[Any]] = system.loop.create_future()

    def comes() -> None:
        ref.put_ask(asked, (), at_once=True)
        seen.set_result(list(asked.answers))

    system.loop.call_soon(comes)
    return await seen


async def test_what_comes_alone_is_handled_by_an_idle_actor_where_it_is_put(
    actor_system: System,
) -> None:
    ref = actor_system.start(Calls)
    assert await put_at_once(actor_system, ref, Asked(asyncio.current_task, [])) == [None]
    assert await ref.ask(lambda: 7) == 7


async def test_what_comes_alone_waits_for_all_who_are_before_it(actor_system: System) -> None:
    first, second = actor_system.start(Calls), actor_system.start(Calls)
    seen: list[Any] = []

    def comes() -> None:
        first.tell(lambda: seen.append("told first"))
        second.put_ask(Asked(lambda: "asked second", seen), (), at_once=True)

    actor_system.loop.call_soon(comes)
    await settle(actor_system)
    assert seen == ["told first", "asked second"]

    def within() -> str:
        second.put_ask(Asked(lambda: "after the turn", seen), (), at_once=True)
        return "in a turn"

    assert await put_at_once(actor_system, first, Asked(within, seen)) == [*seen[:2], "in a turn"]
    await settle(actor_system)
    assert seen[2:] == ["in a turn", "after the turn"]


async def test_a_crash_of_what_comes_alone_is_that_of_its_actor(actor_system: System) -> None:
    ref = actor_system.start(Calls)

    def fails() -> None:
        raise LookupError

    assert await put_at_once(actor_system, ref, Asked(fails, [])) == ["crashed"]
    assert not ref.is_alive()
