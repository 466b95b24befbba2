"""What closes the holes: each rule has a test that fails where it is left out."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from actors import Actor, Refused, StartFailed, message, receives
from actors.testing import ManualClock
from irismq_runtime import Durable, NotInUnit, RemoteError, current_node, outside
from irismq_runtime.durability import committer
from irismq_runtime.durability.activation import MOST_AHEAD
from irismq_runtime.errors import DeliveryError
from irismq_runtime.messaging import dead_topic
from irismq_runtime.observe.events import StoreFound
from irismq_runtime.stores import open_store
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import decode_dead_untrusted
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Balance, Move, Put
from tests.node.helpers import MemoryServers
from tests.support.until import until

QUICK = {"max_restarts": 100}
KEYS = {"k": b"k" * 32}


@message("test.boom")
@dataclass(frozen=True)
class Boom:
    cents: int = 1


@message("test.later")
@dataclass(frozen=True)
class Later:
    pass


class Gate:
    """Holds the store at a step, while it is closed."""

    def __init__(self, step: str) -> None:
        self.held = step
        self.opened = asyncio.Event()
        self.opened.set()
        self.waiting = 0

    async def step(self, name: str) -> None:
        await asyncio.sleep(0)
        if name == self.held and not self.opened.is_set():
            self.waiting += 1
            await self.opened.wait()


class Fragile(Account):
    """Crashes after it has changed its state and told."""

    @receives(Boom)
    def boom(self, boom: Boom) -> None:
        self.handled.append(boom)
        self.state.cents += boom.cents
        current_node().ref("test.other").tell(Put(boom.cents))
        raise ValueError("boom")


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture
def gate() -> Gate:
    return Gate("begin")


@pytest.fixture
def database(gate: Gate) -> MemoryDatabase:
    return MemoryDatabase(step=gate.step)


def tree(actor_class, *args, **options):
    return Supervisor.of(child(actor_class, *args), **QUICK, **options)


def letters(servers, address):
    bodies = servers.broker.bodies(dead_topic(address))
    return [decode_dead_untrusted(body, max_size=1 << 20) for body in bodies]


async def test_two_activations_of_one_state_lose_and_double_nothing(servers, database):
    logs = [], []
    async with (
        servers.node("one", store=MemoryStore(database)) as one,
        servers.node("two", store=MemoryStore(database)) as two,
        servers.node("client") as client,
    ):
        await one.start(child(Account, "test.account", logs[0]))
        await two.start(child(Account, "test.account", logs[1]))
        for _ in range(60):
            client.ref("test.account").tell(Put(1))
        await until(lambda: len(database.tables.handled) == 60)
        assert min(map(len, logs)) > 0
        assert one.parts.durable.numbers.lost + two.parts.durable.numbers.lost > 0
        assert await client.ref("test.account").ask(Put(0)) == 60


async def test_a_crash_throws_its_own_unit_away_and_what_returned_before_is_kept(servers, database):
    handled: list = []
    async with servers.node(store=MemoryStore(database), max_attempts=2) as node:
        await node.start(tree(Fragile, "test.account", handled))
        ref = node.ref("test.account")
        ref.tell(Put(1))
        ref.tell(Boom(100))
        ref.tell(Put(2))
        await until(lambda: letters(servers, "test.account"))
        assert await ref.ask(Balance()) == 3
        assert handled.count(Boom(100)) == 2
        assert not servers.broker.bodies("test.other")


async def test_a_refused_message_changes_nothing_and_its_replay_may_run(servers, database):
    handled: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "b", handled))
        ref = node.ref("b")
        node.ref("a").tell(Put(10))
        await ref.tell(Move("a", 5))
        await until(lambda: letters(servers, "b"))
        assert letters(servers, "b")[0].reason.startswith("refused")
        await ref.ask(Put(7))
        servers.broker.store("b", letters(servers, "b")[0].body, 0.0)
        await until(lambda: handled.count(Move("a", 5)) == 2)
        await until(lambda: not database.tables.rows)
        assert await ref.ask(Balance()) == 2
        assert await node.ref("a").ask(Balance()) == 15


class Nagger(Durable):
    """Tells another durable actor what it is told."""

    address = "test.nagger"

    @receives(Move, Boom, Put)
    def on(self, what: object) -> None:
        current_node().ref("b").tell(what)


async def test_what_is_put_aside_keeps_its_row_for_a_replay(servers, database):
    handled: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "b", handled))
        await node.start(Nagger)
        await node.ref("test.nagger").tell(Move("b", 5))
        await until(lambda: letters(servers, "b"))
        (row,) = database.tables.rows.values()
        assert (row.dead, row.owned) == (True, True)
        await node.ref("b").ask(Put(7))
        servers.broker.store("b", letters(servers, "b")[0].body, 0.0)
        await until(lambda: handled.count(Move("b", 5)) == 2)
        await until(lambda: not [row for row in database.tables.rows.values() if row.dead])


@pytest.mark.parametrize("kind", ["away", "full", "read only"])
async def test_while_the_store_is_away_nothing_is_lost_and_no_attempt_is_counted(
    servers, database, monkeypatch, kind
):
    monkeypatch.setattr(committer, "_PROBE", 0.01)
    handled: list = []
    async with servers.node(store=MemoryStore(database), max_attempts=1) as node:
        await node.start(child(Account, "test.account", handled))
        ref = node.ref("test.account")
        assert await ref.ask(Put(1)) == 1
        database.fault = (kind, "cut by the test")
        ref.tell(Put(2))
        await until(lambda: Put(2) in handled)
        with pytest.raises(Refused, match="cut by the test") as refusal:
            await ref.ask(Put(10))
        assert refusal.value.code == "store"
        assert not node.health().ready
        assert "cut by the test" in str(node.health())
        database.fault = None
        await until(lambda: node.health().ready)
        await until(
            lambda: not any(c.waiting for c in servers.broker.topics["test.account"].values())
        )
        await until(lambda: len(database.tables.handled) == 1)
        assert await ref.ask(Balance()) == 3
        assert letters(servers, "test.account") == []


@pytest.mark.parametrize("step", ["commit", "committed"])
async def test_a_commit_whose_end_nobody_heard_is_found_out(servers, step):
    dropped: list = []

    async def lose(name: str) -> None:
        await asyncio.sleep(0)
        if name == step and not dropped and watching:
            dropped.append(name)
            asyncio.get_running_loop().call_soon(store.drop)
            await asyncio.sleep(0)

    watching: list = []
    database = MemoryDatabase(step=lose)
    store = MemoryStore(database)
    async with servers.node(store=store) as node:
        await node.start(child(Account))
        watching.append(True)
        found: list = []
        node.on_event(lambda record: found.append(isinstance(record, StoreFound)))
        ref = node.ref("test.account")
        asked = ref.ask(Put(5), timeout=60.0)
        await ref.tell(Put(2))
        assert await asked in {5, 7}
        await until(lambda: any(found) and len(database.tables.handled) == 1)
        assert await ref.ask(Balance()) == 7


async def test_an_answer_leaves_after_its_commit_and_those_before(servers, gate, database):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account))
        ref = node.ref("test.account")
        gate.opened.clear()
        put, read = ref.ask(Put(5)), ref.ask(Balance())
        refused = ref.ask(Move("b", 50))
        await until(lambda: gate.waiting)
        for _ in range(50):
            await asyncio.sleep(0)
        assert [each.done() for each in (put, read, refused)] == [False] * 3
        gate.opened.set()
        assert (await put, await read) == (5, 5)
        with pytest.raises(Refused):
            await refused


async def test_a_hot_actor_runs_ahead_of_its_commits_by_a_bounded_number(servers, gate, database):
    handled: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(child(Account, "test.account", handled))
        gate.opened.clear()
        for _ in range(3 * MOST_AHEAD):
            ref.tell(Put(1))
        await until(lambda: len(handled) >= MOST_AHEAD)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(handled) == MOST_AHEAD
        gate.opened.set()
        await until(lambda: len(handled) == 3 * MOST_AHEAD)
        assert await ref.ask(Balance()) == 3 * MOST_AHEAD
        assert node.parts.durable.numbers.commits < MOST_AHEAD


class Echo(Actor):
    """Notes what it is asked."""

    address = "test.echo"

    def __init__(self, heard: list) -> None:
        self.heard = heard

    @receives(str)
    def echo(self, text: str) -> str:
        self.heard.append(text)
        return text


class Asker(Account):
    """Asks, and tells outside, in the middle of a handler."""

    @receives(str)
    async def on_text(self, text: str) -> str:
        if text == "outside":
            with outside():
                current_node().ref("test.echo").tell(text)
            raise ValueError("fails afterwards")
        answer: str = await current_node().ref("test.echo").ask(text)
        return answer


async def test_an_ask_of_a_handler_leaves_after_what_the_actor_did_before(servers, gate, database):
    heard: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Echo, heard))
        await node.start(tree(Asker))
        ref = node.ref("test.account")
        await ref.ask(Put(1))
        gate.opened.clear()
        put, asked = ref.ask(Put(5)), ref.ask("hello")
        ref.tell("outside")
        await until(lambda: gate.waiting)
        for _ in range(50):
            await asyncio.sleep(0)
        assert heard == []
        gate.opened.set()
        assert await asked == "hello"
        assert await put == 6
        await until(lambda: "outside" in heard)


class Loose(Account):
    """Has a task that outlives its handler, and answers later."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list = []

    @receives(str)
    async def on_text(self, text: str) -> None:
        async def late() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            try:
                current_node().ref("test.other").tell(text)
            except NotInUnit as error:
                self.errors.append(error)
            try:
                self.state.cents += 1
                _ = self.state
            except NotInUnit as error:
                self.errors.append(error)

        self.task = asyncio.create_task(late())

    @receives(Balance)
    def balance(self, _: Balance) -> int:
        return len(self.errors)

    @receives(Later)
    def later(self, _: Later) -> None:
        self.state.cents += 1
        reply = self.reply_later()
        self.send_after(0.0, reply)

    @receives(object)
    def answer(self, reply: object) -> None:
        reply(self.state.cents)


