"""What a store, a stranger or a cancel does to durable actors at a bad moment."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, AskCancelled, Refused, StartFailed, message, receives
from irismq_runtime import Durable, RemoteError, current_node, outside
from irismq_runtime.durability import committer
from irismq_runtime.durability.rights import _NEWER
from irismq_runtime.durability.unit import current_unit
from irismq_runtime.messaging import dead_topic
from irismq_runtime.observe.events import StoreFound
from irismq_runtime.ports.state_store import CommitInvalid
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.wire import Kind, decode_dead_untrusted, new_id
from irismq_runtime.wire.headers import ORIGIN
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Balance, Put
from tests.durability.test_rules import Gate, Nagger
from tests.durability.test_sql import lines
from tests.node.helpers import Add, MemoryServers, Total
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"k": b"k" * 32}


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


def letters(servers: MemoryServers, address: str) -> list[Any]:
    bodies = servers.broker.bodies(dead_topic(address))
    return [decode_dead_untrusted(body, max_size=1 << 20) for body in bodies]


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- the store ----------------------------------------------------------------


@message("test.fill")
@dataclass(frozen=True)
class Fill:
    bytes: int


class Hoard(Account):
    """Keeps whatever it is told."""

    @receives(Fill)
    def fill(self, fill: Fill) -> None:
        self.state.lines.append("x" * fill.bytes)


@pytest.fixture
def probes(monkeypatch) -> None:
    """The store is looked at again at once."""
    monkeypatch.setattr(committer, "_PROBE", 0.001)


@pytest.mark.usefixtures("probes")
async def test_a_full_store_is_not_used_again_before_it_has_room(servers, tmp_path, monkeypatch):
    async with servers.node(store=f"sqlite:///{tmp_path}/s.db") as node:
        await node.start(child(Hoard))
        found: list[bool] = []
        node.on_event(lambda record: found.append(isinstance(record, StoreFound)))
        ref = node.ref("test.account")
        engine = node.parts.durable
        connection = engine.store._writing.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Refused, match="full"):
            await ref.ask(Fill(200_000))
        looks = []
        commit = engine.store.commit

        async def look(commits: Any) -> Any:
            looks.append(commits)
            return await commit(commits)

        monkeypatch.setattr(engine.store, "commit", look)
        await until(lambda: len(looks) > 3)
        assert not any(found)
        assert not node.health().ready
        connection.execute("PRAGMA max_page_count = 100000")
        await until(lambda: any(found))
        await ref.ask(Fill(200_000))


@pytest.mark.usefixtures("probes")
async def test_an_address_that_the_store_cannot_hold_fails_the_start(servers, monkeypatch):
    store = MemoryStore(MemoryDatabase())

    async def commit(commits):
        return [CommitInvalid(ValueError("no such text")) for _ in commits]

    async with servers.node(store=store) as node:
        monkeypatch.setattr(store, "commit", commit)
        with pytest.raises(StartFailed, match="no such text"):
            await node.start(child(Account, "a"))


async def test_who_only_reads_does_not_wait_for_what_becomes_of_others(servers):
    commits: list[str] = []
    go = [asyncio.Event(), asyncio.Event()]

    async def step(name: str) -> None:
        await asyncio.sleep(0)
        if name == "commit" and watching:
            commits.append(name)
            if len(commits) <= len(go):
                await go[len(commits) - 1].wait()

    watching: list[bool] = []
    database = MemoryDatabase(step=step)
    store = MemoryStore(database)
    async with servers.node(store=store) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "b"))
        watching.append(True)
        a, b = node.ref("a"), node.ref("b")
        first = a.ask(Put(1), timeout=60.0)
        await until(lambda: commits)
        write, read = a.ask(Put(2), timeout=60.0), b.ask(Balance())
        await turns()
        go[0].set()
        assert await first == 1
        await until(lambda: len(commits) == 2)
        database.fault = ("away", "cut by the test")
        store.drop()
        with pytest.raises(Refused, match="lost"):
            await read
        assert not write.done()
        database.fault = None
        go[1].set()
        assert await write == 3


@pytest.mark.usefixtures("probes")
async def test_what_fails_as_it_must_not_is_logged_once_while_it_does(servers, monkeypatch, caplog):
    database = MemoryDatabase()
    store = MemoryStore(database)
    async with servers.node(store=store) as node:
        await node.start(child(Account))
        looks: list[Any] = []

        async def fail(keys: Any) -> Any:
            looks.append(keys)
            raise RuntimeError("planted")

        with monkeypatch.context() as patch:
            patch.setattr(store, "load", fail)
            database.fault = ("away", "cut by the test")
            with pytest.raises(Refused):
                await node.ref("test.account").ask(Put(1))
            database.fault = None
            await until(lambda: len(looks) > 3)
        said = [record for record in caplog.records if "must not" in record.getMessage()]
        assert len(said) == 1
        await until(lambda: node.health().ready)


async def test_a_node_that_heard_nothing_of_a_return_takes_the_state_as_it_was_accepted(servers):
    database = MemoryDatabase()
    async with servers.node("one", store=MemoryStore(database)) as one:
        await one.start(child(Account))
        ref = one.ref("test.account")
        await ref.ask(Put(1))
        backup = database.backup()
        await ref.ask(Put(10))
        database.restore(backup)
        await MemoryStore(database).accept()
        assert await ref.ask(Put(2)) == 3
        assert one.health().ready


async def test_what_ends_with_the_engine_and_begins_another_task_ends_as_well(servers):
    ended: list[str] = []
    async with servers.node(store="memory:") as node:
        await node.start(child(Account))
        engine = node.parts.durable

        async def wait(name: str) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(name)
                if name == "first":
                    engine.spawn(wait("second"))
                    await asyncio.sleep(0)

        engine.spawn(wait("first"))
        await turns(2)
    assert ended == ["first", "second"]


# -- strangers ------------------------------------------------------------------


def forge(node: Any, topic: str, body: object, row: bytes, number: int, **headers: object) -> bytes:
    """A message that says that it is the row `row` of the node's store."""
    packer = node.parts.outbound.packer
    engine = node.parts.durable
    mark = {ORIGIN: engine.origin.text(number)}
    envelope_id, data = packer.unsigned(Kind.TELL, body, {**headers, **mark}, None)
    return data.replace(envelope_id, row)


