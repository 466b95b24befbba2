"""The data folder: one SQLite file in WAL mode. Blocking; it knows no loop.

A message has one row for each place (topic or channel) that holds it; a row
goes when its message is finished. What is known of its deliveries has a table of
its own, so that a delivery does not write the body again: a line for each run of
rows that were delivered together as often. Nobody looks for its lines when a message
goes; those that speak of none any more are thrown out together, now and then. A batch
is one transaction, all or nothing. Its parts are applied in a fixed order (definitions, new
rows, moves, updates, deliveries, deletions), which gives the same end as the order
they were decided in: a row exists before anything happens to it, and nothing follows
its deletion.

A commit waits for the disk itself where somebody was told that it is safe. That a
message was delivered or finished must outlive the process and no more, so a batch of
these alone is with the operating system when it is written.

A full disk: `make_room` gives away what `reserve` keeps, so that what is finished
can be written; `regain` shrinks the file by what was deleted, and keeps room anew.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from irismq_runtime.embedded.nsqd.directory import DataDirectoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from irismq_runtime.embedded.nsqd.data_folder import DataFolder
    from irismq_runtime.embedded.nsqd.journal import JournalRecord

__all__ = ["Store", "StoredPlace", "StoredRow", "WriteBatch", "delivered_runs", "runs"]

_VERSION = 3
#: Pages of the log at which it is folded into the file, at most.
_CHECKPOINT = 4000
_PAGE = 4096
#: Ids that one run of the server may use; the next run begins above them even
#: if its clock is behind.
_ID_RESERVE = 1 << 34
#: Lines about deliveries at which those that speak of no message are thrown out.
_MANY_LINES = 10_000
_DELIVERED = (
    "CREATE TABLE delivered "
    "(first INTEGER NOT NULL, last INTEGER NOT NULL, attempts INTEGER NOT NULL);"
)
_SCHEMA = (
    _DELIVERED
    + """
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
)
#: What makes the present format of an earlier one, by its version.
_FROM_EARLIER = {
    1: _DELIVERED,
    2: f"{_DELIVERED} INSERT INTO delivered SELECT row, row, attempts FROM attempt; "  # noqa: S608  # of constants
    "DROP TABLE attempt;",
}


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
class WriteBatch:
    """What is written together."""

    places: list[StoredPlace] = field(default_factory=list)
    records: list[JournalRecord] = field(default_factory=list)
    copies: list[JournalRecord] = field(default_factory=list)
    moves: list[tuple[int, int]] = field(default_factory=list)
    updates: list[tuple[int, int, int]] = field(default_factory=list)
    deliveries: list[tuple[int, int]] = field(default_factory=list)
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
            or self.deliveries
            or self.removed
        )

    @property
    def light(self) -> bool:
        """Only what was delivered and finished."""
        return not (
            self.records or self.places or self.copies or self.moves or self.updates or self.removed
        )

    def without_records(self) -> WriteBatch:
        """All but new publishes."""
        rest = WriteBatch()
        rest.keep_from(self)
        return rest

    def split(self) -> tuple[WriteBatch, WriteBatch]:
        """What was delivered and finished, and what is left of a batch without publishes."""
        light = WriteBatch(deliveries=self.deliveries, forgotten=self.forgotten)
        left = self.without_records()
        gone = set(self.forgotten)
        left.copies = [record for record in left.copies if record.row not in gone]
        left.deliveries, left.forgotten = [], []
        return light, left

    def keep_from(self, failed: WriteBatch) -> None:
        """Take over what a failed batch must not lose: all but new publishes."""
        self.places[:0] = failed.places
        self.copies[:0] = failed.copies
        self.moves[:0] = failed.moves
        self.updates[:0] = failed.updates
        self.deliveries[:0] = failed.deliveries
        self.forgotten[:0] = failed.forgotten
        self.removed[:0] = failed.removed