async def test_what_outlives_its_handler_tells_and_changes_nothing(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(Loose)
        await ref.ask("late")
        for _ in range(5):
            await asyncio.sleep(0)
        assert await ref.ask(Balance()) == 2


async def test_a_later_answer_is_only_an_answer(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Loose)
        assert await node.ref("test.account").ask(Later()) == 1
        (stored,) = database.tables.states.values()
        assert stored.version > 0


async def test_what_expires_loses_its_row(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "b"))

        class Expiring(Durable):
            address = "test.expiring"

            @receives(Put)
            def on(self, put: Put) -> None:
                current_node().ref("b").tell(put, expires=0.0)

        await node.start(Expiring)
        await node.ref("test.expiring").tell(Put(3))
        await until(lambda: node.parts.dispatch.counters.expired >= 1)
        await until(lambda: not database.tables.rows)
        assert await node.ref("b").ask(Balance()) == 0


@message("test.list-state")
@dataclass
class ListState:
    items: list[int] = field(default_factory=list)


class Leaky(Durable):
    """Answers with a part of its state."""

    address = "test.leaky"
    state: ListState

    @receives(Put)
    def put(self, put: Put) -> list[int]:
        self.state.items.append(put.cents)
        return self.state.items

    @receives(Boom)
    def end_it(self, _: Boom) -> None:
        self.end()