async def test_a_forged_expiry_takes_no_row_of_another_address(servers):
    database = MemoryDatabase()
    async with servers.node(store=MemoryStore(database)) as node:
        await node.start(child(Account, "a"))
        await node.start(child(Account, "b"))
        await node.start(Nagger)
        for consumption in node.parts.durable._dispatches:
            if consumption.owner == "b":
                consumption.pause.add("test")
        await node.ref("test.nagger").tell(Put(5))
        await until(lambda: database.tables.rows)
        (row,) = database.tables.rows
        servers.broker.store("a", forge(node, "a", Put(1), row, 0, x=1), 0.0)
        await until(lambda: node.parts.dispatch.counters.expired >= 1)
        assert row in database.tables.rows


@pytest.mark.parametrize("keys", [{}, KEYS], ids=["unsigned", "signed"])
async def test_without_keys_no_message_marks_the_store_as_gone_back(servers, keys):
    database = MemoryDatabase()
    handled: list[Any] = []
    async with servers.node(store=MemoryStore(database), keys=keys) as node:
        await node.start(child(Account, "a", handled))
        far = (database.tables.version + 1_000) << 16
        body = forge(node, "a", Put(1), new_id(), far)
        servers.broker.store("a", node.parts.outbound.packer.leaving(body, "a", {}), 0.0)
        if keys:
            await until(lambda: node.parts.durable.committer.fault is not None)
            assert node.parts.durable.committer.fault.kind == "went back"
            await MemoryStore(database).accept()
        await until(lambda: letters(servers, "a"))
        assert ("epoch 1" if keys else _NEWER) in letters(servers, "a")[0].reason
        await until(lambda: node.health().ready)
        assert await node.ref("a").ask(Put(2)) == 2
        assert handled == [Put(2)]


# -- handlers -------------------------------------------------------------------


class Slow(Durable):
    """Writes a line, slowly."""

    address = "test.slow"

    def __init__(self) -> None:
        self.wrote: list[Add] = []

    @receives(Add)
    async def add(self, add: Add) -> int:
        async with self.sql() as sql:
            await sql.execute("INSERT INTO lines VALUES (?)", add.amount)
        self.wrote.append(add)
        return add.amount

    @receives(Total)
    def total(self, _: Total) -> int:
        return len(self.wrote)


async def test_a_cancel_that_comes_in_the_commit_of_rows_comes_too_late(
    servers, tmp_path: Path, monkeypatch
):
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE lines (amount INTEGER)")
        connection.commit()
    go, held = asyncio.Event(), []
    async with servers.node(store=f"sqlite:///{file}") as node:
        await node.start(Slow)
        engine = node.parts.durable
        begin = engine.store.begin

        async def hold(timeout: float) -> Any:
            transaction = await begin(timeout)
            commit = transaction.commit

            async def later(given: Any) -> Any:
                held.append(given)
                await go.wait()
                return await commit(given)

            transaction.commit = later
            return transaction

        monkeypatch.setattr(engine.store, "begin", hold)
        asked = node.ref("test.slow").ask(Add(5))
        await until(lambda: held)
        asked.cancel()
        with pytest.raises(AskCancelled):
            await asked
        await turns()
        go.set()
        await until(lambda: lines(file) == [5])
        monkeypatch.setattr(engine.store, "begin", begin)
        assert await node.ref("test.slow").ask(Add(6)) == 6
        assert engine.numbers.lost == 0
    assert lines(file) == [5, 6]


