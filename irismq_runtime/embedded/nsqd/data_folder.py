"""Where a broker keeps its messages: the store's disk, as it is given to it.

`DataFolder` is what the store and its server need of a disk, `DiskFolder` the machine's.
All calls are blocking, and made by one thread at a time.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.embedded.nsqd.directory import DirectoryLock
from irismq_runtime.embedded.nsqd.reserve import Reserve
from irismq_runtime.private_file import private_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DataFolder", "DiskFolder", "ReservedRoom"]

_FILE: Final = "nsqd.sqlite"


class ReservedRoom(Protocol):
    """Room that is kept for a full disk; see reserve.py. `size`: bytes kept now."""

    size: int

    def hold(self) -> bool:
        """Keep room, as much as there is; False: there is none. Raises `OSError`."""
        ...

    def release(self) -> None:
        """Give the room away."""
        ...


class DataFolder(Protocol):
    """One owner's folder: a database, room kept for it, and the lock on both."""

    #: As people are told of it.
    path: Path
    reserve: ReservedRoom

    def acquire(self, *, address: str, wall_time: float) -> None:
        """Take it, for the server at `address`. Raises `DataDirectoryError`."""
        ...

    def release(self) -> None:
        """Give it up. Idempotent."""
        ...

    def connect(self) -> sqlite3.Connection:
        """Open the database, made if it is missing. Raises `sqlite3.Error`, `OSError`."""
        ...

    def log_size(self) -> int:
        """Return the bytes of the database's log."""
        ...


class DiskFolder:
    """A folder on the machine's disk.

    Args:
        path: Where it is, or is to be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reserve: ReservedRoom = Reserve(path)
        self._lock = DirectoryLock(path)
        self._database = path / _FILE
        self._log = path / f"{_FILE}-wal"

    def acquire(self, *, address: str, wall_time: float) -> None:
        """See `DataFolder`."""
        self._lock.acquire(address=address, wall_time=wall_time)

    def release(self) -> None:
        """See `DataFolder`."""
        self._lock.release()

    def connect(self) -> sqlite3.Connection:
        """See `DataFolder`."""
        # Made by us and not by SQLite, whose log takes over the mode of the file.
        os.close(private_file(self._database))
        return sqlite3.connect(
            self._database, isolation_level=None, check_same_thread=False, cached_statements=32
        )

    def log_size(self) -> int:
        """See `DataFolder`."""
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0
