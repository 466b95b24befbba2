"""Commits in a SQLite file: what they rest on, and what they write. Blocking, pure SQL.

Every function gets the connection, inside a transaction that holds the lock of the file. What is
looked up for many is asked in one statement each: a call costs more than what it finds.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import Committed, HandledRight, OwnedRight, StateKey
from irismq_runtime.stores.decisions import (
    NOTHING,
    Found,
    FoundRow,
    Standing,
    latest_claim,
    refusal,
)
from irismq_runtime.stores.writes import STAGED_COLUMNS, Writes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from irismq_runtime.ports.state_store import CommitOutcome, Right, StateCommit

__all__ = ["commit", "standing"]

_FOUND: Final = "SELECT address, key, version, commit_id FROM irismq_state WHERE (address, key) IN "
#: A row, and the waiting row before it in its order. Two pairs may share a number.
_ROW: Final = """
SELECT id, address, key, tries, dead, (
    SELECT p.id FROM irismq_outbox p
    WHERE p.pair = o.pair AND p.number < o.number AND p.address = o.address AND p.key = o.key
    AND p.from_address = o.from_address AND p.from_key = o.from_key
    ORDER BY p.number DESC LIMIT 1
) FROM irismq_outbox o WHERE id IN """
#: How many a statement is for, so that there are few texts of it to be kept compiled,
_SIZES: Final = (1, 4, 16, 64, 256)
#: and at most.
_AT_ONCE: Final = _SIZES[-1]
_HANDLED: Final = (
    "SELECT 1 FROM irismq_handled WHERE address = ? AND key = ? AND channel = ? AND id = ?"
)
_ANSWERED: Final = "SELECT 1 FROM irismq_answer WHERE address = ? AND key = ? AND id = ?"
_VERSION: Final = "SELECT value FROM irismq_store WHERE name = 'version'"
_EPOCH: Final = "SELECT value FROM irismq_store WHERE name = 'epoch'"
_STATE: Final = """
INSERT INTO irismq_state (address, key, commit_id, state, version, ended)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
version = excluded.version, commit_id = excluded.commit_id, state = excluded.state,
ended = excluded.ended"""
_KEPT: Final = """
INSERT INTO irismq_state (address, key, commit_id, version, ended)
VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
version = excluded.version, commit_id = excluded.commit_id,
ended = iif(state IS NULL, excluded.ended, NULL)"""
_TAKE: Final = "DELETE FROM irismq_outbox WHERE id IN "
_ASIDE: Final = "UPDATE irismq_outbox SET dead = 1, pair = NULL WHERE id = ?"
_NOTE: Final = "INSERT INTO irismq_handled VALUES (?, ?, ?, ?, ?, ?)"
_KEEP: Final = (
    "INSERT OR REPLACE INTO irismq_answer (address, key, id, digest, answer, until) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_STAGE: Final = f"""
INSERT INTO irismq_outbox ({STAGED_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608  # the names of columns are ours


def commit(
    connection: sqlite3.Connection, commits: Sequence[StateCommit], now: float, url: str
) -> tuple[list[CommitOutcome], int]:
    """Write what stands of `commits`; their outcomes, and the epoch of the store.

    Raises `StoreUnavailable` ("went back").
    """
    run = connection.execute
    found = {
        StateKey(*row[:2]): Found(*row[2:])
        for cursor in _for_all(connection, _FOUND, [each.key for each in commits])
        for row in cursor
    }
    asked = [(each.key, each.rights) for each in commits if each.rights]
    stands = standing(connection, asked, url)
    outcomes: list[CommitOutcome | None] = [
        refusal(each, found.get(each.key, NOTHING), stands) for each in commits
    ]
    accepted = [each for each, no in zip(commits, outcomes, strict=True) if no is None]
    if accepted:
        version = run(_VERSION).fetchone()[0] + 1
        _write(connection, Writes.of(accepted, version, now), version, now)
        written = Committed(version)
    epoch = run(_EPOCH).fetchone()[0]
    return [written if outcome is None else outcome for outcome in outcomes], epoch


def standing(
    connection: sqlite3.Connection,
    asked: Iterable[tuple[StateKey, Sequence[Right]]],
    url: str,
) -> Standing:
    """What the decision needs to know of rights. Raises `StoreUnavailable` ("went back")."""
    run = connection.execute
    rows: dict[bytes, FoundRow] = {}
    handled = set()
    answered = set()
    owned: list[OwnedRight] = []
    for key, rights in asked:
        for right in rights:
            if isinstance(right, OwnedRight):
                owned.append(right)
            elif isinstance(right, HandledRight):
                if run(_HANDLED, (noted := (*key, right.channel, right.id))).fetchone():
                    handled.add((key, *noted[2:]))
            elif run(_ANSWERED, (*key, right.id)).fetchone():
                answered.add((key, right.id))
    for cursor in _for_all(connection, _ROW, [(right.id,) for right in owned]):
        for row_id, address, name, *about in cursor:
            rows[row_id] = FoundRow(StateKey(address, name), *about)
    if (claim := latest_claim(owned, rows)) and claim > run(_VERSION).fetchone()[0]:
        raise StoreUnavailable(url, "went back", "a message is newer than the store")
    return Standing(rows, handled, answered)


def _write(connection: sqlite3.Connection, writes: Writes, version: int, now: float) -> None:
    many = connection.executemany
    connection.execute("UPDATE irismq_store SET value = ? WHERE name = 'version'", (version,))
    if writes.states:
        many(_STATE, [(*row, version, now if row[-1] is None else None) for row in writes.states])
    if writes.kept:
        many(_KEPT, [(*row, version, now) for row in writes.kept])
    if writes.taken:
        _for_all(connection, _TAKE, [(row,) for row in writes.taken])
    if writes.aside:
        many(_ASIDE, [(row,) for row in writes.aside])
    if writes.handled:
        many(_NOTE, [(*row, now) for row in writes.handled])
    if writes.answers:
        many(_KEEP, writes.answers)
    if writes.staged:
        many(_STAGE, writes.staged)


def _for_all(
    connection: sqlite3.Connection, statement: str, values: Sequence[tuple[object, ...]]
) -> list[sqlite3.Cursor]:
    """Run `statement`, which ends with IN, for all of `values`, many at once."""
    cursors = []
    for start in range(0, len(values), _AT_ONCE):
        part = list(values[start : start + _AT_ONCE])
        size = next(size for size in _SIZES if size >= len(part))
        # As many as the statement has room for: one that is there twice is found once.
        part += part[:1] * (size - len(part))
        row = f"({', '.join('?' * len(part[0]))})"
        values_of = f"(VALUES {', '.join([row] * size)})"
        cursors.append(connection.execute(statement + values_of, [*chain.from_iterable(part)]))
    return cursors
