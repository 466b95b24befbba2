"""Tables of one's own in the commit of a handler."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from actors import receives
from irismq_runtime import Durable, RemoteError, current_node
from irismq_runtime.errors import StoreUnavailable
from supervisors import Supervisor, child
from tests.durability.helpers import Account, Balance, Put
from tests.node.helpers import Add, Fail, MemoryServers, Total
from tests.support.until import until

if TYPE_CHECKING:
    from pathlib import Path


class Ledger(Durable):
    """Writes lines into a table, and has no state."""

    address = "test.ledger"

    @receives(Add)
    async def add(self, add: Add) -> int:
        async with self.sql() as sql:
            await sql.execute("INSERT INTO lines VALUES (?)", add.amount)
        current_node().ref("test.account").tell(Put(add.amount))
        async with self.sql() as sql:
            rows = await sql.fetch("SELECT sum(amount) FROM lines")
        total: int = rows[0][0]
        return total

    @receives(Fail)
    async def fail(self, fail: Fail) -> None:
        async with self.sql() as sql:
            await sql.execute("INSERT INTO lines VALUES (1000)")
        current_node().ref("test.account").tell(Put(1000))
        match fail.how:
            case "crash":
                raise ValueError("boom")
            case "ask":
                await current_node().ref("test.account").ask(Balance())
            case "commit":
                async with self.sql() as sql:
                    await sql.execute("COMMIT")
            case "caught":
                try:
                    async with self.sql() as sql:
                        await sql.execute("INSERT INTO no_such_table VALUES (1)")
                except sqlite3.Error:
                    return

    @receives(Total)
    async def total(self, _: Total) -> str:
        return "alive"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE lines (amount INTEGER)")
        connection.commit()
    return path


def lines(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        return [amount for (amount,) in connection.execute("SELECT amount FROM lines")]


async def test_rows_of_ones_own_and_what_is_told_are_one_commit(file):
    servers = MemoryServers()
    async with servers.node(store=f"sqlite:///{file}") as node:
        await node.start(Ledger)
        await node.start(child(Account))
        ledger = node.ref("test.ledger")
        assert await ledger.ask(Add(5)) == 5
        await ledger.tell(Add(6))
        await until(lambda: node.parts.dispatch.counters.finished >= 3)
        assert await node.ref("test.account").ask(Balance()) == 11
    assert lines(file) == [5, 6]


@pytest.mark.parametrize("how", ["crash", "ask", "commit", "caught"])
async def test_a_handler_that_fails_leaves_no_rows_and_tells_nothing(file, how):
    servers = MemoryServers()
    async with servers.node(store=f"sqlite:///{file}") as node:
        await node.start(Supervisor.of(child(Ledger), max_restarts=10))
        ledger = node.ref("test.ledger")
        with pytest.raises(RemoteError):
            await ledger.ask(Fail(how))
        assert await ledger.ask(Total()) == "alive"
        assert servers.broker.bodies("test.account") == []
    if how != "commit":  # which did what it said: that much nobody can undo
        assert lines(file) == []


async def test_a_store_that_cannot_begin_a_transaction_costs_no_attempt(file, monkeypatch):
    servers = MemoryServers()
    async with servers.node(store=f"sqlite:///{file}", max_attempts=1) as node:
        await node.start(Ledger)
        store = node.parts.durable.store
        begin, failed = store.begin, []

        async def fail(timeout: float) -> object:
            if not failed:
                failed.append(timeout)
                raise StoreUnavailable("sqlite:///x", "away", "cut by the test")
            return await begin(timeout)

        monkeypatch.setattr(store, "begin", fail)
        await node.ref("test.ledger").tell(Add(5))
        await until(lambda: node.parts.dispatch.counters.finished >= 1)
        assert failed
    assert lines(file) == [5]


async def test_in_memory_there_are_no_tables_and_it_says_so():
    async with MemoryServers().node(store="memory:") as node:
        await node.start(Supervisor.of(child(Ledger)))
        with pytest.raises(RemoteError, match="has no SQL"):
            await node.ref("test.ledger").ask(Add(1))


class Waiter(Ledger):
    """Stashes what it is told, once, after it has written a row."""

    def __init__(self) -> None:
        self.is_open = False

    @receives(Add)
    async def add(self, add: Add) -> int:
        async with self.sql() as sql:
            await sql.execute("INSERT INTO lines VALUES (?)", add.amount)
        if not self.is_open:
            self.stash()
        return add.amount

    @receives(Total)
    async def total(self, _: Total) -> str:
        self.is_open = True
        self.unstash_all()
        return "open"


async def test_a_message_that_is_stashed_leaves_no_rows_until_it_is_handled(file):
    servers = MemoryServers()
    async with servers.node(store=f"sqlite:///{file}") as node:
        await node.start(Waiter)
        ledger = node.ref("test.ledger")
        asked = ledger.ask(Add(5))
        assert await ledger.ask(Total()) == "open"
        assert await asked == 5
    assert lines(file) == [5]
