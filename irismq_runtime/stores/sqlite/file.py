"""One connection to a SQLite file: opened, in a transaction, its faults told. Blocking.

It knows no loop and no table of ours: a thread calls it, one call at a time. What
writes takes the lock of the whole file before it reads (BEGIN IMMEDIATE), so that what
it decides on cannot change, whichever process or thread writes as well. It is on the
disk itself when it returns (WAL, synchronous FULL). Readers go on meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.virtual_loop import virtual_loop
from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.private_file import private_file
from irismq_runtime.stores.migrations import check_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from actors.virtual_loop import DatabaseFiles
    from irismq_runtime.errors import SendOutcome, StoreFault

__all__ = ["SqliteFile", "default_files"]

_T = TypeVar("_T")
#: Seconds that a writer waits for one of another process.
_PATIENCE: Final = 10.0
#: What SQLite's result codes mean; an extended code has them in its low byte.
_KINDS: Final[dict[int, StoreFault]] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read only",
    sqlite3.SQLITE_BUSY: "conflict",
    sqlite3.SQLITE_LOCKED: "conflict",
    sqlite3.SQLITE_IOERR: "away",
    sqlite3.SQLITE_CANTOPEN: "away",
    sqlite3.SQLITE_CORRUPT: "away",
    sqlite3.SQLITE_NOTADB: "away",
    sqlite3.SQLITE_PERM: "away",
    sqlite3.SQLITE_INTERRUPT: "late",
}
#: What statements of a program may not do inside a transaction of ours: end it, change
#: how the connection works, or write what the runtime keeps.
_FORBIDDEN: Final = {
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
}
_WRITING: Final = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_ALTER_TABLE,
}


class _MachineFiles:
    """The files of the machine; fills `DatabaseFiles`."""

    def exists(self, path: Path) -> bool:
        return path.exists()

    def connect(self, path: Path) -> sqlite3.Connection:
        # Made by us and not by SQLite, whose log takes over the mode of the file.
        if not path.exists():
            os.close(private_file(path))
        return sqlite3.connect(
            path,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )


def default_files() -> DatabaseFiles:
    """Return the files that whoever is given none has: its loop's own, or the machine's.

    Only a `VirtualLoop` brings some.
    """
    loop = virtual_loop()
    return _MachineFiles() if loop is None else loop.databases


class SqliteFile:
    """A connection, from `open` to `close`. Any thread, one at a time.

    Args:
        path: The file.
        url: What faults call it.
        files: Where it is.
    """

    def __init__(self, path: Path, url: str, files: DatabaseFiles) -> None:
        self._path = path
        self.url = url
        self._files = files
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection. Raises `StoreUnavailable`."""
        if self._connection is None:
            raise StoreUnavailable(self.url, "away", "the store is not open")
        return self._connection

    def open(self, *, make: bool = True) -> None:
        """Open the file; where there is none, `make` it. Raises `ConfigError`."""
        if not make:
            check_form(int(self._files.exists(self._path)), ("a file",))
        try:
            self._connection = self._files.connect(self._path)
            run = self._connection.execute
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
            run("PRAGMA secure_delete = OFF")  # what is deleted is not written once more
            run("PRAGMA cache_size = -32768")
        except (sqlite3.Error, OSError) as error:
            self.close()
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                "store",
                f"{self.url} cannot be opened: {text}",
                "name a file in a folder that exists and may be written: sqlite:///PATH",
            ) from error

    def close(self) -> None:
        """Close the connection. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- transactions -----------------------------------------------------------

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` finds. Raises `StoreUnavailable`."""
        with self.faults():
            return work(self.connection)

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` in one transaction, all or nothing. Raises `StoreUnavailable`.

        What `work` raises by itself undoes the transaction.
        """
        self.begin()
        try:
            with self.faults():
                done = work(self.connection)
        except BaseException:
            self.rollback()
            raise
        self.commit()
        return done

    def begin(self) -> None:
        """Begin a transaction that writes. Raises `StoreUnavailable`."""
        with self.faults():
            self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit. Raises `StoreUnavailable`, whose outcome is unknown where the disk failed."""
        try:
            with self.faults("unknown"):
                self.connection.execute("COMMIT")
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Undo what was not committed, if anything."""
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with self.faults():
                connection.execute("ROLLBACK")

    @contextmanager
    def faults(self, outcome: SendOutcome = "not sent") -> Iterator[None]:
        """Raise what SQLite says of the file as `StoreUnavailable`; of a statement as it is."""
        try:
            yield
        except sqlite3.Error as error:
            kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            if kind is None:
                raise
            sure = kind in {"full", "read only", "conflict"}  # then SQLite has written nothing
            raise StoreUnavailable(
                self.url, kind, str(error), "not sent" if sure else outcome
            ) from error

    # -- statements of a program ----------------------------------------------------

    @contextmanager
    def guarded(self) -> Iterator[sqlite3.Connection]:
        """The connection for a statement of a program, which may not end the transaction."""
        refused: list[int] = []

        def authorize(action: int, first: str | None, second: str | None, *_more: Any) -> int:
            table = second if action == sqlite3.SQLITE_ALTER_TABLE else first
            ours = action in _WRITING and (table or "").lower().startswith("irismq_")
            if action in _FORBIDDEN or ours:
                refused.append(action)
                return sqlite3.SQLITE_DENY
            return sqlite3.SQLITE_OK

        connection = self.connection
        connection.set_authorizer(authorize)
        try:
            with self.faults():
                yield connection
        except sqlite3.DatabaseError as error:
            if sqlite3.SQLITE_TRANSACTION in refused:
                raise StoreUnavailable(self.url, "ended", str(error)) from error
            raise
        finally:
            connection.set_authorizer(None)

    def interrupt(self) -> None:
        """Stop the statement that runs, if one does. From any thread."""
        if self._connection is not None:
            self._connection.interrupt()
