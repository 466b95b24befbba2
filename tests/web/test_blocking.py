"""A node for programs without a loop: every verb waits in its thread."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from actors import Actor, BlockingCall, Refused, exposed, message, receives
from irismq_runtime import Entity, Node, NoSuchService, Singleton, durable
from irismq_runtime.blocking import Connection, connect
from irismq_runtime.errors import ConfigError, NodeStopped, NotConnected
from supervisors import Supervisor, child


@message("blocking.add")
@dataclass(frozen=True)
class Add:
    amount: int


@message("blocking.up-to")
@dataclass(frozen=True)
class UpTo:
    number: int


class Adder(Actor):
    address = "blocking.adder"
    subscribes = (durable("blocking.sold"),)

    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    def add(self, message: Add) -> int:
        if message.amount < 0:
            raise Refused("not less", code="negative")
        self.total += message.amount
        return self.total

    @receives(UpTo)
    async def count(self, message: UpTo):
        for number in range(message.number):
            yield number

    @exposed
    def so_far(self) -> int:
        return self.total


@pytest.fixture(scope="module")
def connection():
    made = Connection(lambda: Node.embedded(name="blocking", drain=1.0))
    with made:
        made.run(made.node.start(Supervisor.of(child(Adder))))
        yield made


def added(connection, amount):
    """Wait, as a script does, until a message that was stored is handled."""
    while connection.ref("blocking.adder").proxy().so_far() < amount:
        os.sched_yield()


def test_every_verb_waits_for_its_end(connection):
    adder = connection.ref("blocking.adder")
    before = adder.ask(Add(0))
    assert adder.ask(Add(1)) == before + 1
    assert adder.tell(Add(1)).done()
    assert all(receipt.done() for receipt in adder.tell_many([Add(1), Add(1)]))
    connection.publish("blocking.sold", Add(1))
    added(connection, before + 5)
    assert adder.ask_all(Add(0)).values == [before + 5]
    adder.tell_all(Add(1))
    added(connection, before + 6)
    assert list(adder.stream(UpTo(3))) == [0, 1, 2]
    part = adder.stream(UpTo(10**9))
    assert next(part) == 0
    part.close()
    with pytest.raises(Refused, match="not less"):
        adder.ask(Add(-1))
    with pytest.raises(NoSuchService):
        connection.ref("blocking.nobody").ask(Add(1))
    assert [each.address for each in connection.members("blocking.adder")] == ["blocking.adder"]


@message("blocking.sum")
@dataclass
class Sum:
    total: int = 0


class Purse(Entity):
    address = "blocking.purse"
    shards = 2
    state: Sum

    @receives(Add)
    def add(self, message: Add) -> int:
        self.state.total += message.amount
        return self.state.total

    @exposed
    def so_far(self) -> int:
        return self.state.total


class Till(Singleton):
    address = "blocking.till"
    state: Sum
    add = Purse.add


def test_entities_and_singletons_are_reached_by_the_same_verbs():
    with Connection(lambda: Node.embedded(name="blocking", store="memory:")) as connection:
        connection.run(connection.node.start(Supervisor.of(child(Purse), child(Till))))
        purse = connection.entity("blocking.purse", "ada")
        assert (purse.address, purse.key) == ("blocking.purse", "ada")
        assert purse.tell(Add(1)).done()
        assert all(receipt.done() for receipt in purse.tell_many([Add(1), Add(1)]))
        while purse.proxy().so_far() < 3:
            os.sched_yield()
        assert purse.ask(Add(4)) == 7
        assert purse.ask(Add(1), id="once") == purse.ask(Add(1), id="once") == 8
        assert connection.entity("blocking.purse", "eve").ask(Add(0)) == 0
        assert connection.singleton("blocking.till").ask(Add(5)) == 5
        assert repr(purse) == "<BlockingEntity blocking.purse/ada>"
    with pytest.raises(NodeStopped, match="not open"):
        connection.entity("blocking.purse", "ada")


def test_any_number_of_threads_may_use_one_ref(connection):
    adder = connection.ref("blocking.adder")
    before = adder.ask(Add(0))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: adder.ask(Add(1)), range(200)))
    assert adder.ask(Add(0)) == before + 200


def test_on_a_thread_that_runs_a_loop_it_says_so(connection):
    async def main():
        with pytest.raises(BlockingCall):
            connection.ref("blocking.adder").ask(Add(1))

    asyncio.run(main())


def test_it_is_open_once_and_closed_once():
    made = Connection(lambda: Node.embedded(name="blocking", drain=1.0))
    with pytest.raises(NodeStopped, match="not open"):
        made.ref("blocking.adder")
    assert made.open() is made.open() is made
    node = made.node
    made.close()
    made.close()
    with pytest.raises(NodeStopped):
        made.publish("blocking.sold", Add(1))
    with made:
        assert made.node is not node


#: A server that opens a connection before it forks, and whose worker opens its own.
_FORKS = """
import os
from irismq_runtime import Node
from irismq_runtime.blocking import Connection
from irismq_runtime.errors import NodeStopped

made = Connection(lambda: Node.embedded(name="blocking", drain=1.0))
with made:
    ref = made.ref("blocking.adder")
    worker = os.fork()
    if not worker:
        try:
            next(ref.stream(1))
        except NodeStopped:
            with made.open():
                os._exit(7 if made.node.health().live else 8)
    _, status = os.waitpid(worker, 0)
    assert made.node.health().live
    print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_worker_opens_its_own():
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKS]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert run.stdout == "7\n", run.stderr


def test_what_has_no_meaning_is_said_at_once_and_what_is_away_when_it_opens():
    with pytest.raises(ConfigError):
        connect(drain=-1)
    away = connect(nsqd="127.0.0.1:1", iris="127.0.0.1:1", connect_timeout=0.2)
    with pytest.raises(NotConnected):
        away.open()
