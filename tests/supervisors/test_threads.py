"""Actors on threads of their own, ours and Pykka's, under the same supervisor."""

from __future__ import annotations

import threading

import pykka
import pytest

from actors import ActorDeadError, ThreadActor
from supervisors import Supervisor, child, count_children, tree_of
from tests.supervisors.helpers import begun, child_ref, ended, states
from tests.support.until import until


class Ours(ThreadActor):
    def __init__(self, log):
        super().__init__()
        self.log = log

    def on_start(self):
        self.log.append(("start", threading.get_ident()))

    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return message, threading.get_ident()


class Theirs(pykka.ThreadingActor):
    """A class written for Pykka, which knows nothing of us."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def on_start(self):
        self.log.append(("start", threading.get_ident()))

    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return message, threading.get_ident()


@pytest.mark.parametrize("kind", [Ours, Theirs])
async def test_a_thread_actor_is_restarted_and_its_messages_wait(world, kind):
    system, _ = world
    log = []
    ref = await begun(Supervisor.of(child(kind, log, name="t")), system)
    one = child_ref(ref, "t")
    one.tell(ValueError("boom"))
    answers = [one.ask(number) for number in range(10)]
    assert [(await answer)[0] for answer in answers] == list(range(10))
    assert (await one.ask("where"))[1] != threading.get_ident()
    await until(lambda: states(ref) == {"t": "running"})
    assert len(log) == 2
    assert tree_of(ref).children[0].last_exit["error"] == "ValueError"
    await ref.stop()
    await ended(system, ref)
    with pytest.raises(ActorDeadError):
        await one.ask("too late")


async def test_threads_and_loop_actors_in_one_tree_stop_in_reverse(world):
    system, _ = world
    log = []
    tree = Supervisor.of(
        child(Ours, log, instances=3, name="ours"),
        child(Theirs, log, instances=3, name="theirs"),
        strategy="one_for_all",
    )
    ref = await begun(tree, system)
    child_ref(ref, "theirs-2").tell(ValueError("boom"))
    await until(lambda: len(log) == 12 and count_children(ref).active == 6)
    await ref.stop()
    await ended(system, ref)
    used = {ident for _, ident in log}
    assert len(used) >= 6
    await until(lambda: not used & {thread.ident for thread in threading.enumerate()})
