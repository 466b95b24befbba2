"""The data folder: one SQLite file in WAL mode. Blocking; it knows no loop.

A message has one row for each place (topic or channel) that holds it; a row
goes when its message is finished. A batch is one transaction, all or nothing.
Its parts are applied in a fixed order (definitions, new rows, moves, updates,
deletions), which gives the same end as the order they were decided in: a row
exists before anything happens to it, and nothing follows its deletion.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from irismq_runtime.embedded.nsqd.directory import DataDirectoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from irismq_runtime.embedded.nsqd.journal import Record

__all__ = ["Batch", "Store", "StoredPlace", "StoredRow", "runs"]

_FILE = "nsqd.sqlite"
_VERSION = 1
#: Ids that one run of the server may use; the next run begins above them even
#: if its clock is behind.
_ID_RESERVE = 1 << 34
_SCHEMA = """
CREATE TABLE place (
    place INTEGER PRIMARY KEY, topic TEXT NOT NULL, channel TEXT NOT NULL, paused INTEGER NOT NULL
);
CREATE TABLE message (
    row INTEGER PRIMARY KEY, place INTEGER NOT NULL, id BLOB NOT NULL, timestamp INTEGER NOT NULL,
    due INTEGER NOT NULL, body BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counter VALUES ('id', 0), ('place', 0), ('probe', 0);
"""


class StoredPlace(NamedTuple):
    """A topic (channel empty) or a channel."""

    place: int
    topic: str
    channel: str
    paused: int


class StoredRow(NamedTuple):
    """A message in a place."""

    row: int
    place: int
    id: bytes
    timestamp: int
    due: int
    body: bytes
    attempts: int


@dataclass(slots=True)
class Batch:
    """What is written together."""

    places: list[StoredPlace] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    copies: list[Record] = field(default_factory=list)
    moves: list[tuple[int, int]] = field(default_factory=list)
    updates: list[tuple[int, int, int]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.records
            or self.forgotten
            or self.places
            or self.copies
            or self.moves
            or self.updates
            or self.removed
        )

    def keep_from(self, failed: Batch) -> None:
        """Take over what a failed batch must not lose: all but new publishes."""
        self.places[:0] = failed.places
        self.copies[:0] = failed.copies
        self.moves[:0] = failed.moves
        self.updates[:0] = failed.updates
        self.forgotten[:0] = failed.forgotten
        self.removed[:0] = failed.removed


class Store:
    """The open file. One thread at a time."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        """Open or make the file. Raises `DataDirectoryError`."""
        self._path = folder / _FILE
        try:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            self._prepare(sync=sync)
        except (sqlite3.Error, OSError) as error:
            raise DataDirectoryError(folder, str(error)) from error

    def _prepare(self, *, sync: bool) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        run("PRAGMA cache_size = -32768")
        run("PRAGMA wal_autocheckpoint = 4000")
        version = run("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version != _VERSION:
            raise sqlite3.DatabaseError(
                f"{self._path.name} has format {version}, this version reads {_VERSION}"
            )

    # -- reading, at start ----------------------------------------------------

    def places(self) -> list[StoredPlace]:
        """All topics and channels, topics before their channels."""
        rows = self._connection.execute(
            "SELECT place, topic, channel, paused FROM place ORDER BY channel <> '', place"
        )
        return [StoredPlace(*row) for row in rows]

    def rows(self) -> Iterator[StoredRow]:
        """All messages in the order they came."""
        rows = self._connection.execute(
            "SELECT row, place, id, timestamp, due, body, attempts FROM message ORDER BY row"
        )
        for row in rows:
            yield StoredRow(*row)

    def last_row(self) -> int:
        """The highest row in use."""
        return int(
            self._connection.execute("SELECT ifnull(max(row), 0) FROM message").fetchone()[0]
        )

    def last_place(self) -> int:
        """The highest place ever used."""
        return self._counter("place")

    def reserve_ids(self, first: int) -> int:
        """The id above which this run must begin, at least `first`."""
        start = max(first, self._counter("id"))
        self._connection.execute(
            "UPDATE counter SET value = ? WHERE name = 'id'", (start + _ID_RESERVE,)
        )
        return start

    def _counter(self, name: str) -> int:
        query = "SELECT value FROM counter WHERE name = ?"
        return int(self._connection.execute(query, (name,)).fetchone()[0])

    # -- writing ------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Write the batch, all or nothing. Raises sqlite3.Error."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._apply(batch)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _apply(self, batch: Batch) -> None:
        many = self._connection.executemany
        if batch.places:
            many("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)", batch.places)
            highest = max(place.place for place in batch.places)
            self._connection.execute(
                "UPDATE counter SET value = max(value, ?) WHERE name = 'place'", (highest,)
            )
        insert = "INSERT INTO message (row, place, id, timestamp, due, body) VALUES (?,?,?,?,?,?)"
        if batch.records:
            many(insert, batch.records)
        if batch.copies:
            many(insert, batch.copies)
        if batch.moves:
            many("UPDATE message SET place = ? WHERE row = ?", batch.moves)
        if batch.updates:
            many("UPDATE message SET attempts = ?, due = ? WHERE row = ?", batch.updates)
        if batch.forgotten:
            many("DELETE FROM message WHERE row BETWEEN ? AND ?", runs(batch.forgotten))
        for place in batch.removed:
            self._connection.execute("DELETE FROM place WHERE place = ?", (place,))
            self._connection.execute("DELETE FROM message WHERE place = ?", (place,))

    def probe(self) -> None:
        """Write something that matters to nobody. Raises sqlite3.Error."""
        self._connection.execute("UPDATE counter SET value = value + 1 WHERE name = 'probe'")

    def close(self, *, tidy: bool = True) -> None:
        """Close the file; `tidy` folds the log into it first, if there is room."""
        if tidy:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                tidy = False
        self._connection.close()


def runs(rows: Iterable[int]) -> list[tuple[int, int]]:
    """The rows as (first, last) of unbroken runs: FIFO traffic gives few of them."""
    found: list[tuple[int, int]] = []
    first = last = -1
    for row in sorted(rows):
        if row == last + 1 and first >= 0:
            last = row
            continue
        if first >= 0:
            found.append((first, last))
        first = last = row
    if first >= 0:
        found.append((first, last))
    return found