async def test_an_answer_is_what_it_was_when_the_handler_returned(servers, gate, database):
    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(Leaky)
        gate.opened.clear()
        first, second = ref.ask(Put(1)), ref.ask(Put(2))
        await until(lambda: gate.waiting)
        gate.opened.set()
        assert await first == [1]
        given = await second
        given.append(99)
        assert await ref.ask(Put(3)) == [1, 2, 3]


class Streaming(Leaky):
    """Streams its state while it changes."""

    @receives(Later)
    async def items(self, _: Later):
        for n in range(3):
            yield list(self.state.items), n


async def test_a_stream_sees_the_state_and_changes_nothing(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Streaming)
        ref = node.ref("test.leaky")
        await ref.ask(Put(1))
        seen = []
        async for items, _ in ref.stream(Later()):
            seen.append(items)
            await ref.ask(Put(2))
        assert seen[0] == [1]
        assert await ref.ask(Put(3)) == [1, 2, 2, 2, 3]


async def test_a_state_that_was_ended_begins_anew(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(Leaky)
        assert await ref.ask(Put(1)) == [1]
        await ref.ask(Boom())
        assert await ref.ask(Put(2)) == [2]


async def test_a_state_over_its_limit_fails_its_handler_and_nothing_of_it_is_kept(
    servers, database
):
    class Small(Leaky):
        state_limit = 100

    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(tree(Small))
        small = node.ref("test.leaky")
        assert await small.ask(Put(1)) == [1]

        async def fill() -> None:
            for n in range(200):
                await small.ask(Put(n))

        with pytest.raises(RemoteError, match="over its limit of 100"):
            await fill()
        (stored,) = database.tables.states.values()
        assert len(stored.state) <= 100
        assert ref.is_alive()


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_row_that_is_missing_was_handled_within_its_epoch_alone(
    servers, database, accepted
):
    handled: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "b"))
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Nagger)
        await node.ref("test.nagger").tell(Move("b", 5))
        await until(lambda: servers.broker.bodies("b"))
        assert [row.owned for row in database.tables.rows.values()] == [True]
        database.tables.rows.clear()
        if accepted:
            await node.parts.durable.store.accept()
        await node.start(child(Account, "b", handled))
        if accepted:
            await until(lambda: letters(servers, "b"))
            assert "epoch 1" in letters(servers, "b")[0].reason
        else:
            await until(lambda: node.parts.dispatch.counters.duplicates >= 1)
            assert letters(servers, "b") == []
        assert handled == []


