"""The SQLite files of a simulated host that a program opens by their path.

They are real files, in a folder that is removed with the simulation, so that locks, logs and
what a reader sees beside a writer are SQLite's own. Whoever opens one here has its commits on
the disk itself when they return (the store of durable state does): so the loss of power takes
nothing but what was not committed, as a kill does, and no time is spent on syncing for real.

A connection of a process that was killed is closed before the next one is opened.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.simulation.sqlite_connection import ToldConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.simulation.disk import SimulatedDisk
    from irismq_runtime.simulation.loop import SimulatedLoop

__all__ = ["DiskDatabases"]

_OUTBOX: Final = "SELECT id, due FROM irismq_outbox WHERE NOT dead"


class _FileConnection(ToldConnection):
    """A connection to a file."""

    disk: SimulatedDisk

    @property
    def disk_is_full(self) -> bool:
        return self.disk.full

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        if sql.upper().startswith("PRAGMA SYNCHRONOUS"):
            sql = "PRAGMA synchronous = OFF"  # nobody's power is lost for real
        return super().execute(sql, parameters)


class DiskDatabases:
    """Fills `actors.virtual_loop.DatabaseFiles` for one host.

    Args:
        disk: What they are on.
    """

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[Path, Path] = {}
        self._connections: dict[_FileConnection, SimulatedLoop | None] = {}

    def exists(self, path: Path) -> bool:
        """See `DatabaseFiles`."""
        return path in self._files

    def connect(self, path: Path) -> sqlite3.Connection:
        """See `DatabaseFiles`."""
        self._close_those_of_the_dead()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="irismq-simulation-")
        place = self._files.setdefault(path, Path(self._folder.name, f"{len(self._files)}.sqlite"))
        connection = _FileConnection(
            place, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        connection.disk = self._disk
        connection.execute("PRAGMA synchronous = OFF")
        self._connections[connection] = self._disk.context.running
        return connection

    def outbox(self) -> Iterator[tuple[bytes, float]]:
        """Yield the id of each message that a store here has yet to send, and when it is due.

        What is committed; a time is one of the store's wall clock. What was put aside is not
        among them.
        """
        for file in self._files.values():
            connection = sqlite3.Connection(file, isolation_level=None)
            # One that holds no store has no such table.
            with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
                yield from connection.execute(_OUTBOX).fetchall()

    def _close_those_of_the_dead(self) -> None:
        for connection, owner in list(self._connections.items()):
            if owner is None or not owner.alive:
                del self._connections[connection]
                connection.close()

    def destroy(self) -> None:
        """The simulation is over."""
        while self._connections:
            self._connections.popitem()[0].close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()
