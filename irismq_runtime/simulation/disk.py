"""The disk of a simulated host: what was synced stays, the rest may be lost.

It holds SQLite databases: the statements that product code runs are run. A database is
what it is after a kill of its process. Those of a folder (a broker's) are in memory; when
the power goes, what was committed and synced is there, and of what was committed after it
a part, which the seed chooses, and always the first of it: a torn log is what SQLite finds
by its checksums, and leaves out. For that each change is noted, with its statements, until
there is a copy that has it. For those that are opened by their path see `databases`.

A full disk refuses what writes, as SQLite does, and gives nothing to who wants to keep
room.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from irismq_runtime.embedded.nsqd import DirectoryInUse
from irismq_runtime.simulation.databases import DiskDatabases
from irismq_runtime.simulation.sqlite_connection import ToldConnection, kind_of

if TYPE_CHECKING:
    import random

    from irismq_runtime.embedded.nsqd.data_folder import ReservedRoom
    from irismq_runtime.simulation.context import SimulationContext
    from irismq_runtime.simulation.loop import SimulatedLoop

__all__ = ["SimulatedDisk", "SimulatedFolder"]

#: A statement, what it was given, and whether it was run for each of these.
_Statement: TypeAlias = tuple[str, Any, bool]

#: Changes that are noted before a copy is made that has them.
_CHANGES: Final = 1000
_LEVELS: Final = {"off": 0, "normal": 1, "full": 2, "extra": 3}
_ROOM: Final = 1024 * 1024


class _Database(ToldConnection):
    """A database on a disk. Closing it leaves it there."""

    folder: SimulatedFolder
    changes: _Changes

    @property
    def disk_is_full(self) -> bool:
        return self.folder.full

    def after(self, sql: str, parameters: Any, *, many: bool) -> None:
        self.changes.note((sql, parameters, many), open_still=self.in_transaction)
        if len(self.changes.committed) == self.changes.safe > _CHANGES:
            self.folder.copy(self)

    def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Whoever wrote is gone: what is not committed is not."""
        if self.in_transaction:
            self.rollback()
        self.changes.give_up()

    def destroy(self) -> None:
        super().close()


class _Changes:
    """What was committed to a database since there was a copy of it."""

    def __init__(self) -> None:
        self.committed: list[list[_Statement]] = []
        self._open: list[_Statement] = []
        #: How many of the committed cannot be lost.
        self.safe = 0
        # As SQLite begins: a rollback journal, synced at each commit.
        self._log = False
        self._level = 2

    def note(self, statement: _Statement, *, open_still: bool) -> None:
        """A statement was run; `open_still`: its transaction is not over."""
        kind = kind_of(statement[0])
        if kind == "rolls back":
            self._open.clear()
        elif kind == "sets":
            self._setting(statement[0])
        elif kind != "reads":
            self._open.append(statement)
        if not open_still and self._open:
            self.committed.append(self._open)
            self._open = []
            if self._level >= 2 or not self._log:
                self.safe = len(self.committed)

    def _setting(self, text: str) -> None:
        name, value = _name_and_value(text)
        if name == "journal_mode":
            self._log = value == "wal"
        elif name == "synchronous":
            self._level = _LEVELS.get(value, 2)
        elif name.startswith("wal_checkpoint"):
            self.safe = len(self.committed)

    def give_up(self) -> None:
        """Whoever wrote is gone: what is not committed is not."""
        self._open.clear()


@lru_cache(maxsize=64)
def _name_and_value(pragma: str) -> tuple[str, str]:
    """What a PRAGMA sets, and to what. Asked for each that is run, of which few are different."""
    name, _, value = pragma.split(None, 1)[1].lower().partition("=")
    return name.strip(), value.strip()


