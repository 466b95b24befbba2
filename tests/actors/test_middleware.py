"""What a system puts around each handler of its actors."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, ActorClassError, Refused, System, ThreadActor, exposed, receives
from irismq_runtime import ConfigError, Node
from supervisors import PartitionSupervisor, Supervisor, child, start, which_children
from tests.node.helpers import MemoryServers


@pytest.fixture
def log():
    return []


@pytest.fixture
async def system(log):
    def noting(name):
        async def middleware(context, message, call_next):
            log.append((name, context.kind, type(message).__name__))
            try:
                return await call_next(message)
            except ValueError as error:
                log.append((name, str(error)))
                raise

        return middleware

    async def doubling(context, message, call_next):
        return await call_next(message * 2 if isinstance(message, int) else message)

    system = System("middleware", middleware=[noting("outer"), noting("inner"), doubling])
    system.attach()
    yield system
    await system.shutdown(1.0)


class Worker(Actor):
    def __init__(self):
        self.hooks = []

    async def on_start(self):
        self.hooks.append("start")

    async def after_start(self):
        self.hooks.append("warm")

    @receives(int)
    def number(self, message):
        if message < 0:
            raise ValueError("negative")
        return message

    @receives(str)
    async def text(self, message):
        await asyncio.sleep(0)
        return message

    @receives(bytes)
    def behave(self, message):
        self.become(None if message == b"as before" else lambda each: ("became", each))

    @exposed
    def called(self):
        return self.hooks


async def test_they_stand_around_each_handler_in_their_order(system, log):
    worker = system.start(Worker)
    assert await worker.ask(3) == 6
    assert log == [("outer", "ask", "int"), ("inner", "ask", "int")]
    assert await worker.ask("tea") == "tea"
    del log[:]
    worker.tell("tea")
    assert await worker.proxy().called() == ["start", "warm"]  # no hook is in the log
    assert log[0] == ("outer", "tell", "str")
    assert log[-1] == ("inner", "ask", "ProxyCall")


async def test_what_a_handler_raises_goes_through_them(system, log):
    worker = system.start(Worker)
    with pytest.raises(ValueError, match="negative"):
        await worker.ask(-1)
    assert log[-2:] == [("inner", "negative"), ("outer", "negative")]
    assert worker.exit.reason == "crash"


async def test_one_that_is_not_async_is_named_in_the_crash():
    def plain(context, message, call_next):
        return message

    async def yields(context, message, call_next):
        yield message

    class Given:
        def __call__(self, context, message, call_next):
            return call_next(message)

    for wrong in (plain, yields):
        system = System("plain", middleware=[Given(), wrong])
        system.attach()
        with pytest.raises(TypeError, match=f"{wrong.__name__} returned .* async function"):
            await system.start(Worker).ask("tea")
        await system.shutdown(1.0)


async def test_a_behaviour_and_the_next_incarnation_have_them_too(system, log):
    root = start(Supervisor.of(child(Worker)), system)
    await root.started()
    assert log == []  # a supervisor has none
    worker = which_children(root)[0].ref
    await worker.ask(b"other")
    assert await worker.ask(3) == ("became", 6)
    with pytest.raises(AttributeError):
        await worker.proxy().nothing()
    await worker.ask(b"as before")
    assert await worker.ask(3) == ("became", 6)  # what it became takes that message as well
    assert log[-1] == ("inner", "ask", "int")


async def test_a_message_that_is_passed_on_goes_through_them_once(system, log):
    parts = start(PartitionSupervisor.of(child(Worker), partitions=2, key=lambda _: 1), system)
    await parts.started()
    assert await parts.ask(3) == 6
    assert log == [("outer", "ask", "int"), ("inner", "ask", "int")]


async def test_what_runs_on_a_thread_is_refused_and_nothing_is_left_out(system):
    class Blocks(ThreadActor):
        def on_receive(self, message): ...

    with pytest.raises(ActorClassError, match="middleware"):
        system.start(Blocks)


async def test_a_node_has_them_for_what_comes_over_the_network():
    async def allowed(context, message, call_next):
        if context.headers.get("tenant") != "acme" and message == "secret":
            raise Refused("not yours", code="forbidden")
        return await call_next(message)

    class Desk(Worker):
        address = "middleware.desk"

    from irismq_runtime import carrying

    async with MemoryServers().node(middleware=[allowed]) as node:
        await node.start(Desk)
        desk = node.ref("middleware.desk")
        with pytest.raises(Refused, match="not yours"):
            await desk.ask("secret")
        with carrying(tenant="acme"):
            assert await desk.ask("secret") == "secret"


def test_what_is_no_middleware_is_refused():
    with pytest.raises(ValueError, match="middleware"):
        System("wrong", middleware=[5])
    for wrong in (5, "text", [5]):
        with pytest.raises(ConfigError, match="middleware"):
            Node(middleware=wrong)


def test_without_any_the_handlers_are_those_of_the_class():
    system = System("free")
    assert system.handlers(Worker.__handlers__) is Worker.__handlers__