class Note(Actor):
    """Notes what it is told."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    @receives(object)
    def on(self, what: object) -> int:
        self.heard.append(what)
        return len(self.heard)


class Whisperer(Account):
    """Tells and asks an actor of its own process."""

    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    @receives(str)
    async def on_text(self, text: str) -> int:
        self.state.cents += 1
        if text == "ask":
            answer: int = await self.note.ask(text)
            return answer
        if text == "outside":
            with outside():
                self.note.tell(text)
        else:
            self.note.tell(text)
        if text in {"boom", "outside"}:
            raise ValueError(text)
        return 0


@pytest.fixture
def gate() -> Gate:
    return Gate("begin")


async def whispering(node: Any, heard: list[Any]) -> Any:
    """The ref of a whisperer whose first message has been committed."""
    note = await node.start(child(Note, heard))
    await node.start(Supervisor.of(child(Whisperer, note), max_restarts=10))
    ref = node.ref("test.account")
    await ref.ask(Put(1))
    return ref


async def test_a_tell_to_an_actor_of_this_process_leaves_with_the_commit(servers, gate):
    heard: list[Any] = []
    async with servers.node(store=MemoryStore(MemoryDatabase(step=gate.step))) as node:
        ref = await whispering(node, heard)
        gate.opened.clear()
        asked = ref.ask("well")
        await until(lambda: gate.waiting)
        await turns()
        assert heard == []
        gate.opened.set()
        assert await asked == 0
        await until(lambda: heard == ["well"])
        with pytest.raises(RemoteError, match="boom"):
            await ref.ask("boom")
        assert await ref.ask("well") == 0
        await until(lambda: heard == ["well"] * 2)


@pytest.mark.parametrize("text", ["ask", "outside"])
async def test_an_ask_of_an_actor_of_this_process_leaves_after_what_was_done_before(
    servers, gate, text
):
    heard: list[Any] = []
    async with servers.node(store=MemoryStore(MemoryDatabase(step=gate.step))) as node:
        ref = await whispering(node, heard)
        gate.opened.clear()
        put, asked = ref.ask(Put(5)), ref.ask(text)
        await until(lambda: gate.waiting)
        await turns()
        assert heard == []
        gate.opened.set()
        assert await put == 6
        if text == "ask":
            assert await asked == 1
        else:
            with pytest.raises(RemoteError, match="outside"):
                await asked
        await until(lambda: heard == [text])


async def test_what_is_told_to_an_actor_that_has_ended_is_a_dead_letter(servers):
    heard: list[Any] = []
    async with servers.node(store="memory:") as node:
        ref = await whispering(node, heard)
        (note,) = [slot.ref for slot in node.system.slots() if slot.actor_class is Note]
        await note.stop()
        assert await ref.ask("gone") == 0
        await until(lambda: [letter.message for letter in node.system.dead_letters] == ["gone"])


class Lender(Account):
    """Shows its unit to others while its handler runs."""

    def __init__(self, shown: list[Any], go: asyncio.Event) -> None:
        super().__init__()
        self.shown = shown
        self.go = go

    @receives(str)
    async def on_text(self, _: str) -> None:
        self.shown.append(current_unit.get())
        await self.go.wait()


class Borrower(Durable):
    """Tells while the context has the unit of another actor."""

    address = "test.borrower"

    def __init__(self, shown: list[Any]) -> None:
        self.shown = shown

    @receives(Put)
    def put(self, put: Put) -> None:
        current_unit.set(self.shown[0])
        current_node().ref("test.other").tell(put)


async def test_what_an_actor_tells_is_no_part_of_the_unit_of_another_one(servers):
    shown: list[Any] = []
    go = asyncio.Event()
    async with servers.node(store="memory:") as node:
        await node.start(child(Lender, shown, go))
        await node.start(Supervisor.of(child(Borrower, shown), max_restarts=10))
        asked = node.ref("test.account").ask("lend")
        await until(lambda: shown)
        with pytest.raises(RemoteError, match="NotInUnit"):
            await node.ref("test.borrower").ask(Put(1))
        go.set()
        await asked
        assert not servers.broker.bodies("test.other")
