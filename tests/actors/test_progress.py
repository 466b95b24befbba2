"""How far a handler says that it is: shown while it runs, and no longer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from actors import Actor, System, ThreadActor, receives
from actors.runtime import progress_of, slot_of
from supervisors import Supervisor, child, start, tree_of, which_children
from tests.support.until import until


class Copier(Actor):
    def __init__(self):
        self.go = asyncio.Event()

    @receives(int)
    async def copy(self, rows):
        self.report_progress(rows, of=200, note="rows")
        await self.go.wait()

    @receives(str)
    def other(self, message):
        return message

    @receives(tuple)
    def wrong(self, arguments):
        self.report_progress(*arguments)

    @receives(list)
    async def later(self, done):
        async def afterwards():
            try:
                self.report_progress(0.5)
            except RuntimeError as error:
                done.append(str(error))

        self.task = asyncio.ensure_future(afterwards())


class Blocks(ThreadActor):
    def on_receive(self, gates):
        self.report_progress(0.25)
        gates[0].set()
        gates[1].wait(60.0)


@pytest.fixture
async def system():
    system = System("progress")
    system.attach()
    yield system
    await system.shutdown(1.0)


async def test_it_is_shown_in_the_tree_until_the_handler_ends(system):
    root = start(Supervisor.of(child(Copier)), system)
    await root.started()
    copier = which_children(root)[0].ref
    answer = copier.ask(80)
    await until(lambda: progress_of(slot_of(copier)) != "")
    (place,) = tree_of(root).children
    assert place.progress == "40 % rows"
    assert place.to_dict()["progress"] == "40 % rows"
    slot_of(copier).actor.go.set()
    await answer
    assert progress_of(slot_of(copier)) == ""
    await copier.ask("another")
    assert tree_of(root).children[0].progress == ""


async def test_a_thread_says_it_as_well(system):
    gates = threading.Event(), threading.Event()
    ref = system.start(Blocks)
    answer = ref.ask(gates)
    await until(gates[0].is_set)
    assert progress_of(slot_of(ref)) == "25 %"
    gates[1].set()
    await answer
    assert progress_of(slot_of(ref)) == ""


async def test_what_is_no_progress_is_an_error_of_the_handler(system):
    for wrong in ((-1,), (2,), (5, 4), (1, 0), ("1",), (float("nan"),), (True,), (1, float("inf"))):
        copier = system.start(Copier)
        with pytest.raises(ValueError, match=r"done|of"):
            await copier.ask(wrong)
    long = system.start(Copier)
    await long.ask((1, 1, "x" * 10_000))


async def test_a_note_is_shown_whatever_it_is_and_can_be_sent(system):
    class Unspeakable:
        def __str__(self):
            raise OSError("no words")

    for note, shown in (("file \udcff", "file \\udcff"), (7, "7"), (Unspeakable(), "OSError")):

        class Notes(Actor):
            def on_receive(self, given):
                self.report_progress(0.5, note=given)
                return progress_of(slot_of(self.actor_ref))

        said = await system.start(Notes).ask(note)
        assert said.startswith("50 % ")
        assert shown in said
        assert said.encode()


async def test_without_a_message_in_hand_there_is_nothing_to_report(system):
    copier, done = system.start(Copier), []
    copier.tell(done)
    await until(lambda: done)
    assert "no message" in done[0]
