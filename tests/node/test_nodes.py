"""What nodes do among themselves: presence, death watch, keys, events, the end."""

from __future__ import annotations

import asyncio
import platform
from typing import Any

import pytest

from actors import Actor, ActorDeadError, Events, Terminated, receives
from actors.errors import Refused, Restarting, Retry
from actors.handlers import exposed_methods
from actors.testing import ManualClock, settle
from irismq_runtime import ConfigError, ConnectionLost, Node, RemoteError, durable, live
from irismq_runtime.errors import NoSuchService, RemoteFault
from irismq_runtime.node.inspection.health_monitor import HealthMonitor
from irismq_runtime.node.membership.service_waiter import SEARCH, SEARCH_ALONE
from irismq_runtime.node.membership.settling import SETTLE, SETTLE_AT_MOST
from irismq_runtime.observe.health import Health
from supervisors import Supervisor, child, which_children
from tests.node.helpers import Add, Counter, MemoryServers, Total
from tests.refs.test_asks import Do, service
from tests.support.transports import MemoryBroker
from tests.support.until import until


@pytest.fixture
def world():
    return MemoryServers()


class Watcher(Actor):
    """Watches whom it is sent."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def on_receive(self, message):
        self.watch(message)

    @receives(Terminated)
    def ended(self, message: Terminated) -> None:
        self.log.append(message)


async def peer_of(client, server):
    """A ref in `client` to the actor of `server` that serves test.who."""

    def who(self, message):
        return self.actor_ref

    root = await server.start(Supervisor.of(child(service("test.who", who))))
    await until(lambda: client.members("test.who"))
    return root, await client.ref("test.who").ask(Do())


async def test_a_watcher_hears_of_the_end_of_an_actor_on_another_node(world):
    async with world.node("server") as server, world.node("client") as client:
        root, peer = await peer_of(client, server)
        log = []
        watcher = client.system.start(Watcher, log)
        watcher.tell(peer)
        await until(lambda: server.parts.death_watch._watchers)
        await root.stop()
        await until(lambda: log)
        (terminated,) = log
        assert terminated.ref == peer
        assert terminated.exit.reason == "shutdown"
        assert watcher._slot.attachments().watching == {}  # case 130: nothing is kept of it
        assert client.parts.death_watch._watched == server.parts.death_watch._watchers == {}


async def test_watching_the_dead_answers_at_once(world):
    async with world.node("server") as server, world.node("client") as client:
        root, peer = await peer_of(client, server)
        await root.stop()
        log = []
        client.system.start(Watcher, log).tell(peer)
        await until(lambda: log)
        assert log[0].exit.reason == "noproc"


async def test_a_node_that_goes_takes_the_watched_with_it(world):
    async with world.node("client") as client:
        log = []
        async with world.node("server") as server:
            _, peer = await peer_of(client, server)
            client.system.start(Watcher, log).tell(peer)
            await until(lambda: server.parts.death_watch._watchers)
            server.parts.death_watch._watchers.clear()  # it dies without a word
        await until(lambda: log)
        assert log[0].exit.reason == "noproc"
        with pytest.raises(ActorDeadError):
            await peer.ask(Do())


async def test_a_silent_node_is_gone_after_the_misses_and_its_watchers_are_told():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    options = {"clock": clock, "presence_period": 1.0, "presence_misses": 3}
    async with world.node("client", **options) as client, world.node("server", **options) as server:
        changes = []
        client.parts.presence.on_change(changes.append)
        await server.start(Supervisor.of(child(Counter)))
        for _ in range(3):
            await settle(client.system)
            clock.advance(0.5)
        await settle(client.system)
        assert client.members("test.counter")
        server.parts.presence._timer.cancel()  # it hangs: no heartbeat, no goodbye
        for _ in range(3):
            clock.advance(1.0)
            await settle(client.system)
        assert client.members("test.counter")
        clock.advance(1.0)
        await settle(client.system)
        assert not client.members("test.counter")
        assert changes[-1].kind == "gone"
        assert client.parts.presence.trusted


async def test_presence_settles_after_hearing_itself_and_in_any_case():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("client", clock=clock) as client:
        await settle(client.system)
        assert client.parts.presence.settling
        clock.advance(SETTLE)
        assert not client.parts.presence.settling
        assert client.parts.presence.trusted
    async with world.node("deaf", clock=clock) as deaf:
        world.relay.members.clear()
        clock.advance(SETTLE_AT_MOST)
        assert not deaf.parts.presence.settling
        assert not deaf.parts.presence.trusted


async def test_a_node_that_knows_no_other_yet_gives_a_slow_one_time_before_it_says_nobody():
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("client", clock=clock) as client:
        await settle(client.system)
        clock.advance(SETTLE)
        early = client.ref("test.counter").ask(Total())
        await settle(client.system)
        for _ in range(7):
            clock.advance(0.1)
            await settle(client.system)
        assert not early.done()
        # It was slow, and is there within the time.
        async with world.node("server") as server:
            await server.start(Supervisor.of(child(Counter)))
            assert await early == 0
        # Later, silence means what it says.
        for _ in range(round(SEARCH_ALONE / 0.1)):
            clock.advance(0.1)
            await settle(client.system)
        assert client.parts.presence.trusted
        late = client.ref("test.nobody").ask(Total())
        await settle(client.system)
        clock.advance(SEARCH)
        with pytest.raises(NoSuchService):
            await late


KEY = b"a secret of 16 to 64 bytes"


async def test_a_node_with_keys_refuses_what_is_not_signed_with_one_of_them(world):
    async with (
        world.node("server", keys={"new": KEY, "old": KEY[::-1]}) as server,
        world.node("friend", keys={"old": KEY[::-1]}) as friend,
        world.node("stranger") as stranger,
    ):
        log = []
        await server.start(Supervisor.of(child(Counter, log)))
        server_id = server.id
        assert stranger.id != server_id
        await until(lambda: friend.members("test.counter") or server.parts.presence.trusted)
        stranger.ref("test.counter").tell(Add(1))
        await until(lambda: server.parts.dispatch.counters.buried == 1)
        assert server.parts.dispatch.counters.unsigned >= 1
        stranger.ref("test.counter").tell_all(Add(1))
        friend.ref("test.counter").tell(Add(5))
        await until(lambda: log)
        assert log == [5]
        with pytest.raises(RemoteFault, match="not signed"):
            await stranger.ref("test.counter", foreign="json").ask({"a": 1})


async def test_an_actor_that_only_listens_needs_no_address(world):
    log = []

    class Board(Actor):
        subscribes = (live("news.live"), durable("news.kept", channel="board"))

        def on_receive(self, message):
            log.append((self.context.kind, message))

    async with world.node("server") as server:
        await server.start(Supervisor.of(child(Board)))
        await server.publish("news.kept", "kept")
        server.publish("news.live", "now", durable=False)
        await until(lambda: len(log) == 2)
        assert sorted(log) == [("event", "kept"), ("event", "now")]
        with pytest.raises(ValueError, match="cannot be delayed"):
            server.publish("news.live", "later", durable=False, delay=1.0)


async def test_subscriptions_that_are_none_are_an_error_that_says_so(world):
    class Wrong(Actor):
        subscribes = ("news",)

    async with world.node("server") as server:
        with pytest.raises(Exception, match="not a list of subscriptions") as caught:
            await server.start(Supervisor.of(child(Wrong)))
        causes = []
        error = caught.value
        while error is not None:
            causes.append(type(error))
            error = error.__cause__
        assert ConfigError in causes


async def test_what_runs_is_finished_and_what_waits_goes_back(world):
    gate, log = asyncio.Event(), []

    async def work(self, message):
        log.append(message.what)
        await gate.wait()

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(service("test.work", work))))
        for number in range(21):
            one.ref("test.work").tell(Do(f"{number}"))
        await until(lambda: log)
        (binding,) = one.parts.binder
        history = binding.stored[0][1].history
        await until(lambda: len(history) == 21)
        stopping = asyncio.ensure_future(one.stop())
        await until(lambda: sum(m.settled is not None for m in history) == 20)
        assert {m.settled for m in history if m.settled} == {("requeue", 0, False)}
        assert log == ["0"]
        gate.set()
        await stopping
        assert history[0].settled == ("finish",)
        assert log == ["0"]
    async with world.node("two") as two:
        await two.start(Supervisor.of(child(service("test.work", work))))
        await until(lambda: len(log) == 21)
        assert sorted(log, key=int) == [f"{n}" for n in range(21)]


async def test_on_stop_may_still_tell(world):
    class Leaving(Actor):
        def __init__(self, node):
            self.node = node

        def on_stop(self, reason):
            self.node.ref("test.after").tell(Total())

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Leaving, one)))
    assert len(world.broker.bodies("test.after")) == 1


async def test_a_node_is_used_inside_its_context_alone(world):
    node = Node(name="x", transports=world.transports)
    with pytest.raises(RuntimeError, match="async with"):
        node.ref("test.any")
    async with node:
        with pytest.raises(ConfigError):
            node.ref("")
        assert node.ref("test.any") is node.ref("test.any")
    with pytest.raises(ConfigError) as caught:
        Node(nonsense=1)
    assert caught.value.option == "nonsense"


async def test_the_old_name_of_on_event_says_so_and_does_the_same(world):
    async with world.node("one") as one:
        seen = []
        with pytest.warns(DeprecationWarning, match=r"Node\.on_event"):
            end = one.watch(seen.append)
        one.system.events.emit("health.changed", ready=True, reasons=())
        end()
        one.system.events.emit("health.changed", ready=False, reasons=())
        assert [record.ready for record in seen] == [True]


async def test_a_relay_that_is_away_at_the_start_leaves_nothing_open(world):
    world.relay.cut = True
    with pytest.raises(ConnectionLost):
        async with world.node("one"):
            pytest.fail("it must not be entered")


async def test_health_names_what_does_not_work(world):
    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Counter)))
        await until(lambda: one.health().ready)
        (binding,) = one.parts.binder
        binding.stored[0][0].pause.add("full")
        world.relay.cut = True
        health = one.health()
        assert not health.ready
        assert health.live
        assert any(reason.startswith("consumer test.counter: paused") for reason in health.reasons)
        assert "relay: cut" in health.reasons
        binding.stored[0][0].pause.remove("full")
        world.relay.cut = False
        await until(lambda: one.health().ready)
        assert one.health().to_dict()["ready"] is True


async def test_a_node_that_stops_being_ready_says_so_once_and_when_it_is_again(caplog):
    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    events, seen = Events(), []
    async with world.node("one", clock=clock, events=events, presence_period=1.0) as one:

        async def pass_seconds(count):
            for _ in range(2 * count):
                await settle(one.system)
                clock.advance(0.5)
            await settle(one.system)

        await pass_seconds(3)
        events.subscribe(lambda e: e.name == "health.changed" and seen.append(e.fields))
        world.relay.cut = True
        await pass_seconds(5)
        assert [(e["ready"], "relay: cut" in e["reasons"]) for e in seen] == [(False, True)]
        world.relay.cut = False
        await pass_seconds(3)
        assert [e["ready"] for e in seen] == [False, True]
    texts = [r.getMessage() for r in caplog.records if r.name == "irismq.node"]
    assert len(texts) == 2


async def test_a_stuck_handler_is_a_fault_while_others_wait_and_no_longer():
    class Stuck(Counter):
        address = "test.stuck"

        def __init__(self):
            super().__init__()
            self.open = asyncio.Event()

        @receives(Total)
        async def report(self, message):
            await self.open.wait()
            return self.total

    clock = ManualClock()
    world = MemoryServers(MemoryBroker(clock))
    async with world.node("one", clock=clock, presence_period=1.0, slow_after=5.0) as one:

        async def pass_seconds(count):
            for _ in range(2 * count):
                await settle(one.system)
                clock.advance(0.5)
            await settle(one.system)

        ref = await one.start(Stuck)
        await pass_seconds(3)
        assert one.health().ready
        ref.tell(Total())
        await pass_seconds(20)
        assert one.health().ready  # long, but nobody waits
        ref.tell(Add(1))
        assert one.health().reasons == ("handlers: Stuck has been handling Total for 20 s, 1 wait",)
        assert one.health().live
        ref._slot.actor.open.set()
        await settle(one.system)
        assert one.health().ready


def test_a_look_at_thousands_of_addresses_comes_less_often():
    clock, looked, addresses = ManualClock(), [], [10]

    def health():
        looked.append(clock.monotonic())
        return Health()

    monitor = HealthMonitor(health, clock, Events(), lambda: addresses[0])
    monitor.start()
    clock.advance(10.0)
    assert len(looked) == 10
    addresses[0] = 4000
    clock.advance(1.0)
    looked.clear()
    clock.advance(80.0)
    assert len(looked) == 10
    monitor.stop()


class Job(Actor):
    """Does what somebody wants done beside the rest."""

    def on_receive(self, message: object) -> object:
        return message


class Starter(Actor):
    """Starts actors of its own, and crashes on demand."""

    def on_receive(self, message: object) -> object:
        if message == "crash":
            raise ValueError(message)
        return Job.start(name="job")


async def test_every_actor_is_in_the_tree_also_what_a_handler_starts(world):
    """150."""
    async with world.node("one") as one:
        root = await one.start(Supervisor.of(child(Starter), name="shop"))
        assert [tree["name"] for tree in one.tree()["trees"]] == ["shop"]
        starter = which_children(root)[0].ref
        jobs = [await starter.ask("start") for _ in range(150)]
        starter.tell("crash")
        await until(lambda: which_children(root)[0].restarts == 1)
        for report in (one.tree(), await one.overview.report(one.id, timeout=5.0)):
            shop, alone = report["trees"]
            assert [place["name"] for place in shop["children"]] == ["Starter"]
            assert alone["name"] == "(in no tree)"
            assert len({place["name"] for place in alone["children"]}) == len(alone["children"])
            assert len(alone["children"]) + alone["hidden"] == 150
        urns = {place["ref"] for place in one.tree()["trees"][1]["children"]}
        assert urns == {job.actor_urn for job in jobs}
        for job in jobs:
            await job.stop()
        assert [tree["name"] for tree in one.tree()["trees"]] == ["shop"]


class Nameless(Counter):
    """Gets its address when it is made."""

    address = None

    def __init__(self):
        super().__init__()
        self.address = "test.named-when-made"


async def test_a_node_tells_another_what_its_addresses_take(world):
    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(Counter), child(Nameless)))
        await until(lambda: len(two.nodes()) == 2)
        told = await two.overview.offers(one.id, timeout=5.0)
        assert told["python"] == platform.python_version()
        assert set(told["offers"]) == {"test.counter", "test.named-when-made"}
        counter = told["offers"]["test.counter"]
        assert counter["class"] == "tests.node.helpers.Counter"
        assert counter["messages"]["test.add"] == "int"
        assert counter["exposed"] == sorted(exposed_methods(Counter))
        assert await one.overview.offers(one.id, timeout=5.0) == told


async def test_the_tree_of_every_node_is_gathered(world):
    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(Counter, name="counter")))
        await until(lambda: len(two.nodes()) == 2)
        trees = await two.trees()
        assert set(trees) == {one.id, two.id}
        (root,) = trees[one.id]["trees"]
        assert root["children"][0]["name"] == "counter"
        assert trees[two.id]["trees"] == []
        assert set(await two.trees(only=["one"])) == set(await two.trees(only=[one.id])) == {one.id}
        assert set(await two.trees(only=["two"])) == {two.id}
        late = await two.trees(timeout=0.0)
        assert late[one.id]["error"] == "not asked: the time was over"


async def test_retry_in_an_ask_is_handled_again_as_it_is_locally(world):
    log = []

    def answer(self, message):
        log.append(self.context.attempt)
        if self.context.attempt < 3:
            raise Retry(after=0.001)
        return "at last"

    def never(self, message):
        raise Retry(after=60.0)

    async with world.node("one") as one:
        await one.start(
            Supervisor.of(
                child(service("test.again", answer), name="again"),
                child(service("test.never", never), name="never"),
            )
        )
        assert await one.ref("test.again").ask(Do()) == "at last"
        assert log == [1, 2, 3]
        with pytest.raises(Restarting) as caught:
            await one.ref("test.never").ask(Do())
        assert caught.value.retry_after == 60.0


async def test_a_stored_message_that_no_handler_takes_is_buried(world):
    class Deaf(Actor):
        address = "test.deaf"

    async with world.node("one", max_attempts=1) as one:
        await one.start(Supervisor.of(child(Deaf)))
        await one.ref("test.deaf").tell(Do())
        await until(lambda: one.parts.dispatch.counters.buried == 1)
        world.broker.store("test.deaf", b'{"foreign": true}', 0)
        await until(lambda: one.parts.dispatch.counters.buried == 2)
        assert len(world.broker.bodies("test.deaf.dead")) == 2


async def test_a_member_whose_announcement_was_lost_is_found_by_asking(world):
    slow = {"presence_period": 5.0}
    async with world.node("one", **slow) as one, world.node("two", **slow) as two:
        await two.settled()
        broadcast = one.parts.addresses.broadcast
        one.parts.addresses.broadcast = lambda cluster, body: None
        await one.start(Supervisor.of(child(Counter)))
        await asyncio.sleep(0)
        assert not two.members("test.counter")
        one.parts.addresses.broadcast = broadcast
        assert await two.ref("test.counter").ask(Add(1)) == 1


async def test_ask_all_names_who_did_not_answer_in_time(world):
    gate = asyncio.Event()

    async def answer(self, message):
        if self.actor_ref.name == "slow":
            await gate.wait()
        return self.actor_ref.name

    cls = service("test.some", answer)
    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(cls, name="quick"), child(cls, name="slow")))
        await until(lambda: len(two.members("test.some")) == 2)
        gathered = await two.ref("test.some").ask_all(Do(), timeout=0.3)
        assert gathered.values == ["quick"]
        assert len(gathered.missing) == 1
        assert not gathered.complete
        gate.set()
        again = await two.ref("test.some").ask_all(Do())
        assert sorted(again.values) == ["quick", "slow"]
        assert two.parts.outbound.gathers == {}


async def test_a_class_takes_its_codec_and_window_from_its_attributes(world):
    class Narrow(Counter):
        address = "test.narrow"
        mailbox_window = 3
        codec = "json"

    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Narrow)))
        (binding,) = one.parts.binder
        assert binding.stored[0][1].window == 3
        assert await one.ref("test.narrow", codec="json").ask(Add(2)) == 2


async def test_metrics_count_what_was_done(world):
    async with world.node("one") as one:
        await one.start(Supervisor.of(child(Counter)))
        await one.ref("test.counter").ask(Add(2))
        await one.ref("test.counter").tell(Add(2))
        await until(lambda: "irismq_finished_total 1.0" in one.metrics())
        assert "irismq_answered_total 1.0\n" in one.metrics()
        told = one.metrics()
        assert 'irismq_in_flight{address="test.counter"} 0.0\n' in told
        assert 'irismq_mailbox_finished_total{address="test.counter"} 1.0\n' in told
        assert 'irismq_handled_total{class="Counter"} 2.0\n' in told
        assert 'irismq_asks_ended_total{address="test.counter",outcome="replied"} 1.0' in told
        assert 'irismq_ask_seconds_bucket{address="test.counter",le="+Inf"} 1.0' in told
        assert 'irismq_request_seconds_count{address="test.counter"} 1.0' in told


async def test_metrics_have_no_label_for_each_message_actor_or_node(world):
    async with world.node("one") as one, world.node("two") as two:
        tree = Supervisor.of(*(child(Counter, name=f"c{n}") for n in range(20)))
        await one.start(tree)
        for number in range(10):
            await two.ref("test.counter").ask(Add(number))
        lines = [line for line in one.metrics().splitlines() if not line.startswith("#")]
        for ref in one.system.actors():
            assert not any(ref.actor_urn in line for line in lines)
        assert not any(one.id in line or two.id in line for line in lines)
        labelled = [line for line in lines if line.startswith("irismq_in_flight")]
        assert len(labelled) == 1


async def test_a_tunnel_is_refused_by_a_class_that_takes_none(world):
    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(Counter)))
        await until(lambda: two.members("test.counter"))
        async with two.ref("test.counter").tunnel() as tunnel:
            with pytest.raises(Refused, match="no on_tunnel"):
                await tunnel.receive()


async def test_a_stream_waits_while_its_reader_does_and_ends_with_it(world):
    made = []

    async def count(self, message):
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            made.append("closed")

    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(service("test.count", count))))
        await until(lambda: two.members("test.count"))
        stream = two.ref("test.count").stream(Do())
        assert await anext(stream) == 0
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(made) < 20  # room for a few, in memory
        await stream.aclose()
        await until(lambda: made[-1] == "closed")
        (binding,) = one.parts.binder
        await until(lambda: len(binding.handler.tunnels) == 0)


async def test_a_stream_that_breaks_tells_its_reader_why(world):
    async def count(self, message):
        yield 1
        raise LookupError("no more")

    async with world.node("one") as one, world.node("two") as two:
        await one.start(Supervisor.of(child(service("test.count", count))))
        await until(lambda: two.members("test.count"))
        stream = two.ref("test.count").stream(Do())
        assert await anext(stream) == 1
        with pytest.raises(RemoteError, match="no more"):
            await anext(stream)
