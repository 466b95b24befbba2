"""Each message begins from the actor's own `contextvars` context.

What the constructor, `on_start` and `after_start` set stays; what a handler sets is
gone with its message (182: the log fields of one request stood in those of the next).
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from actors import Actor, Context, Outcome, Refused, ThreadActor, current_actor

user: ContextVar[object] = ContextVar("user", default=None)
place: ContextVar[object] = ContextVar("place", default=None)


class _Plain:
    def __init__(self):
        super().__init__()
        place.set("constructor")
        self.seen = []

    def on_start(self):
        place.set((place.get(), "on_start"))

    def after_start(self):
        place.set((*place.get(), "after_start"))

    def on_receive(self, message):
        before = user.get()
        user.set(message)
        self.seen.append(before)
        if message == "refuse":
            raise Refused("no")
        if message == "stash" and len(self.seen) == 1:
            self.stash()
        if message == "unstash":
            self.unstash_all()
        return before, place.get(), user.get()


class Plain(_Plain, Actor):
    pass


class OnThread(_Plain, ThreadActor):
    pass


class Async(_Plain, Actor):
    async def on_start(self):
        await asyncio.sleep(0)
        place.set((place.get(), "on_start"))

    async def after_start(self):
        await asyncio.sleep(0)
        place.set((*place.get(), "after_start"))

    async def on_receive(self, message):
        result = _Plain.on_receive(self, message)
        await asyncio.sleep(0)
        return result


class PlainThenAsync(_Plain, Actor):
    """A plain method that sets something and gives a coroutine."""

    def on_receive(self, message):
        result = _Plain.on_receive(self, message)

        async def later():
            await asyncio.sleep(0)
            return result

        return later()


class Mixed(_Plain, Actor):
    def on_receive(self, message):
        result = _Plain.on_receive(self, message)
        return self._later(result) if message % 2 else result

    async def _later(self, result):
        user.set("in the coroutine")
        await asyncio.sleep(0)
        return result


KINDS = [Plain, Async, PlainThenAsync, OnThread]
OWN = ("constructor", "on_start", "after_start")


@pytest.mark.parametrize("kind", [*KINDS, Mixed], ids=lambda kind: kind.__name__)
async def test_what_a_handler_sets_is_gone_with_its_message(actor_system, kind):
    ref = actor_system.start(kind)
    answers = [ref.ask(number) for number in range(200)]
    for number, answer in enumerate(answers):
        assert await answer == (None, OWN, number)
    assert await ref.ask(1000) == (None, OWN, 1000)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_so_it_is_after_a_refusal_and_after_a_stash(actor_system, kind):
    ref = actor_system.start(kind)
    aside = ref.ask("stash")
    with pytest.raises(Refused):
        await ref.ask("refuse")
    assert await ref.ask("unstash") == (None, OWN, "unstash")
    assert await aside == (None, OWN, "stash")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_so_it_is_with_what_a_transport_brings(actor_system, kind):
    ref = actor_system.start(kind)
    await ref.started()
    done: list[asyncio.Future[Outcome]] = []
    for number in range(20):
        future = asyncio.get_running_loop().create_future()
        done.append(future)
        ref.deliver(number, context=Context(), on_done=future.set_result)
    for number, future in enumerate(done):
        assert (await future).value == (None, OWN, number)


@pytest.mark.parametrize("base", [Actor, ThreadActor])
async def test_a_value_that_cannot_be_compared_is_another(actor_system, base):
    class Array:
        def __eq__(self, other):
            raise SystemExit("ambiguous")

        __hash__ = None

    class Bound(base):
        def on_start(self):
            user.set(Array())

        def on_receive(self, message):
            before = user.get()
            user.set(message)
            return before

    ref = actor_system.start(Bound)
    before = await ref.ask(Array())
    for _ in range(3):
        assert await ref.ask(Array()) is before


async def test_a_task_that_a_handler_makes_keeps_what_was_set_for_it(actor_system):
    class Spawning(Actor):
        def on_receive(self, message):
            user.set(message)
            return asyncio.get_running_loop().create_task(self.later())

        async def later(self):
            await asyncio.sleep(0)
            return user.get(), current_actor() is self

    ref = actor_system.start(Spawning)
    tasks = [await ref.ask(number) for number in range(5)]
    assert [await task for task in tasks] == [(number, True) for number in range(5)]


async def test_others_have_their_turn_while_every_message_sets_something(actor_system):
    first, second = actor_system.start(Plain), actor_system.start(Plain)
    await second.started()
    for number in range(5000):
        first.tell(number)
    assert await second.ask("hello") == (None, OWN, "hello")
    assert first._slot.inbox, "the second had to wait for all of the first's"
    assert await first.ask("end", timeout=60) == (None, OWN, "end")


async def test_a_new_incarnation_begins_anew(actor_system):
    class Crashing(Plain):
        def on_receive(self, message):
            if message == "crash":
                user.set("crash")
                raise KeyError
            return super().on_receive(message)

    from supervisors import Supervisor, child, start, which_children

    root = start(Supervisor.of(child(Crashing)), actor_system)
    await root.started()
    ref = which_children(root)[0].ref
    ref.tell("crash")
    assert await ref.ask(1) == (None, OWN, 1)
