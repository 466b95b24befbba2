"""What an entity, its host and its refs promise, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, ActorClassError, Refused, StartFailed, receives
from actors.runtime import slot_of
from irismq_runtime import (
    ConfigError,
    Durable,
    Entity,
    EntityRef,
    NoSuchService,
    RetryPolicy,
    ServiceRef,
    current_node,
)
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.entities import table as table_module
from irismq_runtime.entities.ownership import Ownership
from irismq_runtime.messaging import dead_topic, mailbox_topic, shard_address, shard_of
from irismq_runtime.stores.memory import MemoryStore
from irismq_runtime.wire import Kind
from irismq_runtime.wire.dead_letters import decode_dead_untrusted
from supervisors import child
from tests.entities.helpers import AskOn, Device, DeviceState, Fail, GiveRef, Owe, Read, Report
from tests.node.helpers import Counter, MemoryServers
from tests.support.transports import MemoryStored
from tests.support.until import until

if TYPE_CHECKING:
    from irismq_runtime import Node
    from irismq_runtime.entities.table import EntityTable


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


def table_of(host: Any) -> EntityTable:
    return slot_of(host).actor.table


def finished(node: Node) -> int:
    return node.parts.dispatch.counters.finished


# Resting and crashing ---------------------------------------------------------------


class Brief(Device):
    address = "test.brief"
    idle = 0.01


async def test_an_entity_without_messages_rests_and_is_there_again_when_one_comes(servers):
    async with servers.node(store=MemoryStore()) as node:
        host = await node.start(Brief)
        ref = node.entity("test.brief", "a")
        assert await ref.ask(Report(3)) == 3
        table = table_of(host)
        await until(lambda: len(table) == 0)
        assert not node.parts.durable._active
        assert await ref.ask(Report(4)) == 7
        assert table.activated == 2


class Few(Device):
    address = "test.few"
    max_active = 10


async def test_beyond_max_active_those_rest_that_were_used_longest_ago(servers):
    async with servers.node(store=MemoryStore()) as node:
        host = await node.start(Few)
        for number in range(30):
            assert await node.entity("test.few", f"k{number}").ask(Report(1)) == 1
        table = table_of(host)
        await until(lambda: len(table) <= 10)
        assert table.find("k29") is not None
        assert table.find("k0") is None
        assert await node.entity("test.few", "k0").ask(Read()) == 1


async def test_what_an_entity_owes_keeps_it_from_resting(servers):
    class Owing(Brief):
        address = "test.owing"
        reply = None

        @receives(Owe)
        def owe(self, _: Owe) -> None:
            self.reply = self.reply_later()

        @receives(Report)
        def report(self, report: Report) -> int:
            if self.reply is not None:
                self.reply(report.value)
            return 0

    async with servers.node(store=MemoryStore()) as node:
        host = await node.start(Owing)
        ref = node.entity("test.owing", "a")
        answer = ref.ask(Owe())
        table = table_of(host)
        await until(lambda: (entry := table.find("a")) and slot_of(entry.slot.ref).attached)
        for _ in range(20):
            table.rest_idle()
        assert table.rested == 0
        await ref.ask(Report(5))
        assert await answer == 5


async def test_a_crash_costs_its_key_one_message_and_other_keys_nothing(servers):
    async with servers.node(store=MemoryStore(), max_attempts=1) as node:
        await node.start(Device)
        bad, good = node.entity("test.device", "bad"), node.entity("test.device", "good")
        assert await bad.ask(Report(2)) == 2
        with pytest.raises(Exception, match="it was told to"):
            await bad.ask(Fail())
        assert await good.ask(Report(1)) == 1
        assert await bad.ask(Report(2)) == 4
        await bad.tell(Fail())
        await until(lambda: node.parts.dispatch.counters.buried == 1)
        assert await bad.ask(Read()) == 4


async def test_a_key_that_cannot_start_waits_longer_each_time_and_no_other_with_it(servers):
    class Unready(Device):
        address = "test.unready"

        def on_start(self) -> None:
            if self.key == "bad":
                raise RuntimeError("not today")

    handled: list[Any] = []
    async with servers.node(store=MemoryStore()) as node:
        host = await node.start(child(Unready, handled))
        node.entity("test.unready", "bad").tell(Report(1))
        table = table_of(host)
        await until(lambda: (entry := table.find("bad")) and entry.failures >= 3)
        for key in ("x", "y", "z"):
            assert await node.entity("test.unready", key).ask(Report(1)) == 1
        await until(lambda: table.find("bad").slot.retry_after)
        assert ("bad", Report(1)) not in handled
        assert node.parts.dispatch.counters.buried == 0


class Particular(Device):
    address = "test.particular"
    shards = 1
    codec = "json"
    mailbox_window = 7
    mailbox_expires = 60.0
    retry_policy = RetryPolicy(attempts=9)


async def test_what_the_class_says_of_its_mailbox_holds_for_each_of_its_shards(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Particular)
        binding = next(each for each in node.parts.binder if each.address == "test.particular#0")
        (dispatch, consumption), *_ = binding.stored
        assert consumption.window == 7
        assert dispatch._limits.max_attempts == 9
        assert dispatch._limits.expires == 60.0
        assert binding._codec == "json"


# Reads --------------------------------------------------------------------------------


class CountingStore(MemoryStore):
    """A client that counts the looks at versions."""

    loads = 0

    async def load(self, keys: Any) -> Any:
        self.loads += 1
        return await super().load(keys)


async def test_an_answer_without_a_change_is_given_from_memory_or_after_a_look_as_the_class_says(
    servers, monkeypatch
):
    class Checked(Device):
        address = "test.checked"
        reads = "checked"

    store = CountingStore()
    async with servers.node(store=store) as node:
        await node.start(Device)
        await node.start(Checked)
        leased, checked = node.entity("test.device", "a"), node.entity("test.checked", "a")
        for ref in (leased, checked):
            assert await ref.ask(Report(3)) == 3
        ownership = node.parts.durable.above[Ownership]
        monkeypatch.setattr(ownership_module, "BEAT", 3600.0)
        async with ownership._turn:  # no round looks meanwhile
            before = store.loads
            for _ in range(5):
                assert await leased.ask(Read()) == 3
            assert store.loads == before
            assert await checked.ask(Read()) == 3
            assert store.loads == before + 1
            ownership.lease_until = float("inf")
            monkeypatch.setattr(Ownership, "holds_now", lambda _: False)
            other = node.entity("test.device", "b")  # its activation has a lease that is over
            assert await other.ask(Read()) == 0
            assert store.loads == before + 3


# Places ---------------------------------------------------------------------------------


async def test_a_message_to_another_shard_of_a_key_goes_on_to_its_own_and_is_handled_once(servers):
    async with servers.node(store=MemoryStore()) as node, servers.node("client") as client:
        host = await node.start(Device)
        keys = [f"k{number}" for number in range(12)]
        refs = [client.entity("test.device", key, shards=3) for key in keys]
        wrong = [key for key in keys if shard_of(key, 3) != shard_of(key, 4)]
        assert wrong
        for ref in refs:
            await ref.tell(Report(1))
        await until(lambda: len(slot_of(host).actor.table) == 12)
        for key in keys:
            assert await node.entity("test.device", key).ask(Read()) in {0, 1}
        await until(lambda: finished(node) == 12)
        for key in keys:
            assert await node.entity("test.device", key).ask(Read()) == 1
        with pytest.raises(Refused, match="shards=4") as refused:
            await client.entity("test.device", wrong[0], shards=3).ask(Read())
        assert refused.value.code == "wrong-shard"


async def test_the_address_itself_takes_what_names_a_key_and_refuses_what_does_not(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Device)
        outbound = node.parts.outbound
        topic = mailbox_topic("test.device")
        await outbound.store(
            "test.device", topic, Kind.TELL, Report(6), channel="mailbox", key="ada"
        )
        await until(lambda: finished(node) == 1)
        assert await node.entity("test.device", "ada").ask(Read()) == 6
        with pytest.raises(Refused, match="names none") as refused:
            await node.ref("test.device").ask(Read())
        assert refused.value.code == "no-key"
        await node.ref("test.device").tell(Report(1))
        await until(lambda: node.parts.dispatch.counters.buried == 1)
        shard = shard_address("test.device", 0)
        with pytest.raises(Refused, match="names none"):
            await node.ref(shard).ask(Read())


async def test_tunnels_and_streams_of_entities_are_refused_at_each_of_their_addresses(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Device)
        for address in ("test.device", shard_address("test.device", 0)):
            ref = node.ref(address)
            with pytest.raises(Refused, match="take no tunnels") as refused:
                async with ref.tunnel() as tunnel:
                    await tunnel.receive()
            assert refused.value.code == "no-tunnel"
            with pytest.raises(Refused, match="take no tunnels"):
                await anext(ref.stream(Read()))


async def test_an_entity_ref_crosses_the_wire_and_is_a_value(servers):
    class Giver(Actor):
        address = "test.giver"

        @receives(GiveRef)
        def give(self, message: GiveRef) -> EntityRef:
            return current_node().entity("test.device", message.key)

    async with servers.node(store=MemoryStore()) as node, servers.node("client") as client:
        await node.start(Device)
        await node.start(Giver)
        ref = await client.ref("test.giver").ask(GiveRef("a/b"))
        assert ref == client.entity("test.device", "a/b")
        assert hash(ref) == hash(client.entity("test.device", "a/b"))
        assert str(ref) == "test.device/a/b"


async def test_asks_in_a_circle_are_refused_and_those_to_another_key_are_none(servers):
    class Asking(Device):
        address = "test.asking"

        @receives(AskOn)
        async def ask_on(self, message: AskOn) -> int:
            return await self.entity("test.asking", message.key).ask(Read())

    async with servers.node(store=MemoryStore()) as node:
        await node.start(Asking)
        ref = node.entity("test.asking", "a")
        assert await ref.ask(AskOn("b")) == 0
        with pytest.raises(Exception, match=r"test\.asking/a"):
            await ref.ask(AskOn("a"))


# Wrong use -------------------------------------------------------------------------------


async def test_wrong_use_is_one_error_at_the_call(servers):
    async with servers.node(store=MemoryStore()) as node, servers.node("client") as client:
        await node.start(Device)
        bad_keys = ["", "x" * 257, "a\0b", "\ud800", 5, None, b"a"]
        for key in bad_keys:
            with pytest.raises(ValueError, match="key="):
                node.entity("test.device", key)
        for address in ("", "a/b", "a#1", None):
            with pytest.raises(ValueError, match="address="):
                node.entity(address, "a")
        with pytest.raises(ConfigError, match="have 4"):
            node.entity("test.device", "a", shards=5)
        with pytest.raises(ValueError, match="shards="):
            client.entity("test.device", "a", shards=0)
        with pytest.raises(NoSuchService, match=r"test\.nobody/a"):
            await client.entity("test.nobody", "a").ask(Read())


def test_what_is_written_in_a_class_is_checked_when_it_is_made():
    def bad(**attributes: Any) -> None:
        type("Bad", (Entity,), {"address": "test.bad", **attributes})

    cases = {
        "shards": [0, 5000, 1.5, "4"],
        "idle": [0, -1.0, "1"],
        "max_active": [0, 1.5],
        "address": ["a#1", "a/b"],
        "subscribes": [("topic",)],
        "on_tunnel": [lambda *_: None],
    }
    for name, values in cases.items():
        for value in values:
            with pytest.raises(ActorClassError, match=name):
                bad(**{name: value})


async def test_a_class_of_entities_does_not_start_where_it_cannot_work_and_says_why(servers):
    class Nameless(Entity):
        state: DeviceState

    class Plain(Durable):
        address = "test.plain"
        state: DeviceState

    class Taken(Entity):
        address = "test.plain"
        state: DeviceState

    class Fewer(Device):
        shards = 3

    async with servers.node() as node:
        with pytest.raises(StartFailed, match="has no store"):
            await node.start(Device)
    store = MemoryStore()
    async with servers.node(store=store) as node:
        with pytest.raises(StartFailed, match="this class has none"):
            await node.start(Nameless)
        await node.start(Plain)
        with pytest.raises(StartFailed, match="without keys"):
            await node.start(Taken)
        await (await node.start(Device)).stop()
        with pytest.raises(StartFailed, match="write shards = 4"):
            await node.start(Fewer)


async def test_a_durable_actor_at_the_address_of_entities_is_told_whose_state_is_there(servers):
    class Squatter(Durable):
        address = "test.device"
        state: DeviceState

    async with servers.node(store=MemoryStore()) as node:
        await (await node.start(Device)).stop()
        with pytest.raises(StartFailed, match=r"irismq\.entities"):
            await node.start(Squatter)


async def test_an_ordinary_actor_and_a_ref_of_its_address_are_as_ever(servers):
    async with servers.node(store=MemoryStore()) as node:
        await node.start(Counter)
        assert isinstance(node.ref("test.counter"), ServiceRef)


async def test_when_the_host_stops_its_entities_end_and_what_is_told_waits(servers):
    store = MemoryStore()
    async with servers.node(store=store) as node:
        host = await node.start(Device)
        table = table_of(host)
        for number in range(5):
            await node.entity("test.device", f"k{number}").ask(Report(1))
        slots = [entry.slot for entry in table]
        await host.stop()
        assert all(slot.ended for slot in slots)
        assert len(table) == 0
        await node.entity("test.device", "k1").tell(Report(1))
        await node.start(Device)
        await until(lambda: finished(node) == 1)
        assert await node.entity("test.device", "k1").ask(Read()) == 2


# Attempts -----------------------------------------------------------------------------------


class Doubtful(Device):
    """Does not start while `closed`, and fails what it is told to."""

    address = "test.doubtful"
    shards = 1
    retry_policy = RetryPolicy(attempts=4, first=0.01, longest=0.01)
    closed = False

    def on_start(self) -> None:
        if type(self).closed:
            raise RuntimeError("not now")

    @receives(Fail)
    def fail(self, message: Fail) -> None:
        self.handled.append((self.key, message))
        raise RuntimeError("it was told to")


@pytest.fixture
def counting(servers: MemoryServers, monkeypatch: pytest.MonkeyPatch) -> MemoryServers:
    """Servers that count all that is given back, as a broker does for the next owner."""
    monkeypatch.setattr(MemoryStored, "_spare", lambda _: None)
    monkeypatch.setattr(table_module, "_LONGEST_WAIT", 0.01)
    monkeypatch.setattr(table_module, "_FIRST_WAIT", 0.01)
    return servers


async def test_what_waits_for_a_key_that_cannot_start_has_no_attempts_at_its_next_owner(counting):
    handled: list[Any] = []
    Doubtful.closed = True
    async with counting.node(store=MemoryStore()) as node:
        host = await node.start(child(Doubtful, handled))
        ref = node.entity("test.doubtful", "a", shards=1)
        await ref.tell(Report(1))
        table = table_of(host)
        await until(lambda: (entry := table.find("a")) and entry.failures >= 12)
        Doubtful.closed = False
        await until(lambda: handled == [("a", Report(1))])
        assert node.parts.dispatch.counters.buried == 0


async def test_what_fails_has_its_attempts_whatever_waits_between_them(counting):
    handled: list[Any] = []
    async with counting.node(store=MemoryStore()) as node:
        await node.start(child(Doubtful, handled))
        ref = node.entity("test.doubtful", "a", shards=1)
        ref.tell_many([Fail(), Fail()])
        await until(lambda: node.parts.dispatch.counters.buried == 2)
        assert handled == [("a", Fail())] * 8
        topic = dead_topic(shard_address("test.doubtful", 0))
        letters = counting.broker.bodies(topic)
        assert [decode_dead_untrusted(each, max_size=1 << 20).attempts for each in letters] == [
            4,
            4,
        ]