async def test_what_waits_for_an_ordinary_actor_is_handled_once_it_is_durable(servers, database):
    handled: list = []
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Nagger)
        await node.ref("test.nagger").tell(Put(5))
        await until(lambda: servers.broker.bodies("b"))
        await until(lambda: not database.tables.rows)  # relayed: nobody said that b is durable
        await node.start(child(Account, "b", handled))
        await until(lambda: handled == [Put(5)])
        assert await node.ref("b").ask(Balance()) == 5


async def test_a_store_that_went_back_is_used_again_once_somebody_has_accepted_it(
    servers, tmp_path
):
    path = tmp_path / "state.db"
    url = f"sqlite:///{path}"
    handled: list = []
    async with servers.node(store=url, keys=KEYS) as node:
        await node.start(child(Account, "b"))
    async with servers.node(store=url, keys=KEYS) as node:
        await node.start(Nagger)
        await node.ref("test.nagger").tell(Put(5))
        await until(lambda: servers.broker.bodies("b"))
    with closing(sqlite3.connect(path)) as connection:  # as a backup from before it was told
        connection.execute("DELETE FROM irismq_outbox")
        connection.execute("UPDATE irismq_store SET value = 1 WHERE name = 'version'")
        connection.commit()
    async with servers.node(store=url, keys=KEYS) as node:
        await node.start(child(Account, "b", handled))
        await until(lambda: node.parts.durable.committer.fault is not None)
        assert node.parts.durable.committer.fault.kind == "went back"
        assert not node.health().ready
        somebody = open_store(url)
        await somebody.open(None)
        await somebody.accept()
        await somebody.close()
        await until(lambda: letters(servers, "b"))
        assert "epoch 1" in letters(servers, "b")[0].reason
        await until(lambda: node.health().ready)
        assert await node.ref("b").ask(Put(2)) == 2
        assert handled == [Put(2)]


async def test_after_an_accepted_return_every_state_is_the_one_that_the_store_has(
    servers, database
):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "c"))
        a, c = node.ref("a"), node.ref("c")
        await a.ask(Put(1))
        await c.ask(Put(1))
        backup = database.backup()
        await a.ask(Put(10))
        await c.ask(Put(10))
        database.restore(backup)
        with pytest.raises(Refused, match="had a later one"):
            await a.ask(Put(100))
        await MemoryStore(database).accept()
        await until(lambda: node.health().ready)
        assert [await a.ask(Put(2)), await c.ask(Put(2))] == [3, 3]


