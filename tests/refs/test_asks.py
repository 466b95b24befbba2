"""Asks over the address transport: deadlines, circles, errors, cancellation, threads."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest

from actors import (
    Actor,
    ActorCrashed,
    AskCycle,
    AskTimeout,
    BlockingCall,
    MailboxFull,
    Overloaded,
    Refused,
    Restarting,
    message,
    receives,
)
from actors.testing import ManualClock, settle
from irismq_runtime import NoSuchService, RemoteError, current_node
from irismq_runtime.errors import ConnectionLost, EncodeError, MessageTooLarge, RemoteFault
from irismq_runtime.node.membership.settling import SETTLE
from supervisors import Backoff, Supervisor, child
from tests.node.helpers import Add, Counter, Fail, MemoryServers, Total
from tests.support.transports import MemoryBroker
from tests.support.until import until


@message("test.do")
@dataclass(frozen=True)
class Do:
    what: str = ""


@pytest.fixture
def world():
    return MemoryServers()


@pytest.fixture
async def client(world):
    async with world.node("client") as node:
        await node.settled()
        yield node


def service(at, handler, **attributes):
    """An actor class at `at` whose handler of `Do` is `handler(self, message)`."""

    def do(self, message):
        return handler(self, message)

    do.__actors_receives__ = (Do,)
    return type("Service", (Actor,), {"address": at, "do": do, **attributes})


async def test_each_reason_not_to_answer_has_its_own_error(world, client):
    with pytest.raises(NoSuchService):
        await client.ref("test.never").ask(Do())
    async with world.node("server") as server:
        await server.start(
            Supervisor.of(child(Counter), max_restarts=5, backoff=Backoff(30.0, 30.0, 0.0))
        )
        counter = client.ref("test.counter")
        with pytest.raises(RemoteError):
            await counter.ask(Fail())
        with pytest.raises(Restarting) as caught:
            await counter.ask(Total(), timeout=1.0)
        assert 20 < caught.value.retry_after <= 30
    async with world.node("server") as server:
        await server.start(Supervisor.of(child(Counter), max_restarts=0))
        with pytest.raises(RemoteError):
            await client.ref("test.counter").ask(Fail())
        await until(lambda: not client.members("test.counter"))
        with pytest.raises(NoSuchService):
            await client.ref("test.counter").ask(Total())


async def test_a_circle_of_asks_over_the_network_fails_at_once(world, client):
    async def ask_b(self, message):
        return await current_node().ref("test.b").ask(Do())

    async def ask_a(self, message):
        return await current_node().ref("test.a").ask(Do())

    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(service("test.a", ask_b)), max_restarts=9))
        await two.start(Supervisor.of(child(service("test.b", ask_a)), max_restarts=9))
        await one.settled()
        await two.settled()
        with pytest.raises(RemoteError) as caught:
            await client.ref("test.a").ask(Do(), timeout=5.0)
        assert "test.a" in caught.value.text


async def test_an_ask_of_ones_own_address_raises_at_once(world, client):
    raised = []

    async def ask_myself(self, message):
        try:
            current_node().ref("test.self").ask(Do())
        except AskCycle as error:
            raised.append(error)
        return "done"

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.self", ask_myself))))
        assert await client.ref("test.self").ask(Do()) == "done"
    assert raised[0].target == "test.self"


async def test_the_deadline_of_an_ask_bounds_the_asks_that_it_makes(world, client):
    seen = []

    async def outer(self, message):
        return await current_node().ref("test.inner").ask(Do(), timeout=60.0)

    def inner(self, message):
        seen.append(self.context.deadline - current_node().system.clock.monotonic())
        return "in time"

    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(service("test.outer", outer))))
        await two.start(Supervisor.of(child(service("test.inner", inner))))
        await one.settled()
        assert await client.ref("test.outer").ask(Do(), timeout=2.0) == "in time"
    assert 0 < seen[0] <= 2.0


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("mine"),
        asyncio.CancelledError(),
        StopIteration(3),
        KeyboardInterrupt(),
        AskTimeout("inner", "Do", 1.0, "mine"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_handler_raises_is_a_crash_there_and_no_timeout_here(world, client, error):
    async def fail(self, message):
        raise error

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.fails", fail))))
        with pytest.raises(ActorCrashed) as caught:
            await client.ref("test.fails").ask(Do(), timeout=5.0)
        assert not isinstance(caught.value, TimeoutError)


class Odd(Exception):
    def __init__(self, *, first, second):
        self.lock = threading.Lock()
        super().__init__("\ud800" + "x" * 5_000_000)
        self.__cause__ = self


async def test_an_exception_that_cannot_be_carried_is_told_in_short_text(world, client):
    def fail(self, message):
        raise Odd(first=1, second=2)

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.odd", fail))))
        with pytest.raises(RemoteError) as caught:
            await client.ref("test.odd").ask(Do())
        assert caught.value.type_name.endswith("Odd")
        assert len(str(caught.value)) < 100_000


async def test_an_answer_that_cannot_be_encoded_is_the_askers_error_and_no_crash(world, client):
    def answer(self, message):
        return object()

    async with world.node("one") as one:
        root = await one.start(Supervisor.of(child(service("test.opaque", answer))))
        with pytest.raises(RemoteError, match="cannot encode"):
            await client.ref("test.opaque").ask(Do())
        assert root.is_alive()


async def test_a_late_answer_is_counted_and_reaches_nobody(world, client):
    gate = asyncio.Event()

    async def slow(self, message):
        if message.what == "slow":
            await gate.wait()
        return message.what

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.slow", slow), instances=2)))
        ref = client.ref("test.slow")
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(Do("slow"), timeout=0.05)
        assert caught.value.target == "test.slow"
        assert caught.value.message_type == "test.do"
        gate.set()
        assert [await ref.ask(Do(f"{n}")) for n in range(4)] == ["0", "1", "2", "3"]
        await until(lambda: one.parts.dispatch.counters.late == 1)


async def test_asks_that_time_out_leave_nothing_behind(world, client):
    async with world.node("one") as one:

        async def never(self, message):
            await asyncio.Event().wait()

        await one.start(Supervisor.of(child(service("test.never", never))))
        (binding,) = one.parts.binder
        ref = client.ref("test.never")
        asks = [ref.ask(Do(), timeout=0.05) for _ in range(500)]
        outcomes = await asyncio.gather(*map(_outcome, asks))
        assert {type(outcome) for outcome in outcomes} == {AskTimeout}
        # The first runs on; the others have expired when their turn comes.
        assert len(binding.handler.requests.deliveries) <= 500
        for delivery in tuple(binding.handler.requests.deliveries.values()):
            delivery.cancel()
        await until(lambda: not binding.handler.requests.deliveries)


async def _outcome(ask):
    try:
        return await ask
    except Exception as error:
        return error


async def test_an_ask_that_its_caller_gives_up_cancels_the_handler(world, client):
    log = []

    async def slow(self, message):
        log.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.slow", slow))))
        ask = client.ref("test.slow").ask(Do(), timeout=30.0)
        await until(lambda: log)
        assert ask.cancel()
        await until(lambda: log == ["began", "ended"])
        assert not ask.cancel()


async def test_a_full_inbox_answers_overloaded_at_once(world, client):
    gate = asyncio.Event()

    async def slow(self, message):
        await gate.wait()

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.full", slow, inbox_limit=1))))
        ref = client.ref("test.full")
        asks = [ref.ask(Do()) for _ in range(4)]
        outcomes = [asyncio.ensure_future(_outcome(ask)) for ask in asks]
        done, _ = await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        error = done.pop().result()
        assert isinstance(error, Overloaded)
        assert not isinstance(error, MailboxFull)
        gate.set()
        await asyncio.gather(*outcomes)


async def test_an_ask_that_never_left_says_so(world, client):
    told = []
    client.on_event(lambda record: told.append(record.NAME))
    world.relay.cut = True
    with pytest.raises(ConnectionLost) as caught:
        await client.ref("test.any", foreign="json").ask({"a": 1})
    assert caught.value.outcome == "not sent"
    assert "ask.sent" not in told


async def test_what_is_too_large_or_cannot_be_encoded_never_leaves(client, world):
    before = world.relay.requests
    with pytest.raises(MessageTooLarge):
        client.ref("test.any").ask(b"x" * 2_000_000)
    with pytest.raises(EncodeError):
        client.ref("test.any").ask({"x": object()})
    assert world.relay.requests == before


async def test_a_foreign_service_is_asked_in_bare_json(world, client):
    got = []

    class Stranger:
        def on_request(self, request):
            got.append(request.body)
            request.reply(b'{"ok": true}')

        def on_broadcast(self, body):
            got.append(body)

        def on_joined(self):
            pass

    await client.parts.addresses.join("stranger", Stranger())
    ref = client.ref("stranger", foreign="json")
    assert await ref.ask({"a": 1}) == {"ok": True}
    ref.tell_all({"b": 2})
    await until(lambda: len(got) == 2)
    assert got == [b'{"a":1}', b'{"b":2}']
    await ref.tell({"c": 3})
    assert world.broker.bodies("stranger") == [b'{"c":3}']


async def test_a_stranger_asks_an_actor_in_bare_json(world, client):
    class Plain(Actor):
        address = "test.plain"

        def on_receive(self, message):
            if message == "fail":
                raise Refused("unwelcome")
            return {"echo": message}

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Plain)))
        ref = client.ref("test.plain", foreign="json")
        assert await ref.ask([1, "two"]) == {"echo": [1, "two"]}
        with pytest.raises(RemoteFault, match="Refused: unwelcome"):
            await ref.ask("fail")


async def test_refs_work_from_other_threads_and_block_only_there(world, client):
    async with world.node("one") as one:
        log = []
        await one.start(Supervisor.of(child(Counter, log)))
        counter = client.ref("test.counter")

        def elsewhere():
            counter.tell(Add(1)).wait(5.0)
            first = counter.ask(Add(2)).get(timeout=5.0)
            second = counter.ask(Add(4), block=True)
            counter.tell_all(Add(8))
            return first, second

        loop = asyncio.get_running_loop()
        first, second = await loop.run_in_executor(None, elsewhere)
        await until(lambda: len(log) == 4)
        assert (first, second) == (3, 7)
        with pytest.raises(BlockingCall):
            counter.ask(Total(), block=True)
        with pytest.raises(BlockingCall):
            counter.tell(Add(0)).wait()


class Promiser(Actor):
    """Promises an answer to whoever asks, and keeps the promise to "kept" alone."""

    address = "test.promiser"
    inbox_limit = 20_000

    def __init__(self):
        self.replies = {}

    @receives(Do)
    def promise(self, message):
        self.replies.setdefault(message.what, []).append(self.reply_later())


async def test_an_ask_that_waits_until_members_are_known_ends_in_its_own_time():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("client", clock=clock) as client:
        await settle(client.system)
        short = client.ref("test.never").ask(Do(), timeout=SETTLE / 2)
        long = client.ref("test.never").ask(Do(), timeout=SETTLE * 2)
        clock.advance(SETTLE / 2)
        with pytest.raises(AskTimeout):
            await short
        clock.advance(SETTLE / 2)
        with pytest.raises(NoSuchService):
            await long


async def test_promised_answers_that_never_come_leave_nothing_after_their_deadlines():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("client", clock=clock) as client, world.node("one", clock=clock) as one:
        root = await one.start(Supervisor.of(child(Promiser)))
        await settle(client.system)
        clock.advance(SETTLE)
        (binding,) = one.parts.binder
        requests, attached = binding.handler.requests, binding.ref._slot.attachments()
        ref = client.ref("test.promiser")
        asks = [ref.ask(Do("never"), timeout=2.0) for _ in range(10_000)]
        longer, kept = ref.ask(Do("kept"), timeout=4.0), ref.ask(Do("kept"), timeout=2.0)
        await settle(one.system)
        replies = binding.ref._slot.actor.replies
        assert len(requests.deliveries) == len(attached.promises) == 10_002
        assert replies["kept"][1]("in time")
        clock.advance(2.0)
        assert {type(await _outcome(ask)) for ask in asks} == {AskTimeout}
        assert await kept == "in time"
        assert len(requests.deliveries) == len(attached.promises) == 1
        assert one.parts.dispatch.counters.late == 10_000
        assert one.system.statistics().expired == 10_000
        assert not any(reply("late") for reply in replies["never"])
        assert one.parts.dispatch.counters.late == 10_000  # each counts once
        assert replies["kept"][0]("in time as well")
        assert await longer == "in time as well"
        assert not requests.deliveries
        assert root.is_alive()
