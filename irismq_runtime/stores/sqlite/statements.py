"""What else is asked of a SQLite file than commits. Blocking, pure SQL.

Every function gets the connection: those that only read outside of any transaction,
the others inside one that holds the lock of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.ports.state_store import (
    LATER,
    RESULTS,
    RESULTS_KNOWN,
    VERSION_LEAP,
    KeptAnswer,
    OutboxBacklog,
    OutboxRow,
    StateKey,
    StoredState,
    StoreInfo,
    StoreSizes,
)
from irismq_runtime.stores.decisions import order_pair, pair_of_row
from irismq_runtime.stores.migrations import check_form, check_namespace, steps_from
from irismq_runtime.stores.sqlite.schema import FACTS, STEPS
from irismq_runtime.stores.writes import ROW_COLUMNS, outbox_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

_FACT: Final = "INSERT OR REPLACE INTO irismq_store VALUES (?, ?)"
_LOAD: Final = "SELECT version, state, commit_id FROM irismq_state WHERE address = ? AND key = ?"
_SCAN: Final = (
    "SELECT key, version, state, commit_id FROM irismq_state "
    "WHERE address = ? AND key > ? AND state IS NOT NULL ORDER BY key LIMIT ?"
)
_ANSWER: Final = """
SELECT digest, iif(until > ?, answer, x'') FROM irismq_answer
WHERE address = ? AND key = ? AND id = ?"""
_ROWS: Final = f"SELECT {ROW_COLUMNS} FROM irismq_outbox "  # noqa: S608  # the names are ours
_BETWEEN: Final = _ROWS + (
    "WHERE pair = ? AND number < ? AND from_address = ? AND from_key = ? AND address = ? "
    "AND key = ? ORDER BY number LIMIT ?"
)
_MISSING: Final = _ROWS + (
    "WHERE owned AND NOT dead AND address = ? AND due <= ? ORDER BY due, number LIMIT ?"
)
_DUE: Final = _ROWS + (
    "WHERE owned AND NOT dead AND address = ? AND due <= ? AND channel = ? ORDER BY due LIMIT ?"
)
_RELEASE: Final = "UPDATE irismq_outbox SET channel = ? WHERE id = ?"
_UNCONFIRMED: Final = _ROWS + (
    "WHERE NOT owned AND from_address = ? AND due <= ? ORDER BY due, number LIMIT ?"
)
_WAITING: Final = """
SELECT count(*) FROM
(SELECT 1 FROM irismq_outbox WHERE owned AND NOT dead AND address = ? LIMIT ?)"""
_UNTAKEN: Final = """
SELECT count(*) FROM
(SELECT 1 FROM irismq_outbox WHERE NOT owned AND from_address = ? LIMIT ?)"""
_OUTBOX: Final = _ROWS + "WHERE ? IN ('', address) ORDER BY number LIMIT ?"
_READDRESS: Final = (
    "UPDATE irismq_outbox SET address = ?, key = ?, owned = ?, channel = ?, pair = ?, tries = 0 "
    "WHERE id = ? AND NOT dead"
)
_PUT_OFF: Final = "UPDATE irismq_outbox SET due = ?, tries = tries + ? WHERE id = ?"
_REVIVE: Final = (
    "UPDATE irismq_outbox SET dead = 0, tries = 0, due = ?, expires = NULL WHERE id = ? AND dead"
)
_FORGET_HANDLED: Final = """
DELETE FROM irismq_handled WHERE rowid IN
(SELECT rowid FROM irismq_handled
WHERE address = ? AND channel = ? AND at <= ? AND NOT repeats LIMIT ?)"""
_BACKLOG: Final = """
SELECT address, owned, sum(NOT dead), sum(dead), min(CASE WHEN dead THEN NULL ELSE due END)
FROM irismq_outbox GROUP BY address, owned ORDER BY address, owned"""
#: Ids were noted in the order of their row numbers: the oldest are found without an index.
_TIDY_HANDLED: Final = """
DELETE FROM irismq_handled WHERE rowid IN (SELECT row FROM
(SELECT rowid AS row, at FROM irismq_handled ORDER BY rowid LIMIT ?) WHERE at <= ?)"""
_TIDY_ENDED: Final = """
DELETE FROM irismq_state WHERE rowid IN
(SELECT rowid FROM irismq_state WHERE ended IS NOT NULL AND ended <= ? LIMIT ?)"""
_EMPTY_ANSWERS: Final = """
UPDATE irismq_answer SET answer = x'' WHERE rowid IN
(SELECT rowid FROM irismq_answer WHERE answer <> x'' AND until <= ? AND address <> ? LIMIT ?)"""
#: What is left of answers is empty by then: the index of full ones has results alone.
_TIDY_RESULTS: Final = """
DELETE FROM irismq_answer WHERE rowid IN
(SELECT rowid FROM irismq_answer WHERE answer <> x'' AND until <= ? AND address = ? LIMIT ?)"""
_TIDY_ANSWERS: Final = """
DELETE FROM irismq_answer WHERE rowid IN
(SELECT rowid FROM irismq_answer WHERE until <= ? LIMIT ?)"""


# -- the store itself -----------------------------------------------------------


def prepare(connection: sqlite3.Connection, namespace: str, new_id: bytes) -> None:
    """Bring the tables to the form of now, for `namespace`. Raises `ConfigError`."""
    run = connection.execute
    run(FACTS)
    facts = _facts(connection)
    form = facts.get("form", 0)
    for step in steps_from(form, STEPS):
        for statement in step:
            run(statement)
    if form != len(STEPS):
        run(_FACT, ("form", len(STEPS)))
    if form == 0:
        connection.executemany(_FACT, [("namespace", namespace), ("id", new_id)])
    else:
        check_namespace(facts["namespace"], namespace)


def check(connection: sqlite3.Connection) -> None:
    """Raise `ConfigError` unless the tables have the form of now."""
    has_facts = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name = 'irismq_store'"
    ).fetchone()[0]
    check_form(_facts(connection).get("form", 0) if has_facts else 0, STEPS)


def info(connection: sqlite3.Connection, url: str) -> StoreInfo:
    """What the store is."""
    facts = _facts(connection)
    return StoreInfo(url, facts["id"], facts["epoch"], facts["namespace"])


def accept(connection: sqlite3.Connection) -> None:
    """Begin a new epoch, whose versions nobody has seen."""
    more = "UPDATE irismq_store SET value = value + ? WHERE name = ?"
    connection.executemany(more, [(1, "epoch"), (VERSION_LEAP, "version")])


def _facts(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM irismq_store"))


# -- reading ------------------------------------------------------------------------


def load(connection: sqlite3.Connection, keys: Sequence[StateKey]) -> list[StoredState]:
    """See `StateStore.load`."""
    run = connection.execute
    return [StoredState(key, *(run(_LOAD, key).fetchone() or ())) for key in keys]


def scan(connection: sqlite3.Connection, address: str, after: str, limit: int) -> list[StoredState]:
    """See `StateStore.scan`."""
    found = connection.execute(_SCAN, (address, after, limit))
    return [StoredState(StateKey(address, key), *rest) for key, *rest in found]


def kept_answer(
    connection: sqlite3.Connection, key: StateKey, ask_id: str, now: float
) -> KeptAnswer | None:
    """See `StateStore.kept_answer`."""
    found = connection.execute(_ANSWER, (now, *key, ask_id)).fetchone()
    return None if found is None else KeptAnswer(*found)


def rows(connection: sqlite3.Connection, ids: Sequence[bytes]) -> list[OutboxRow]:
    """See `StateStore.rows`."""
    found = (connection.execute(_ROWS + "WHERE id = ?", (each,)).fetchone() for each in ids)
    return [outbox_row(record) for record in found if record is not None]


def rows_between(
    connection: sqlite3.Connection, sender: StateKey, to: StateKey, before: int, limit: int
) -> list[OutboxRow]:
    """See `StateStore.rows_between`."""
    asked = (order_pair(sender, to), before, *sender, *to, limit)
    return [outbox_row(record) for record in connection.execute(_BETWEEN, asked)]


def missing(
    connection: sqlite3.Connection, address: str, latest: float, limit: int
) -> list[OutboxRow]:
    """Owned rows for `address` that were due by `latest`."""
    return [outbox_row(each) for each in connection.execute(_MISSING, (address, latest, limit))]


def due(
    connection: sqlite3.Connection, addresses: Iterable[str], latest: float, limit: int
) -> list[OutboxRow]:
    """Rows that are published when they are due, which they are by `latest`."""
    found = [
        outbox_row(record)
        for address in addresses
        for record in connection.execute(_DUE, (address, latest, LATER, limit))
    ]
    return sorted(found, key=lambda row: row.due)[:limit]


def unconfirmed(
    connection: sqlite3.Connection, senders: Iterable[str], latest: float, limit: int
) -> list[OutboxRow]:
    """Relayed rows of `senders` that were due by `latest`."""
    found = [
        outbox_row(record)
        for sender in senders
        for record in connection.execute(_UNCONFIRMED, (sender, latest, limit))
    ]
    return sorted(found, key=lambda row: (row.due, row.number))[:limit]


def waiting(connection: sqlite3.Connection, address: str, limit: int, *, owned: bool) -> int:
    """See `StateStore.waiting`."""
    found: tuple[int] = connection.execute(
        _WAITING if owned else _UNTAKEN, (address, limit)
    ).fetchone()
    return found[0]


def outbox(connection: sqlite3.Connection, address: str, limit: int) -> list[OutboxRow]:
    """See `StateStore.outbox`."""
    return [outbox_row(each) for each in connection.execute(_OUTBOX, (address, limit))]


def backlog(connection: sqlite3.Connection, now: float) -> list[OutboxBacklog]:
    """See `StateStore.backlog`."""
    return [
        OutboxBacklog(address, bool(owned), waiting, dead, max(0.0, now - oldest))
        for address, owned, waiting, dead, oldest in (
            (*row[:4], now if row[4] is None else row[4]) for row in connection.execute(_BACKLOG)
        )
    ]


def sizes(connection: sqlite3.Connection) -> StoreSizes:
    """See `StateStore.sizes`."""
    count = "SELECT (SELECT count(*) FROM irismq_outbox), (SELECT count(*) FROM irismq_handled)"
    return StoreSizes(*connection.execute(count).fetchone())


# -- writing ------------------------------------------------------------------------


def put_off(
    connection: sqlite3.Connection, ids: Collection[bytes], due: float, *, tried: bool
) -> None:
    """See `StateStore.put_off`."""
    connection.executemany(_PUT_OFF, [(due, int(tried), each) for each in ids])


def readdress(connection: sqlite3.Connection, given: Sequence[OutboxRow]) -> int:
    """See `StateStore.readdress`."""
    values = [(*row.to, row.owned, row.channel, pair_of_row(row), row.id) for row in given]
    return connection.executemany(_READDRESS, values).rowcount if values else 0


def release(connection: sqlite3.Connection, ids: Collection[bytes], channel: str) -> None:
    """See `StateStore.release`."""
    connection.executemany(_RELEASE, [(channel, each) for each in ids])


def forget(connection: sqlite3.Connection, ids: Collection[bytes]) -> int:
    """See `StateStore.forget`."""
    gone = connection.executemany(
        "DELETE FROM irismq_outbox WHERE id = ?", [(each,) for each in ids]
    )
    return gone.rowcount if ids else 0


def revive(connection: sqlite3.Connection, ids: Collection[bytes], now: float) -> int:
    """See `StateStore.revive`."""
    changed = connection.executemany(_REVIVE, [(now, each) for each in ids])
    return changed.rowcount if ids else 0


def forget_handled(
    connection: sqlite3.Connection, address: str, channel: str, oldest: float, limit: int
) -> int:
    """See `StateStore.forget_handled`."""
    return connection.execute(_FORGET_HANDLED, (address, channel, oldest, limit)).rowcount


def tidy(connection: sqlite3.Connection, now: float, keep: float, limit: int) -> bool:
    """See `StateStore.tidy`."""
    run = connection.execute
    oldest = now - keep
    gone = [
        run(_TIDY_HANDLED, (limit, oldest)).rowcount,
        run(_TIDY_ENDED, (oldest, limit)).rowcount,
        run(_TIDY_RESULTS, (now - min(keep, RESULTS_KNOWN), RESULTS.address, limit)).rowcount,
        run(_EMPTY_ANSWERS, (now, RESULTS.address, limit)).rowcount,
        run(_TIDY_ANSWERS, (oldest, limit)).rowcount,
    ]
    return max(gone) >= limit
