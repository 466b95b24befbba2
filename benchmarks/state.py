"""What durable state costs at the store: messages committed a second, beside other ways.

    python benchmarks/state.py [--quick] [--json FILE]

A message is the same everywhere: it takes its row out of an outbox, changes the state of
its key (a hundred bytes), and leaves a row for the next key. What is told is on the disk
when it is counted, with the settings that a server comes with.

ours        commits of what has gathered, at most 256 messages in each
by hand     aiosqlite or asyncpg, a transaction a message, as many at once as there are keys
dbos        a step of a DBOS workflow on the same PostgreSQL: it records one row, and no state

One PostgreSQL of its own in a temporary folder; each figure is taken in a process of its
own, one after another, in one run. What is not installed (the group `bench`) is left out,
and the table says so.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from irismq_runtime.ports.state_store import (  # noqa: E402  # the repository's own, by its path
    ABSENT,
    Committed,
    OwnedRight,
    StagedMessage,
    StateCommit,
    StateKey,
)
from irismq_runtime.stores import open_store  # noqa: E402  # as above
from irismq_runtime.wire.ids import new_id  # noqa: E402  # as above
from tests.support.postgres_server import PostgresServer, programs  # noqa: E402  # as above

BATCH = 256
STATE = bytes(100)
BODY = bytes(200)


# Ours -------------------------------------------------------------------------


class Ring:
    """Keys that hand messages on to each other: each commit takes a row and leaves one."""

    def __init__(self, store, keys, offset):
        self.store = store
        self.keys = [StateKey("bench.ring", f"{offset}-{n}") for n in range(keys)]
        self.versions = dict.fromkeys(self.keys, ABSENT)
        self.next = dict(zip(self.keys, self.keys[1:] + self.keys[:1], strict=True))
        self.rows = {key: [] for key in self.keys}

    async def commit(self, plan):
        """Handle so many messages of each key; those that wait of it are taken first."""
        commits, staged = [], {}
        for key, count in plan.items():
            taken, self.rows[key] = self.rows[key][:count], self.rows[key][count:]
            staged[key] = [StagedMessage(new_id(), self.next[key], BODY) for _ in range(count)]
            rights = [OwnedRight(row) for row in taken]
            version = self.versions[key]
            commits.append(StateCommit(key, version, new_id(), STATE, rights, staged[key]))
        for commit, outcome in zip(commits, await self.store.commit(commits), strict=True):
            assert isinstance(outcome, Committed), outcome
            self.versions[commit.key] = outcome.version
            self.rows[self.next[commit.key]] += [message.id for message in staged[commit.key]]


async def ours(url, keys, count, lanes):
    """Messages a second, and how long a commit takes (median and p99, milliseconds)."""
    store = open_store(url)
    await store.open()
    each = min(32, max(1, BATCH // keys))  # a hot key has up to 32 in one commit
    at_once = min(keys, BATCH)
    took = []

    async def lane(offset):
        ring = Ring(store, keys, offset)
        left = count // lanes
        while left > 0:
            for start in range(0, keys, at_once):
                before = time.perf_counter()
                await ring.commit(dict.fromkeys(ring.keys[start : start + at_once], each))
                took.append(time.perf_counter() - before)
                left -= at_once * each

    start = time.perf_counter()
    await asyncio.gather(*[lane(offset) for offset in range(lanes)])
    seconds = time.perf_counter() - start
    await store.close()
    done = len(took) * at_once * each
    return {"rate": done / seconds, **quantiles(took)}


def quantiles(took):
    cut = statistics.quantiles(took, n=100)
    return {"p50 ms": cut[49] * 1e3, "p99 ms": cut[98] * 1e3}


# By hand ------------------------------------------------------------------------

TABLES = (
    "CREATE TABLE hand_state (key TEXT PRIMARY KEY, version BIGINT, state {blob} NOT NULL)",
    "CREATE TABLE hand_outbox (id {blob} PRIMARY KEY, key TEXT NOT NULL, body {blob} NOT NULL)",
)


async def by_hand_sqlite(url, keys, count, _lanes):
    import aiosqlite

    path = url.removeprefix("sqlite:///")
    took = []
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute("PRAGMA journal_mode = WAL")
        await db.execute("PRAGMA synchronous = FULL")
        for table in TABLES:
            await db.execute(table.format(blob="BLOB"))
        for n in range(keys):
            await db.execute("INSERT INTO hand_state VALUES (?, 0, ?)", (str(n), STATE))
        turn = asyncio.Lock()  # one connection has one transaction

        async def key(n):
            row = None
            for version in range(count // keys):
                before = time.perf_counter()
                async with turn:
                    await db.execute("BEGIN IMMEDIATE")
                    if row is not None:
                        await db.execute("DELETE FROM hand_outbox WHERE id = ?", (row,))
                    changed = await db.execute(
                        "UPDATE hand_state SET version = version + 1, state = ? "
                        "WHERE key = ? AND version = ?",
                        (STATE, str(n), version),
                    )
                    assert changed.rowcount == 1
                    row = new_id()
                    await db.execute(
                        "INSERT INTO hand_outbox VALUES (?, ?, ?)", (row, str(n), BODY)
                    )
                    await db.execute("COMMIT")
                took.append(time.perf_counter() - before)

        start = time.perf_counter()
        await asyncio.gather(*[key(n) for n in range(keys)])
        seconds = time.perf_counter() - start
    return {"rate": len(took) / seconds, **quantiles(took)}


async def by_hand_postgres(url, keys, count, lanes):
    import asyncpg

    dsn = url.partition("?")[0]
    took = []
    async with asyncpg.create_pool(dsn, min_size=lanes, max_size=lanes) as pool:
        await pool.execute("DROP TABLE IF EXISTS hand_state, hand_outbox")
        for table in TABLES:
            await pool.execute(table.format(blob="BYTEA"))
        await pool.executemany(
            "INSERT INTO hand_state VALUES ($1, 0, $2)", [(str(n), STATE) for n in range(keys)]
        )

        async def key(n):
            row = None
            for version in range(count // keys):
                before = time.perf_counter()
                async with pool.acquire() as db, db.transaction():
                    if row is not None:
                        await db.execute("DELETE FROM hand_outbox WHERE id = $1", row)
                    changed = await db.execute(
                        "UPDATE hand_state SET version = version + 1, state = $1 "
                        "WHERE key = $2 AND version = $3",
                        STATE,
                        str(n),
                        version,
                    )
                    assert changed == "UPDATE 1"
                    row = new_id()
                    await db.execute(
                        "INSERT INTO hand_outbox VALUES ($1, $2, $3)", row, str(n), BODY
                    )
                took.append(time.perf_counter() - before)

        start = time.perf_counter()
        await asyncio.gather(*[key(n) for n in range(keys)])
        seconds = time.perf_counter() - start
    return {"rate": len(took) / seconds, **quantiles(took)}


# DBOS ---------------------------------------------------------------------------


def dbos(url, keys, count, _lanes):
    """Steps a second: so many workflows at once as there are keys, of ten steps each."""
    import logging
    from concurrent.futures import ThreadPoolExecutor

    from dbos import DBOS, DBOSConfig

    logging.disable(logging.WARNING)
    at_once = min(keys, 32)
    dsn = url.partition("?")[0]
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": dsn,
        "run_admin_server": False,
    }
    DBOS(config=config)

    @DBOS.step()
    def step(n: int) -> int:
        return n

    @DBOS.workflow()
    def workflow(steps: int) -> int:
        return sum(step(n) for n in range(steps))

    DBOS.launch()
    took = []

    def run(_n: int) -> None:
        before = time.perf_counter()
        workflow(10)
        took.append((time.perf_counter() - before) / 10)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, range(at_once)))  # what is made at the first use
        took.clear()
        start = time.perf_counter()
        list(pool.map(run, range(count // 10)))
        seconds = time.perf_counter() - start
    DBOS.destroy()
    return {"rate": len(took) * 10 / seconds, **quantiles(took)}


# The run ------------------------------------------------------------------------

#: What is measured: the name, the function, the store, keys, messages, lanes.
RUNS = [
    ("ours", ours, "sqlite", 256, 60_000, 1),
    ("ours, one key", ours, "sqlite", 1, 20_000, 1),
    ("by hand (aiosqlite)", by_hand_sqlite, "sqlite", 256, 5_120, 1),
    ("ours", ours, "postgres", 256, 60_000, 1),
    ("ours, two lanes", ours, "postgres", 256, 60_000, 2),
    ("ours, one key", ours, "postgres", 1, 20_000, 1),
    ("by hand (asyncpg)", by_hand_postgres, "postgres", 256, 7_680, 4),
    ("dbos", dbos, "postgres", 256, 2_000, 1),
]
NEEDS = {by_hand_sqlite: "aiosqlite", dbos: "dbos"}


def one(index, url, scale):
    """Take one figure, in this process, and print it."""
    _name, function, _store, keys, count, lanes = RUNS[index]
    count = max(keys * 4, int(count * scale))
    if asyncio.iscoroutinefunction(function):
        figures = uvloop.run(function(url, keys, count, lanes))
    else:
        figures = function(url, keys, count, lanes)
    print(json.dumps(figures))


def measured(server, scale):
    """Each run in a process of its own; a row for each."""
    rows = []
    for index, (name, function, store, keys, _count, _lanes) in enumerate(RUNS):
        row = {"way": name, "store": store, "keys": keys}
        missing = NEEDS.get(function)
        if missing and importlib.util.find_spec(missing) is None:
            rows.append({**row, "left out": f"{missing} is not installed"})
            continue
        if store == "postgres" and server is None:
            rows.append({**row, "left out": "there is no PostgreSQL"})
            continue
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/bench.sqlite"
            if store == "postgres":
                url = server.url(f"bench_{index}")
            command = [sys.executable, __file__, "--one", str(index), url, str(scale)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} on {store} failed:\n{done.stderr[-2000:]}")
        rows.append({**row, **json.loads(done.stdout.splitlines()[-1])})
        print(line(rows[-1]), flush=True)
    return rows


def line(row):
    head = f"| {row['way']} | {row['store']} | {row['keys']} |"
    if "left out" in row:
        return f"{head} {row['left out']} | | |"
    return f"{head} {row['rate']:,.0f} | {row['p50 ms']:.2f} | {row['p99 ms']:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("INDEX", "URL", "SCALE"))
    options = parser.parse_args()
    if options.one:
        one(int(options.one[0]), options.one[1], float(options.one[2]))
        return
    server = PostgresServer(on_disk=True) if programs() is not None else None
    print("| way | store | keys | messages/s | p50 ms | p99 ms |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    try:
        if server is not None:
            server.start()
        rows = measured(server, 0.1 if options.quick else 1.0)
    finally:
        if server is not None:
            server.remove()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
