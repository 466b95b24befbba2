"""What a node puts around all that is sent to addresses through it."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass

import pytest

from actors import Actor, ActorRef, Refused, message, receives
from irismq_runtime import ConfigError, Durable, EncodeError, Node, carrying, durable, live
from irismq_runtime.refs import EntityRef, ServiceRef
from supervisors import Supervisor, child
from tests.node.helpers import MemoryServers
from tests.support.until import until


@message("sends.who")
@dataclass(frozen=True)
class Who:
    ref: ActorRef


@message("sends.told")
@dataclass
class Told:
    told: int = 0


class Desk(Actor):
    address = "sends.desk"
    subscribes = (durable("sends.stored"), live("sends.live"))

    def __init__(self, taken):
        self.taken = taken

    def on_receive(self, message):
        tenant = self.context.headers.get("tenant")
        self.taken.append((message, tenant))
        return self.actor_ref if message == "ref" else message

    @receives(Who)
    async def pass_on(self, message):
        return await message.ref.ask("to a peer")


@pytest.fixture
def log():
    return []


@pytest.fixture
def taken():
    return []


def noting(log, name):
    def middleware(context, message, call_next):
        log.append((name, context.verb, context.target, dict(context.options), message))
        return call_next(message)

    return middleware


def shouting(context, message, call_next):
    with carrying(tenant="acme"):
        return call_next(message.upper() if message in ("tea", "milk") else message)


@pytest.fixture
async def node(log, taken):
    around = [noting(log, "outer"), shouting, noting(log, "inner")]
    async with MemoryServers().node(send_middleware=around) as node:
        await node.start(Supervisor.of(child(Desk, taken)))
        yield node


async def test_they_stand_around_each_verb_in_their_order(node, log, taken):
    desk = node.ref("sends.desk")
    assert await desk.ask("tea", timeout=3.0) == "TEA"
    assert log == [
        ("outer", "ask", "sends.desk", {"timeout": 3.0}, "tea"),
        ("inner", "ask", "sends.desk", {"timeout": 3.0}, "TEA"),
    ]
    await desk.tell("tea", delay=0.0)
    desk.tell_all("tea")
    assert (await desk.ask_all("tea")).values == ["TEA"]
    await node.publish("sends.stored", "tea")
    assert node.publish("sends.live", "tea", durable=False) is None
    await until(lambda: len(taken) == 6)
    assert taken == [("TEA", "acme")] * 6
    assert [(verb, target) for name, verb, target, _, _ in log if name == "inner"] == [
        ("ask", "sends.desk"),
        ("tell", "sends.desk"),
        ("tell_all", "sends.desk"),
        ("ask_all", "sends.desk"),
        ("publish", "sends.stored"),
        ("publish", "sends.live"),
    ]
    assert log[2][3] == {"delay": 0.0}


async def test_many_tells_go_through_them_one_by_one_before_any_leaves(node, log, taken):
    receipts = node.ref("sends.desk").tell_many(["tea", "milk", "bread"])
    for receipt in receipts:
        await receipt
    await until(lambda: len(taken) == 3)
    assert sorted(taken) == [("MILK", "acme"), ("TEA", "acme"), ("bread", "acme")]
    assert [each[1:3] for each in log] == [("tell_many", "sends.desk")] * 6
    with pytest.raises(EncodeError, match=r"\$\[1\]"):
        node.ref("sends.desk").tell_many(["tea", object(), 5])


async def test_refs_that_come_in_messages_and_of_peers_have_them_too(log, taken):
    servers = MemoryServers()
    async with (
        servers.node(name="here", send_middleware=[noting(log, "here")]) as here,
        servers.node(name="there") as there,
    ):
        await there.start(Supervisor.of(child(Desk, taken)))
        peer = await here.ref("sends.desk").ask("ref")
        assert await peer.ask("tea") == "tea"
        await peer.tell("milk")
        assert [each[1] for each in log] == ["ask", "ask", "tell"]
        assert log[1][2] == str(peer)
        # The nodes' own talk is nobody's send.
        assert len(await here.trees()) == 2
        assert len(log) == 3


async def test_from_a_thread_they_run_in_that_thread(node, log):
    desk = node.ref("sends.desk")

    def work():
        return desk.ask("tea", block=True), [r.wait(5.0) for r in desk.tell_many(["tea"])]

    assert await asyncio.to_thread(work) == ("TEA", [None])
    assert [each[1] for each in log] == ["ask", "ask", "tell_many", "tell_many"]
    assert log[0][3] == {}


def refusing(error):
    def middleware(context, message, call_next):
        raise error

    return middleware


async def test_what_one_raises_is_raised_where_the_verb_is_called_and_nothing_is_sent(taken):
    async def look(error):
        servers = MemoryServers()
        async with servers.node(send_middleware=[refusing(error)]) as node:
            desk = node.ref("sends.desk")
            for send in (
                desk.tell,
                desk.ask,
                desk.tell_all,
                desk.ask_all,
                lambda message: desk.tell_many([message]),
                functools.partial(node.publish, "sends.stored"),
            ):
                with pytest.raises(type(error)):
                    send("tea")
            assert servers.broker.bodies("sends.desk") == []
            assert servers.broker.bodies("sends.stored") == []

    for error in (Refused("no"), ValueError("no"), SystemExit(3), asyncio.CancelledError()):
        await look(error)


async def test_one_that_raises_in_a_handler_ends_that_handler_alone(taken):
    class Sends(Actor):
        address = "sends.sender"

        @receives(str)
        def work(self, message):
            if message == "bad":
                node.ref("sends.nobody").tell(message)
            return message

    async with MemoryServers().node(send_middleware=[only_bad(SystemExit(1))]) as node:
        await node.start(Supervisor.of(child(Sends)))
        with pytest.raises(Exception, match="SystemExit"):
            await node.ref("sends.sender").ask("bad")
        assert await node.ref("sends.sender").ask("good") == "good"


def only_bad(error):
    def middleware(context, message, call_next):
        if context.target == "sends.nobody":
            raise error
        return call_next(message)

    return middleware


async def given_back(context, message, call_next):
    return call_next(message)


def test_what_is_no_plain_function_is_refused():
    class Asynchronous:
        async def __call__(self, context, message, call_next): ...

    for wrong in (5, "text", [5], [given_back], [Asynchronous()]):
        with pytest.raises(ConfigError, match="send_middleware"):
            Node(send_middleware=wrong)


def forgets(context, message, call_next):
    call_next(message)


def never_hands_on(context, message, call_next):
    return None


def gives_a_coroutine(context, message, call_next):
    return given_back(context, message, call_next)


async def test_one_that_gives_back_no_receipt_or_future_is_named():
    for wrong in (forgets, never_hands_on, gives_a_coroutine):
        async with MemoryServers().node(send_middleware=[wrong]) as node:
            ref = node.ref("sends.desk")
            for verb in (ref.tell, ref.ask, ref.ask_all):
                with pytest.raises(TypeError, match=wrong.__name__):
                    verb("tea")
            with pytest.raises(TypeError, match=wrong.__name__):
                node.publish("sends.stored", "tea")


async def test_one_may_answer_itself_and_may_hand_on_twice(taken):
    from actors import Future

    def answers(context, message, call_next):
        if context.verb == "ask" and message == "known":
            future = Future()
            future.set("from the cache")
            return future
        return call_next(message)

    def twice(context, message, call_next):
        call_next(message)
        return call_next(message)

    servers = MemoryServers()
    async with servers.node(send_middleware=[answers, twice]) as node:
        await node.start(Supervisor.of(child(Desk, taken)))
        ref = node.ref("sends.desk")
        assert await ref.ask("known") == "from the cache"
        await ref.tell("tea")
        await until(lambda: len(taken) == 2)
        with pytest.raises(TypeError, match=r"2 times.*call_next once"):
            ref.tell_many(["tea"])
        assert len(taken) == 2


async def test_one_that_hands_a_message_of_many_on_never_says_so():
    async with MemoryServers().node(send_middleware=[never_hands_on]) as node:
        with pytest.raises(TypeError, match="0 times"):
            node.ref("sends.desk").tell_many(["tea"])


async def test_what_a_durable_actor_sends_goes_through_them(log, taken):
    class Till(Durable):
        address = "sends.till"
        state: Told

        @receives(str)
        def work(self, message):
            self.state.told += 1
            desk = node.ref("sends.desk")
            desk.tell(message)
            desk.tell_many(["milk", message])
            self.entity("sends.cart", "ada").tell(message)

    around = [noting(log, "one"), shouting]
    async with MemoryServers().node(send_middleware=around, store="memory:") as node:
        await node.start(Supervisor.of(child(Desk, taken), child(Till)))
        till = node.ref("sends.till")
        del log[:]
        await till.ask("tea")
        await until(lambda: len(taken) == 3)
        assert sorted(taken) == [("MILK", "acme"), ("TEA", "acme"), ("TEA", "acme")]
        assert [each[1:3] for each in log] == [
            ("ask", "sends.till"),
            ("tell", "sends.desk"),
            ("tell_many", "sends.desk"),
            ("tell_many", "sends.desk"),
            ("tell", "sends.cart/ada"),
        ]


async def test_a_node_without_any_has_the_plain_refs(log):
    async with MemoryServers().node() as node:
        assert type(node.ref("sends.desk")) is ServiceRef
        assert type(node.entity("sends.cart", "ada")) is EntityRef
    async with MemoryServers().node(send_middleware=[shouting]) as node:
        ref, entity = node.ref("sends.desk"), node.entity("sends.cart", "ada")
        assert isinstance(ref, ServiceRef)
        assert isinstance(entity, EntityRef)
        assert ref == node.ref("sends.desk", codec="json")
        assert repr(ref) == "<ServiceRef sends.desk>"
