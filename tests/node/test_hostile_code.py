"""What users raise in a node: askers learn of it, what is stored is settled, others go on.

tests/actors/test_hostile_code.py has the same without a node; tests/support/hostile.py
has the exceptions.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

import pytest

from actors import Actor, ThreadActor, message, receives
from irismq_runtime import RetryPolicy
from irismq_runtime.node.binding.subscriptions import durable, live
from irismq_runtime.observe.json_lines import JsonLines
from irismq_runtime.wire import decode_dead_untrusted
from supervisors import PartitionSupervisor, Supervisor, child, tree_of, which_children
from tests.node.helpers import MemoryServers
from tests.support.hostile import ALL, ANSWERS, CRASHES
from tests.support.until import until

ADDRESS = "test.hostile"


@message("test.hostile.raise")
@dataclass(frozen=True)
class Raise:
    name: str


@message("test.hostile.hello")
@dataclass(frozen=True)
class Hello:
    pass


#: What `Strange` raises when it is made; "" for nothing.
strange = {"name": ""}


@message("test.hostile.strange")
@dataclass(frozen=True)
class Strange:
    def __post_init__(self):
        if strange["name"]:
            error = ALL[strange["name"]]()
            raise error


class Service(Actor):
    address = ADDRESS
    subscribes = (durable("test.hostile.topic", channel="c"), live("test.hostile.live"))

    @receives(Raise)
    def fails(self, message):
        error = ALL[message.name]()
        raise error

    @receives(Hello)
    def hello(self, message):
        return "well"

    async def on_tunnel(self, tunnel):
        message = await tunnel.receive()
        error = ALL[message.name]()
        raise error


class AsyncService(Service):
    @receives(Raise)
    async def fails(self, message):
        await asyncio.sleep(0)
        error = ALL[message.name]()
        raise error


class ThreadService(ThreadActor):
    address = ADDRESS
    subscribes = Service.subscribes
    fails, hello = Service.fails, Service.hello


class Streaming(Actor):
    address = ADDRESS

    @receives(Raise)
    async def stream(self, message):
        yield 1
        await asyncio.sleep(0)
        error = ALL[message.name]()
        raise error

    @receives(Hello)
    def hello(self, message):
        return "well"


KINDS = [Service, AsyncService, ThreadService]


@pytest.fixture
def world():
    return MemoryServers()


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL + 1)


async def error_of(awaitable):
    try:
        await asyncio.wait_for(awaitable, 20)
    except TimeoutError as error:
        raise AssertionError("nobody answered") from error
    except Exception as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ALL)
async def test_asks_fail_and_stored_messages_are_settled(world, kind, name):
    """139: one at its last attempt was held for ever, and never buried."""
    tree = Supervisor.of(child(kind), max_restarts=50)
    async with world.node("one", max_attempts=2) as one, world.node("two") as two:
        await one.start(tree)
        await until(lambda: two.members(ADDRESS))
        ref = two.ref(ADDRESS)
        for asking in (ref, one.ref(ADDRESS)):
            error = await error_of(asking.ask(Raise(name)))
            assert issubclass(type(error), Exception)
        await ref.tell(Raise(name))
        await two.publish("test.hostile.topic", Raise(name))
        two.publish("test.hostile.live", Raise(name), durable=False)
        ref.tell_all(Raise(name))
        dead = [f"{ADDRESS}.dead", "test.hostile.topic.dead"]
        await until(lambda: all(len(world.broker.bodies(topic)) == 1 for topic in dead))
        assert await ref.ask(Hello()) == "well"
        assert one.health().live
        assert json.dumps(one.tree())
        assert await one.overview.report(one.id, timeout=1.0)


class Tried(Service):
    retry_policy = RetryPolicy(
        attempts=2, first=0.001, never=(ZeroDivisionError,), by_error={KeyError: RetryPolicy()}
    )


@pytest.mark.parametrize("name", ALL)
async def test_a_retry_policy_settles_whatever_was_raised(world, name):
    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Tried), max_restarts=50))
        await one.ref(ADDRESS).tell(Raise(name))
        await until(lambda: len(world.broker.bodies(f"{ADDRESS}.dead")) == 1)
        assert await one.ref(ADDRESS).ask(Hello()) == "well"


@pytest.mark.parametrize("name", ALL)
async def test_a_stream_that_ends_with_it_says_so_and_its_actor_crashes(world, name):
    """139, 144: it ended as if it were whole, or ended the process."""
    async with world.node("one") as one, world.node("two") as two:
        root = await one.start(Supervisor.of(child(Streaming), max_restarts=50))
        await until(lambda: two.members(ADDRESS))
        stream = two.ref(ADDRESS).stream(Raise(name))
        assert await anext(stream) == 1
        await error_of(anext(stream))
        actor = which_children(root)[0].ref
        if name not in ANSWERS:
            await until(lambda: actor._slot.restarts == 1 and not actor._slot.down)
        assert await two.ref(ADDRESS).ask(Hello()) == "well"
        assert actor._slot.restarts == (0 if name in ANSWERS else 1)


@pytest.mark.parametrize("name", ALL)
async def test_a_conversation_that_ends_with_it_says_so(world, name):
    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(Service), max_restarts=50))
        await until(lambda: two.members(ADDRESS))
        async with two.ref(ADDRESS).tunnel() as tunnel:
            await tunnel.send(Raise(name))
            await error_of(tunnel.receive())
        assert await two.ref(ADDRESS).ask(Hello()) == "well"


@pytest.mark.parametrize("name", CRASHES)
async def test_a_message_that_cannot_be_made_fails_alone(world, name):
    """143: code of a message's class runs where bytes are read."""
    async with world.node("one", max_attempts=2) as one, world.node("two") as two:
        await one.start(Supervisor.of(child(Service)))
        await until(lambda: two.members(ADDRESS))
        ref = two.ref(ADDRESS)
        strange["name"] = ""
        made = Strange()
        strange["name"] = name
        await error_of(ref.ask(made))
        await ref.tell(made)
        two.publish("test.hostile.live", made, durable=False)
        ref.tell_all(made)
        await until(lambda: len(world.broker.bodies(f"{ADDRESS}.dead")) == 1)
        assert await ref.ask(Hello()) == "well"
        assert one.parts.dispatch.counters.undecodable >= 4