class Store:
    """The open file. One thread at a time."""

    def __init__(self, folder: DataFolder, *, sync: bool) -> None:
        """Open or make the file. Raises `DataDirectoryError`."""
        self._folder = folder
        self._sync = sync
        self._full = False
        # Bytes of the log that say that it could not be folded into the file.
        self._log_limit = 0
        # Lines about deliveries, and at how many they are looked through.
        self._lines = 0
        self._most_lines = _MANY_LINES
        self.reserve = folder.reserve
        try:
            self._connection = folder.connect()
            try:
                self._prepare()
                self._hold()
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise DataDirectoryError(folder.path, str(error)) from error

    def _hold(self) -> bool:
        """Keep room for the log as it may become; False: there is none."""
        held = self.reserve.hold()
        pages = min(max(self.reserve.size // 8 // _PAGE, 64), _CHECKPOINT)
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        self._log_limit = 2 * pages * _PAGE
        return held

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA auto_vacuum = INCREMENTAL")  # a new file can give back what was deleted
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA secure_delete = OFF")  # what is deleted is not written once more
        run("PRAGMA cache_size = -32768")
        version = run("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version in _FROM_EARLIER:
            self._connection.executescript(
                f"BEGIN; {_FROM_EARLIER[version]} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version != _VERSION:
            raise sqlite3.DatabaseError(
                f"the database has format {version}, this version reads {_VERSION}"
            )
        self._lines = int(run("SELECT count(*) FROM delivered").fetchone()[0])

    # -- reading, at start ----------------------------------------------------

    def places(self) -> list[StoredPlace]:
        """All topics and channels, topics before their channels."""
        rows = self._connection.execute(
            "SELECT place, topic, channel, paused FROM place ORDER BY channel <> '', place"
        )
        return [StoredPlace(*row) for row in rows]

    def rows(self) -> Iterator[StoredRow]:
        """All messages in the order they came."""
        run = self._connection.execute
        lines = deque(run("SELECT first, last, -attempts FROM delivered ORDER BY first"))
        begun: list[tuple[int, int]] = []  # what may speak of this row: most attempts first
        for stored in map(
            StoredRow._make,
            run("SELECT row, place, id, timestamp, due, body, attempts FROM message ORDER BY row"),
        ):
            row = stored.row
            while lines and lines[0][0] <= row:
                _, last, fewer = lines.popleft()
                heappush(begun, (fewer, last))
            while begun and begun[0][1] < row:
                heappop(begun)
            noted = -begun[0][0] if begun else 0
            yield stored if noted <= stored.attempts else stored._replace(attempts=noted)

    def last_row(self) -> int:
        """The highest row of which anything is known."""
        return int(
            self._connection.execute(
                "SELECT max(ifnull((SELECT max(row) FROM message), 0), "
                "ifnull((SELECT max(last) FROM delivered), 0))"
            ).fetchone()[0]
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

    def write(self, batch: WriteBatch) -> None:
        """Write the batch, all or nothing. Raises sqlite3.Error."""
        connection = self._connection
        if batch.records and self._folder.log_size() > self._log_limit and not self._fold():
            raise sqlite3.OperationalError("the disk is full: the log cannot be folded")
        if self._sync and batch.light == self._full:
            self._full = not batch.light
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._apply(batch)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if not self.reserve.size and self._folder.log_size() > self._log_limit // 2:
            self._shrink()  # on a full disk the log must not grow with what is finished

    def _apply(self, batch: WriteBatch) -> None:
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
        if batch.deliveries:
            lines = delivered_runs(batch.deliveries)
            many("INSERT INTO delivered VALUES (?, ?, ?)", lines)
            self._lines += len(lines)
        if batch.forgotten:
            many("DELETE FROM message WHERE row BETWEEN ? AND ?", runs(batch.forgotten))
        for place in batch.removed:
            self._connection.execute("DELETE FROM place WHERE place = ?", (place,))
            self._connection.execute("DELETE FROM message WHERE place = ?", (place,))
        if self._lines >= self._most_lines:
            self._drop_lines()

    def _drop_lines(self) -> None:
        """Throw out what is said of deliveries of messages that are gone."""
        run = self._connection.execute
        run(
            "DELETE FROM delivered WHERE NOT EXISTS "
            "(SELECT 1 FROM message WHERE row BETWEEN first AND last)"
        )
        self._lines = int(run("SELECT count(*) FROM delivered").fetchone()[0])
        self._most_lines = max(_MANY_LINES, 2 * self._lines)

    def make_room(self) -> None:
        """A write has failed: give the reserve away, and fold the log into the file."""
        self.reserve.release()
        self._fold()

    def regain(self) -> None:
        """Look whether writing works again, with room kept. Raises sqlite3.Error, OSError."""
        run = self._connection.execute
        run("UPDATE counter SET value = value + 1 WHERE name = 'probe'")
        if not (self._shrink() and self._hold()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _shrink(self) -> bool:
        """Give what was deleted back to the disk; False: the log could not be folded."""
        self._connection.executescript("PRAGMA incremental_vacuum")
        return self._fold()

    def _fold(self) -> bool:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return False
        return True

    def close(self, *, tidy: bool = True) -> None:
        """Close the file; `tidy` folds the log into it first, if there is room."""
        if tidy:
            self._fold()
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


def delivered_runs(deliveries: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The (row, attempts) as (first, last, attempts) of unbroken runs with as many attempts."""
    found: list[tuple[int, int, int]] = []
    first, last, times = 0, -1, -1
    for row, attempts in sorted(deliveries):
        if row == last + 1 and attempts == times:
            last = row
            continue
        if first:
            found.append((first, last, times))
        first, last, times = row, row, attempts
    if first:
        found.append((first, last, times))
    return found