class Stasher(Account):
    """Stashes what it is told before it was opened, and keeps the receipts of what it told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False
        self.receipts: list = []

    @receives(Put)
    def put(self, put: Put) -> int:
        if not self.is_open:
            self.receipts.append(current_node().ref("test.other").tell(put))
            self.state.cents += 1000
            with outside():
                self.stash()
            return -1
        self.state.cents += put.cents
        return self.state.cents

    @receives(Boom)
    def open_it(self, _: Boom) -> list:
        self.is_open = True
        self.unstash_all()
        return [receipt.done() for receipt in self.receipts]


async def test_a_message_that_is_stashed_has_changed_nothing_and_its_receipts_end(
    servers, database
):
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(Stasher)
        ref = node.ref("test.account")
        asked = ref.ask(Put(5))
        assert await ref.ask(Boom()) == [True]
        assert await asked == 5
        assert not servers.broker.bodies("test.other")


async def test_of_two_actors_of_one_address_that_start_at_once_one_does(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        starts = [node.start(child(Account)) for _ in range(2)]
        ends = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(end, StartFailed) for end in ends) == 1, ends
        assert await node.ref("test.account").ask(Put(1)) == 1


@message("test.set-state")
@dataclass
class SetState:
    numbers: set[int] = field(default_factory=set)
    made: float = field(default_factory=itertools.count().__next__)


class Keeper(Durable):
    """Reads its state outside of handlers."""

    address = "test.keeper"
    state: SetState

    def __init__(self) -> None:
        self.seen: list = []

    async def on_start(self) -> None:
        self.seen = [set(self.state.numbers) for _ in range(3)]

    @receives(Balance)
    def balance(self, _: Balance) -> list:
        return self.seen


async def test_a_state_that_is_only_read_is_no_change_of_it(servers, database):
    async with servers.node(store=MemoryStore(database)) as node:
        ref = await node.start(Keeper)
        assert await ref.ask(Balance()) == [set()] * 3


class Postman(Durable):
    """Tells a foreign program, later."""

    address = "test.postman"

    @receives(Put)
    def on(self, put: Put) -> None:
        program = current_node().ref("test.program", foreign="json")
        program.tell({"cents": put.cents}, delay=50.0)


async def test_what_the_broker_did_not_take_is_not_early_when_it_is_told_again(
    servers, database, monkeypatch
):
    clock = ManualClock()
    delays: list[float] = []
    async with servers.node(store=MemoryStore(database), clock=clock) as node:
        ref = await node.start(Postman)
        mailbox = node.parts.durable.mailbox

        def refuse(topic: str, body: bytes, *, delay: float = 0.0, **options: object) -> object:
            delays.append(delay)
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(DeliveryError(topic, "not sent", "cut by the test"))
            return refused

        monkeypatch.setattr(mailbox, "publish", refuse)
        ref.tell(Put(1))
        await until(lambda: delays)
        clock.advance(1.0)
        await until(lambda: len(delays) == 2)
        assert delays == [50.0, 49.0]


async def test_a_fault_in_a_commit_leaves_nobody_waiting_who_only_read(
    servers, gate, database, monkeypatch
):
    store = MemoryStore(database)
    commit, failing = store.commit, [False]

    async def fail(commits: list) -> list:
        if failing[0]:
            failing[0] = False
            raise RuntimeError("planted")
        return await commit(commits)

    monkeypatch.setattr(store, "commit", fail)
    async with servers.node(store=store) as node:
        for address in ("a", "b", "c"):
            await node.start(child(Account, address))
        a, b, c = (node.ref(address) for address in ("a", "b", "c"))
        gate.opened.clear()
        first = a.ask(Put(1))
        await until(lambda: gate.waiting)
        failing[0] = True
        write, read = b.ask(Put(1)), c.ask(Balance())
        for _ in range(50):
            await asyncio.sleep(0)
        gate.opened.set()
        assert await first == 1
        for each in (write, read):
            with pytest.raises(Refused, match="planted"):
                await each
        await until(lambda: node.health().ready)
        assert [await b.ask(Balance()), await c.ask(Balance())] == [0, 0]