@pytest.mark.parametrize("name", CRASHES)
async def test_a_stored_message_without_a_key_is_buried_and_ends_nobody(world, name):
    class Keyed(PartitionSupervisor):
        address = ADDRESS
        child = Service
        partitions = 2

        def key(self, message):
            if isinstance(message, Raise):
                error = ALL[message.name]()
                raise error
            return 0

    Keyed.child = type("Plain", (Service,), {"address": None, "subscribes": ()})
    async with world.node("one", max_attempts=2) as one, world.node("two") as two:
        root = await one.start(Keyed)
        await until(lambda: two.members(ADDRESS))
        ref = two.ref(ADDRESS)
        await error_of(ref.ask(Raise(name)))
        await ref.tell(Raise(name))
        await until(lambda: len(world.broker.bodies(f"{ADDRESS}.dead")) == 1)
        assert await ref.ask(Hello()) == "well"
        assert tree_of(root).restarts == 0


@pytest.mark.parametrize("name", ALL)
async def test_a_node_starts_or_says_why_not(world, name):
    """139: `node.start` hung."""

    class Failing(Actor):
        def on_start(self):
            error = ALL[name]()
            raise error

    async with world.node("one") as one:
        for tree in (Failing, Supervisor.of(child(Failing))):
            await error_of(one.start(tree))


@pytest.mark.parametrize("name", ALL)
async def test_who_watches_a_node_may_raise(world, name):
    async with world.node("one") as one:

        def raises(_):
            error = ALL[name]()
            raise error

        one.on_event(raises)
        await one.start(Supervisor.of(child(Service)))
        assert await one.ref(ADDRESS).ask(Hello()) == "well"


@pytest.mark.parametrize("name", ALL)
def test_log_lines_of_it_can_be_made(name):
    error = ALL[name]()
    info = (type(error), error, None)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "it failed", (), info)
    record.extra = error
    assert json.loads(JsonLines().format(record))["message"] == "it failed"


async def test_the_letter_of_a_text_that_cannot_be_had_says_so(world):
    async with world.node("one", max_attempts=1) as one:
        await one.start(Supervisor.of(child(Service), max_restarts=50))
        await one.ref(ADDRESS).tell(Raise("a text that is none"))
        await until(lambda: len(world.broker.bodies(f"{ADDRESS}.dead")) == 1)
    (body,) = world.broker.bodies(f"{ADDRESS}.dead")
    record = decode_dead_untrusted(body, max_size=2**20)
    assert record.reason == "crashed: TextIsNoText: (its text cannot be had: TypeError)"
    assert "error = ALL[message.name]()" in record.traceback or "raise error" in record.traceback
