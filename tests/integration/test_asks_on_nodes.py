"""Reports of users of remote calls, tried on whole nodes over both relays: the asks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading

import pytest

from actors import Actor, ActorCrashed, ActorDeadError, AskTimeout, Overloaded, Restarting
from actors.errors import AskCycle, StartFailed
from irismq_runtime import NoSuchService, PeerRef, RemoteError, current_node, pyiris
from irismq_runtime.errors import RemoteFault
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.wire import Kind
from supervisors import Backoff, Supervisor, child
from tests.integration.asking import ON_RELAYS, Do, Holder, outcome, seen
from tests.support.instances import instances_of
from tests.support.iris_relay import unique
from tests.support.promptly import promptly
from tests.support.until import until

pytestmark = ON_RELAYS


def crash(what):
    if what == "crash":
        raise ValueError("boom")
    return what


async def test_a_target_that_is_down_fails_soon_and_says_why(servers):
    address = unique("b.down")
    patient = Backoff(0.2, 0.2, 0.0)
    async with servers.node("client") as client, servers.node("shop") as shop:
        ref = client.ref(address)
        root = await shop.start(
            Supervisor.of(child(Holder, address, answer=crash), backoff=patient)
        )
        await until(lambda: client.members(address))
        assert isinstance(await outcome(ref.ask(Do("crash"))), RemoteError)
        assert await ref.ask(Do("soon"), timeout=10.0) == "soon"  # (a) in time for its restart
        await root.stop()
        slow = Backoff(60.0, 60.0, 0.0)
        root = await shop.start(Supervisor.of(child(Holder, address, answer=crash), backoff=slow))
        await until(lambda: client.members(address))
        await outcome(ref.ask(Do("crash")))
        async with promptly("an ask of a target that is down too long"):
            error = await outcome(ref.ask(Do("never"), timeout=40.0))
        assert isinstance(error, Restarting)  # (a) not in time
        await root.stop()


async def test_given_up_never_there_and_not_constructed_fail_at_once(servers):
    address = unique("b.gone")

    class Odd(Actor):
        def __init__(self):
            raise OSError("no such port")

    async with servers.node("client") as client, servers.node("shop") as shop:
        ref = client.ref(address)
        await shop.start(Supervisor.of(child(Holder, address, answer=crash), max_restarts=0))
        await until(lambda: client.members(address))
        await outcome(ref.ask(Do("crash")))
        await until(lambda: not client.members(address))
        with pytest.raises(StartFailed):
            await shop.start(Supervisor.of(child(Odd)))
        for gone in (ref, client.ref(unique("b.never"))):  # (b), (c) and (d)
            async with promptly("an ask of nobody"):
                error = await outcome(gone.ask(Do(), timeout=60.0))
            assert type(error) is NoSuchService
        peer = PeerRef(client.parts.outbound, shop.id, "urn:long-gone")
        assert isinstance(await outcome(peer.ask(Do())), ActorDeadError)


async def test_a_late_answer_reaches_nobody_and_is_counted(servers):
    address = unique("b.late")
    held = []
    async with servers.node("client") as client, servers.node("shop") as shop:
        late = seen(shop, "dispatch.late")
        await shop.start(Supervisor.of(child(Holder, address, held=held)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        asked = []
        for turn in range(3):
            slow = [ref.ask(Do("hold"), timeout=1.0) for _ in range(10)]
            numbers = [f"{turn}.{number}" for number in range(50)]
            assert await asyncio.gather(*(ref.ask(Do(n), timeout=10.0) for n in numbers)) == numbers
            over = asyncio.get_running_loop().time() + 1.01  # there as well as here
            found = [await outcome(ask) for ask in slow]
            assert {type(error) for error in found} == {AskTimeout}
            assert {(e.target, e.message_type) for e in found} == {(address, "group.do")}
            await until(lambda over=over: asyncio.get_running_loop().time() > over)
            for reply in held:
                reply("late")
            held.clear()
            assert await asyncio.gather(*(ref.ask(Do(n), timeout=10.0) for n in numbers)) == numbers
            asked += [ask.id.hex() for ask in slow]
        await until(lambda: len(late) >= len(asked))
        assert {entry["id"] for entry in late} == set(asked)
        assert {entry["address"] for entry in late} == {address}


@pytest.mark.timeout(90)
async def test_no_answer_crosses_a_reconnect(servers, kills_relay):
    address = unique("b.late")
    held = []
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, held=held)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        slow = [ref.ask(Do("hold"), timeout=60.0) for _ in range(10)]
        await until(lambda: len(held) == 10)
        await servers.relay.kill()
        await asyncio.gather(*map(outcome, slow))
        await servers.relay.restart()
        await until(lambda: client.health().ready and shop.health().ready)
        numbers = [f"{number}" for number in range(20)]
        asks = [ref.ask(Do(number), timeout=20.0) for number in numbers]
        for reply in held:
            reply("of another connection")
        assert await asyncio.gather(*asks) == numbers


async def test_asks_that_time_out_leave_nothing_behind(servers):
    address = unique("b.silent")
    before = instances_of(RemoteAsk)
    async with servers.node("client") as client, servers.node("shop") as shop:
        kept = []
        await shop.start(Supervisor.of(child(Holder, address, held=kept)))
        await until(lambda: client.members(address))
        silent = client.ref(unique("b.nobody"), foreign="json")
        for _ in range(4):
            asks = [silent.ask({"a": 1}, timeout=0.1) for _ in range(1000)]
            assert {type(await outcome(ask)) for ask in asks} == {AskTimeout}
        held = [client.ref(address).ask(Do("hold"), timeout=0.3) for _ in range(100)]
        assert {type(await outcome(ask)) for ask in held} == {AskTimeout}
        (binding,) = shop.parts.binder

        def all_done():
            while kept:
                kept.pop()("too late")
            return not binding.handler.requests.deliveries

        await until(all_done)
        # A relay that is not ours does not answer what it is asked of itself (its limit).
        await until(lambda: client.parts.addresses._out.statistics().pending == 0)
        del asks, held
        gc.collect()
        left = instances_of(RemoteAsk)
        assert not [each for each in left if all(each is not known for known in before)]


async def test_an_ask_of_oneself_and_a_circle_fail_at_once(servers):
    one, two = unique("b.one"), unique("b.two")
    async with servers.node("left") as left, servers.node("right") as right:
        raised = []

        async def to_the_other(what):
            try:
                current_node().ref(one).ask(Do("me"))
            except AskCycle as error:
                raised.append(error.target)
            return await current_node().ref(two).ask(Do("on"))

        async def back(what):
            return await current_node().ref(one).ask(Do("back"))

        await left.start(Supervisor.of(child(Holder, one, answer=to_the_other), max_restarts=9))
        await right.start(Supervisor.of(child(Holder, two, answer=back), max_restarts=9))
        await until(lambda: left.members(two) and right.members(one))
        async with promptly("a circle of asks"):
            error = await outcome(right.ref(one).ask(Do("begin"), timeout=60.0))
        assert isinstance(error, RemoteError)
        assert "AskCycle" in error.traceback_text
        assert raised == [one]
        assert right.config.ask_timeout == 5.0  # and there is a deadline in any case


HARMFUL = {
    "timeout": TimeoutError("mine"),
    "asyncio": TimeoutError("mine"),
    "futures": concurrent.futures.TimeoutError("mine"),
    "cancelled": asyncio.CancelledError(),
    "stop": StopIteration(3),
    "interrupt": KeyboardInterrupt(),
}


async def test_what_the_callee_raises_is_told_at_once_and_is_no_ask_timeout(servers):
    address = unique("b.raises")

    def fail(what):
        raise HARMFUL[what]

    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, answer=fail), max_restarts=20))
        await until(lambda: client.members(address))
        for name, raised in HARMFUL.items():
            async with promptly(f"an ask whose handler raises {name}"):
                error = await outcome(client.ref(address).ask(Do(name), timeout=60.0))
            assert isinstance(error, ActorCrashed)
            assert not isinstance(error, TimeoutError)
            assert type(raised).__name__ in f"{error} {getattr(error, 'type_name', '')}"


class Needy(Exception):
    def __init__(self, *, first, second):
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


def odd(what):
    match what:
        case "needy":
            raise Needy(first="one", second="two")
        case "huge":
            raise ValueError("x" * 5_000_000)
        case "circle":
            error = ValueError("around")
            raise error from error
    raise ValueError("half \ud800 a pair")


async def test_any_exception_arrives_as_short_text(servers):
    address = unique("b.odd")
    expected = {"needy": "one and two", "huge": "xxx", "circle": "around", "half": "half"}
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, answer=odd), max_restarts=20))
        await until(lambda: client.members(address))
        for name, text in expected.items():
            error = await outcome(client.ref(address).ask(Do(name), timeout=20.0))
            assert isinstance(error, RemoteError)
            assert error.type_name.endswith("Needy" if name == "needy" else "ValueError")
            assert text in error.text
            assert "in odd" in error.traceback_text
            assert len(error.text) + len(error.traceback_text) < 25_000


async def test_promised_answers_that_never_come_leave_nothing_behind(servers):
    address, held = unique("b.promised"), []
    async with servers.node("shop") as shop, servers.node("client") as client:
        await shop.start(Supervisor.of(child(Holder, address, held=held)))
        await until(lambda: client.members(address))
        (binding,) = shop.parts.binder
        requests, attached = binding.handler.requests, binding.ref._slot.attachments()
        ref = client.ref(address)
        patient = ref.ask(Do("hold"), timeout=60.0)
        await until(lambda: held)
        asks = [ref.ask(Do("hold"), timeout=0.2) for _ in range(200)]
        outcomes = [await outcome(ask) for ask in asks]
        assert {type(error) for error in outcomes} == {AskTimeout}
        # They keep no place at the relay; a real one gives them out a few at a time, so late.
        assert await ref.ask(Do("next"), timeout=20.0) == "next"
        await until(lambda: len(requests.deliveries) == len(attached.promises) == 1)
        keep, *broken = held
        assert not any(reply("late") for reply in broken)
        assert keep("patience")
        assert await patient == "patience"
        await until(lambda: not requests.deliveries and not attached.promises)


async def test_asks_that_were_given_up_do_not_keep_the_places_of_others(servers):
    """A real relay hands a member 16 requests and broadcasts at once, and no more."""
    address = unique("b.places")
    held = []
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, held=held)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        for turn in (1, 2, 3):
            given_up = [ref.ask(Do("hold"), timeout=60.0) for _ in range(15)]
            await until(lambda turn=turn: len(held) == 15 * turn)
            for number, ask in enumerate(given_up, 1):
                assert ask.cancel()
                count = 15 * (turn - 1) + number
                await until(lambda n=count: shop.parts.dispatch.counters.cancelled == n)
        assert await ref.ask(Do("next"), timeout=5.0) == "next"
        (binding,) = shop.parts.binder
        assert not binding.handler.requests.deliveries


async def test_over_the_allowance_asks_are_answered_and_tells_counted(servers, caplog):
    address = unique("b.full")
    gate = asyncio.Event()

    class Full(Holder):
        inbox_limit = 1

    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Full, address, answer=lambda _: gate.wait())))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        asks = [asyncio.ensure_future(outcome(ref.ask(Do("x" * 50_000)))) for _ in range(12)]
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        assert {type(task.result()) for task in done} == {Overloaded}
        caplog.set_level(logging.WARNING)
        caplog.clear()
        refused = shop.parts.dispatch.counters.refused
        for _ in range(200):
            ref.tell_all(Do("y"))
        await until(lambda: shop.parts.dispatch.counters.refused == refused + 200)
        said = "a broadcast of type Do was not taken"
        lines = [r for r in caplog.records if said in r.getMessage()]
        assert 1 <= len(lines) <= 3
        gate.set()
        await asyncio.gather(*asks)


def _ours():
    """Living objects of our classes."""
    gc.collect()
    packages = ("irismq_runtime", "actors", "supervisors")
    return sum(str(type(each).__module__).startswith(packages) for each in gc.get_objects())


async def test_callers_that_come_and_go_leave_nothing_behind(servers):
    address = unique("b.visited")
    async with servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address)))

        async def visit(number):
            async with pyiris.connect(servers.relay.host, servers.relay.port) as iris:
                answer = await iris.request(address, b'{"caller": %d}' % number, timeout=20)
            assert answer

        async def visits(count):
            for number in range(count):
                await visit(number)
            async with servers.node("passing") as passing:
                await until(lambda: passing.members(address))
                assert await passing.ref(address).ask(Do("hello")) == "hello"
            await until(lambda: list(shop.nodes()) == [shop.id])

        await visits(5)
        before = _ours()
        await visits(100)
        assert _ours() <= before + 60


async def test_a_follow_up_reaches_the_one_that_asked_and_ends_with_it(servers):
    address, namesake = unique("b.server"), unique("b.namesake")
    callers = []

    def note(what):
        return "noted"

    class Server(Holder):
        def on_receive(self, message):
            callers.append(message)

    class Client(Holder):
        async def ask(self, server):
            await server.tell_all(self.actor_ref)

    async with servers.node("server") as server, servers.node("one") as one:
        await server.start(Supervisor.of(child(Server, address, answer=note)))
        logs = {"one": [], "two": []}
        await one.start(Supervisor.of(child(Client, namesake, logs["one"])))
        async with servers.node("two") as two:
            await two.start(Supervisor.of(child(Client, namesake, logs["two"])))
            for node in (one, two):
                await until(lambda node=node: len(node.members(namesake)) == 2)
                await until(lambda node=node: node.members(address))
                (binding,) = node.parts.binder
                await node.ref(address).ask(Do("hello"))
                await node.ref(address).tell([node.name, binding.ref])
            await until(lambda: len(callers) == 2)
            refs = dict(callers)
            for name, ref in refs.items():
                await ref.tell(Do(f"follow-up to {name}"))
            assert logs == {name: [f"follow-up to {name}"] for name in logs}
        await until(lambda: len(server.nodes()) == 2)
        with pytest.raises(ActorDeadError):
            await refs["two"].tell(Do("too late"))
        await refs["one"].tell(Do("still there"))
        await until(lambda: "still there" in logs["one"])


class Doorkeeper:
    """A member that says the faults it is given, one a request, and then answers."""

    def __init__(self, node, faults):
        self.node = node
        self.faults = list(faults)

    def on_request(self, request):
        if self.faults:
            request.fail(self.faults.pop(0))
            return
        packer = self.node.parts.outbound.packer
        asked = packer.open_untrusted(request.body)
        request.reply(packer.answer(Kind.REPLY, asked.id, "welcome"))

    def on_joined(self):
        pass

    on_tunnel = on_broadcast = on_lost = on_joined


async def test_who_meets_a_leaver_asks_another_and_who_meets_a_full_one_is_told(servers):
    address = unique("b.door")
    async with servers.node("client") as client, servers.node("shop") as shop:
        keeper = Doorkeeper(shop, ["leaving"] * 3)
        await shop.parts.addresses.join(address, keeper)
        shop.parts.presence.bind(address, "urn:door")
        await until(lambda: client.members(address))
        assert await client.ref(address).ask(Do(), timeout=10.0) == "welcome"
        keeper.faults = ["overloaded"]
        assert isinstance(await outcome(client.ref(address).ask(Do())), Overloaded)
        keeper.faults = ["leaving"]  # a foreign program's own word
        error = await outcome(client.ref(address, foreign="json").ask("in"))
        assert (type(error), error.text) == (RemoteFault, "leaving")
        keeper.faults = ["leaving"] * 1000
        ask = client.ref(address).ask(Do(), timeout=30.0)
        await until(lambda: len(keeper.faults) < 998)
        shop.parts.presence.unbind(address, "urn:door")
        assert isinstance(await outcome(ask), NoSuchService)
        keeper.faults = ["leaving"] * 1000
        shop.parts.presence.bind(address, "urn:door")
        await until(lambda: client.members(address))
        assert isinstance(await outcome(client.ref(address).ask(Do(), timeout=0.2)), AskTimeout)