class _Room:
    """Fills `ReservedRoom`."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.size = 0
        self._disk = disk

    def hold(self) -> bool:
        self.size = 0 if self._disk.full else _ROOM
        return not self._disk.full

    def release(self) -> None:
        self.size = 0


class SimulatedFolder:
    """A folder with one database; fills `DataFolder` of the embedded broker."""

    def __init__(self, disk: SimulatedDisk, path: Path) -> None:
        self.path = path
        self.reserve: ReservedRoom = _Room(disk)
        self._disk = disk
        self._owner: SimulatedLoop | None = None
        self._database: _Database | None = None
        self._copy: sqlite3.Connection | None = None

    def acquire(self, *, address: str, wall_time: float) -> None:
        """Take it, for the running process. Raises `DirectoryInUse`."""
        del wall_time
        if self._owner is not None and self._owner.alive:
            raise DirectoryInUse(self.path, f"another server on {self._owner.name}")
        self._owner = self._disk.context.running
        self._disk.context.note(f"{self.path} belongs to {address}")

    def release(self) -> None:
        """Give it up. Idempotent."""
        self._owner = None

    def log_size(self) -> int:
        """Return 0: the log is folded in as it grows."""
        return 0

    def connect(self) -> sqlite3.Connection:
        """Open the database, as it was left."""
        if self._database is None:
            self._database = self._empty(_Changes())
        self._database.abandon()
        return self._database

    def _empty(self, changes: _Changes) -> _Database:
        database = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=_Database
        )
        database.folder, database.changes = self, changes
        return database

    @property
    def full(self) -> bool:
        """Whether the disk is."""
        return self._disk.full

    def copy(self, database: _Database) -> None:
        """Keep a copy of all that is there: its changes need not be noted any more."""
        self._drop_copy()
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        database.backup(self._copy)
        database.changes.committed.clear()
        database.changes.safe = 0

    def _drop_copy(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()

    def lose(self, chance: random.Random) -> int:
        """The power has gone: what was not synced is lost, or the last of it.

        Returns:
            How many transactions were lost.
        """
        database, self._owner = self._database, None
        if database is None:
            return 0
        changes = database.changes
        changes.give_up()
        kept = chance.randint(changes.safe, len(changes.committed))
        lost = len(changes.committed) - kept
        if lost:
            del changes.committed[kept:]
            database.destroy()
            self._database = self._replayed(changes)
        changes.safe = kept
        return lost

    def _replayed(self, changes: _Changes) -> _Database:
        database = self._empty(changes)
        if self._copy is not None:
            self._copy.backup(database)
        cursor = sqlite3.Cursor(database)  # one that notes nothing
        for transaction in changes.committed:
            for sql, parameters, many in transaction:
                if parameters is None:
                    cursor.executescript(sql)
                elif many:
                    cursor.executemany(sql, parameters)
                else:
                    cursor.execute(sql, parameters)
        cursor.close()
        return database

    def destroy(self) -> None:
        """The simulation is over."""
        self._drop_copy()
        database, self._database = self._database, None
        if database is not None:
            database.destroy()


class SimulatedDisk:
    """What a host keeps over the ends of its processes.

    Attributes:
        full: Whether nothing more can be written.
        databases: The SQLite files that programs open by their path.
    """

    def __init__(self, context: SimulationContext, host: str) -> None:
        self.full = False
        self.context = context
        self.databases = DiskDatabases(self)
        self._host = host
        self._folders: dict[str, SimulatedFolder] = {}

    def folder(self, name: str) -> SimulatedFolder:
        """Return the folder of that name, made if there is none; for `EmbeddedNsqd(data=...)`."""
        found = self._folders.get(name)
        if found is None:
            found = self._folders[name] = SimulatedFolder(self, Path("/", self._host, name))
        return found

    def lose(self, chance: random.Random) -> int:
        """The power has gone; see `SimulatedFolder.lose`."""
        return sum(folder.lose(chance) for folder in self._folders.values())

    def destroy(self) -> None:
        """The simulation is over."""
        for folder in self._folders.values():
            folder.destroy()
        self.databases.destroy()
