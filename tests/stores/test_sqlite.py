"""The store in a SQLite file: the file itself, other processes, what a program may not do."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, Committed
from irismq_runtime.stores import open_store
from irismq_runtime.stores.sqlite import SqliteStore
from irismq_runtime.stores.sqlite.schema import STEPS
from tests.contracts.state_store_support import (
    ADA,
    Clients,
    InFile,
    a_commit,
    a_message,
    told,
    written,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from irismq_runtime.ports.state_store import StateStore


ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with Clients(InFile(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def store(clients: Clients) -> StateStore:
    return await clients.open()


def run(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


async def test_it_is_for_its_owner_alone(tmp_path: Path, store: StateStore):
    await written(store, ADA, ABSENT, b"one")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "store.sqlite" in modes


async def test_what_was_committed_is_there_after_it_was_closed(tmp_path: Path):
    async with Clients(InFile(tmp_path)) as clients:
        version = await written(await clients.open(), ADA, ABSENT, b"one")
    async with Clients(InFile(tmp_path)) as clients:
        store = await clients.open()
        assert (await store.load([ADA]))[0].version == version
        assert await written(store, ADA, version, b"two") > version


async def test_a_file_that_newer_code_made_is_refused(tmp_path: Path, clients: Clients):
    await (await clients.open()).close()
    newer = len(STEPS) + 1
    path = tmp_path / "store.sqlite"
    run(path, "UPDATE irismq_store SET value = ? WHERE name = 'form'", newer)
    with pytest.raises(ConfigError, match=f"form {newer}.*newer"):
        await clients.open()


@pytest.mark.parametrize("kind", ["no folder", "a folder", "no database"])
async def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path, kind: str):
    path = tmp_path / "store.sqlite"
    if kind == "no folder":
        path = tmp_path / "missing" / "store.sqlite"
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"this is a text, and a long one at that" * 100)
    with pytest.raises(ConfigError, match=r"sqlite:///.*cannot be opened: .*; name a file"):
        await open_store(f"sqlite:///{path}").open()


async def test_tables_of_a_program_in_the_same_file_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "store.sqlite"
    run(path, "CREATE TABLE state (x)")
    run(path, "PRAGMA user_version = 99")
    async with Clients(InFile(tmp_path)) as clients:
        await written(await clients.open(), ADA, ABSENT, b"one")
    assert run(path, "PRAGMA user_version") == [(99,)]
    assert run(path, "SELECT * FROM state") == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM irismq_state",
        "UPDATE IRISMQ_STATE SET version = 0",
        "INSERT INTO irismq_store VALUES ('x', 1)",
        "DROP TABLE irismq_outbox",
        "ALTER TABLE irismq_outbox ADD COLUMN x",
        "PRAGMA synchronous = OFF",
        "ATTACH ':memory:' AS other",
    ],
)
async def test_a_program_may_not_write_what_the_runtime_keeps(store: StateStore, statement: str):
    version = await written(store, ADA, ABSENT, b"one")
    sql = await store.begin(600.0)
    with pytest.raises(sqlite3.DatabaseError, match=r"not authorized|prohibited"):
        await sql.execute(statement)
    assert await sql.fetch("SELECT count(*) FROM irismq_state") == [(1,)]
    assert isinstance(await sql.commit(a_commit(ADA, version, b"two")), Committed)


async def test_a_writer_of_another_process_is_waited_for(tmp_path: Path, store: StateStore):
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE irismq_store SET value = value + 1 WHERE name = 'version'")
        assert (await store.load([ADA]))[0].version == ABSENT  # who reads waits for nobody
        pending = store.commit([a_commit(ADA, ABSENT, b"one")])
        other.execute("COMMIT")
        assert isinstance((await pending)[0], Committed)


async def test_a_full_file_refuses_with_its_kind_and_takes_deletions(store: StateStore):
    rights = await told(store, ADA, *[a_message(ADA, bytes(1000)) for _ in range(50)])
    pages = store._writing.connection.execute("PRAGMA page_count").fetchone()[0]
    store._writing.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([a_commit(ADA, ABSENT, bytes(1_000_000))])
    assert (caught.value.kind, caught.value.outcome) == ("full", "not sent")
    assert not store.health().ok
    assert (await store.load([ADA]))[0].version == ABSENT
    assert await store.forget([right.id for right in rights]) == 50
    await written(store, ADA, ABSENT, b"fits")
    assert store.health().ok


async def test_a_disk_that_may_only_be_read_is_told_by_its_kind(store: StateStore):
    store._writing.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([a_commit(ADA, ABSENT, b"one")])
    assert (caught.value.kind, caught.value.outcome) == ("read only", "not sent")


#: A process that commits: each time the state counts on, and a row is staged. It tells each.
COMMITTING = """
import asyncio, itertools, sys
from irismq_runtime.ports.state_store import ABSENT
from irismq_runtime.stores import open_store
from tests.contracts.state_store_support import ADA, BOB, a_message, written

async def main():
    store = open_store(sys.argv[1])
    await store.open()
    version = ABSENT
    for n in itertools.count(1):
        version = await written(store, ADA, version, b"%d" % n, staged=[a_message(BOB)])
        print(n, flush=True)

asyncio.run(main())
"""


async def test_a_process_killed_at_any_moment_leaves_whole_commits_and_all_that_it_told(
    tmp_path: Path,
):
    url = f"sqlite:///{tmp_path}/store.sqlite"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMITTING, url, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    told = 0
    while told < 50:
        told = int(await process.stdout.readline())
    process.kill()
    told = int(([b"%d" % told, *(await process.stdout.read()).split()])[-1])
    await process.wait()
    async with Clients(InFile(tmp_path)) as clients:
        store = await clients.open("")
        counted = int((await store.load([ADA]))[0].state or b"0")
        assert counted in (told, told + 1)  # one may have been written and not told
        assert (await store.sizes()).outbox == counted


def test_no_driver_of_another_store_is_imported():
    code = (
        "import sys; from irismq_runtime.stores import open_store; open_store('sqlite:///x.db'); "
        "print([m for m in sys.modules if 'asyncpg' in m or 'stores.memory' in m "
        "or 'stores.postgres' in m])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert printed.strip() == b"[]"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "no scheme"),
        ("shop.db", "no scheme"),
        ("mysql://root:hunter2@db/shop", "no scheme"),
        ("sqlite://", "names no file"),
        ("sqlite:shop.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("memory:x", "no scheme"),
    ],
)
def test_a_url_without_a_meaning_is_one_clear_error(url: str, problem: str):
    with pytest.raises(ConfigError, match=problem) as caught:
        open_store(url)
    assert caught.value.option == "store"
    assert "hunter2" not in str(caught.value)
    assert isinstance(open_store("sqlite:///shop.db"), SqliteStore)
