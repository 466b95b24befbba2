"""Headers of a caller's own: with all that it sends, and on down the chain."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, exposed, receives
from irismq_runtime import ConfigError, carrying, current_node, durable, live
from irismq_runtime.refs.carried import CARRIED, add, go_on
from irismq_runtime.wire.headers import FLOWS
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.until import until


def carried(actor):
    return {name: value for name, value in actor.context.headers.items() if len(name) > 2}


class Last(Actor):
    address = "carried.last"
    subscribes = (durable("carried.stored"), live("carried.live"))

    def __init__(self, seen):
        self.seen = seen

    def on_receive(self, message):
        self.seen.append((message, carried(self)))
        return carried(self)


class First(Actor):
    address = "carried.first"

    def __init__(self, seen):
        self.seen = seen
        self.gate = asyncio.Event()
        self.tasks = set()

    @receives(str)
    async def pass_on(self, message):
        node = current_node()
        last = node.ref("carried.last")
        if message == "later":
            self.tasks.add(asyncio.ensure_future(self.later(last)))
            return None
        if message == "now":
            self.gate.set()
            await asyncio.gather(*self.tasks)
            return None
        last.tell("told")
        last.tell_all("told all")
        node.publish("carried.stored", "stored")
        node.publish("carried.live", "live", durable=False)
        with carrying(tenant="inner", step=2):
            last.tell("of its own")
        return await last.ask("asked")

    async def later(self, last):
        await self.gate.wait()
        last.tell("late")

    @exposed
    async def called(self):
        return await current_node().ref("carried.last").ask("called")


@pytest.fixture
async def node():
    async with MemoryServers().node() as node:
        yield node


@pytest.fixture
async def seen(node):
    seen = []
    await node.start(Supervisor.of(child(Last, seen), child(First, seen)))
    return seen


ACME = {"tenant": "acme", "request": 7}


async def test_they_go_on_with_every_verb_of_a_handler(node, seen):
    first = node.ref("carried.first")
    with carrying(ACME):
        asked = await first.ask("go")
        assert await first.proxy().called() == ACME
    assert asked == ACME
    await until(lambda: len(seen) == 7)
    assert dict(seen) == {
        **dict.fromkeys(("told", "told all", "stored", "live", "asked", "called"), ACME),
        "of its own": {"tenant": "inner", "request": 7, "step": 2},
    }


async def test_they_are_those_of_the_block_and_of_the_message(node, seen):
    last = node.ref("carried.last")
    assert await last.ask("before") == {}
    with carrying(tenant="acme"):
        with carrying({"tenant": "other", "x-9": b"1"}):
            assert await last.ask("inner") == {"tenant": "other", "x-9": b"1"}
        assert await last.ask("outer") == {"tenant": "acme"}
    assert await last.ask("after") == {}
    with carrying(ACME):
        await node.ref("carried.first").ask("go")
    del seen[:]
    await node.ref("carried.first").ask("go")
    await until(lambda: len(seen) == 6)
    assert dict(seen)["told"] == {}


async def test_a_task_that_outlives_its_message_carries_nothing_of_another(node, seen):
    first = node.ref("carried.first")
    with carrying(tenant="one"):
        await first.ask("later")
    with carrying(tenant="two"):
        await first.ask("now")
    await until(lambda: seen)
    assert seen == [("late", {})]


def test_what_does_not_flow_stays_where_it_is():
    """A header of another program, which says nothing of going on, is read and goes nowhere."""
    went = {}
    go_on(went, {"tenant": "acme", "request": 7, "s": "a/b", FLOWS: "tenant,gone,s"})
    assert went == {"tenant": "acme", FLOWS: "tenant"}


def test_what_cannot_be_carried_is_refused_with_its_name():
    wrong = (
        {"id": 1},
        {"a,b,c": 1},
        {"x" * 65: 1},
        {"tenant": object()},
        {"tenant": "x" * 1025},
        {f"name-{number}": number for number in range(33)},
    )
    for headers in wrong:
        with pytest.raises(ConfigError, match="carrying"), carrying(headers):
            pass


def test_what_is_larger_than_what_may_be_carried_goes_no_further():
    went = {}
    came = {"tenant": "x" * 1025, "x" * 65: 1, "blob": b"x" * 1025, "request": "7"}
    go_on(went, {**came, FLOWS: ",".join(came)})
    assert went == {"request": "7", FLOWS: "request"}


def test_what_is_too_much_with_what_came_is_refused_at_once():
    went = {}
    came = {f"came-{n}": n for n in range(20)}
    go_on(went, {**came, FLOWS: ",".join(came)})
    with (
        carrying({f"mine-{n}": n for n in range(13)}),
        pytest.raises(ConfigError, match="33 headers"),
    ):
        add(went, CARRIED.get())
