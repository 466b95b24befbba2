"""A supervisor that an actor starts belongs to that actor (150)."""

from __future__ import annotations

import pytest

from actors import Actor, ThreadActor
from supervisors import Supervisor, child, start, tree_of, which_children
from tests.support.until import until

ALIVE: list[object] = []


class Leaf(Actor):
    def on_start(self):
        ALIVE.append(self.actor_ref)


class _Owner:
    def on_receive(self, message):
        if message == "crash":
            raise ValueError("boom")
        if message == "start":
            return start(Supervisor.of(child(Leaf), name="inner"))
        return message


class Owner(_Owner, Actor):
    pass


class ThreadOwner(_Owner, ThreadActor):
    pass


@pytest.fixture(autouse=True)
def _none():
    ALIVE.clear()


@pytest.mark.parametrize("kind", [Owner, ThreadOwner])
async def test_it_ends_with_each_incarnation_of_its_owner_and_is_seen_below_it(actor_system, kind):
    root = start(Supervisor.of(child(kind, name="owner"), max_restarts=10), actor_system)
    await root.started()
    owner = which_children(root)[0].ref
    for _ in range(3):
        ALIVE.clear()
        inner = await owner.ask("start")
        await inner.started()
        await until(lambda: len(ALIVE) == 1)
        assert "inner" in [node.name for node in tree_of(root).walk()]
        assert "Leaf" in [node.name for node in tree_of(root).walk()]
        owner.tell("crash")
        assert await owner.ask("hello") == "hello"
        await until(lambda: not any(ref.is_alive() for ref in ALIVE))
        assert "inner" not in [node.name for node in tree_of(root).walk()]


@pytest.mark.parametrize("kind", [Owner, ThreadOwner])
async def test_it_stops_with_an_owner_that_stops(actor_system, kind):
    owner = actor_system.start(kind)
    inner = await owner.ask("start")
    await inner.started()
    await owner.stop()
    await until(lambda: not inner.is_alive())
    assert ALIVE[0].exit.reason == "shutdown"


async def test_a_system_that_shuts_down_leaves_nothing_of_it(actor_system):
    owner = actor_system.start(Owner)
    inner = await owner.ask("start")
    await inner.started()
    await actor_system.shutdown()
    await until(lambda: len(actor_system) == 0)
