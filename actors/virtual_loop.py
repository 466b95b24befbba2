"""The loop of a simulation, as the code that runs on it sees it: it brings its own time.

Whoever is given no clock, no chance, no thread and no disk takes those of the machine; on a loop
that is a `VirtualLoop` it takes the loop's. Other loops are not asked, whatever attributes they
have.
"""

from __future__ import annotations

from asyncio import _get_running_loop as running_loop
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from actors.clock import Clock

__all__ = ["DatabaseFiles", "JobQueue", "VirtualLoop", "virtual_loop"]


class JobQueue(Protocol):
    """Where what a thread does waits for it, in order; None is the last."""

    def put(self, given: Any, /) -> None:
        """Have it done after all that was put before."""
        ...


class DatabaseFiles(Protocol):
    """The SQLite files of a machine. Blocking: for any thread."""

    def exists(self, path: Path) -> bool:
        """Return whether there is such a file."""
        ...

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open a file, which its owner alone can read where it is made.

        What is begun and ended is the caller's matter (`isolation_level=None`).

        Raises:
            sqlite3.Error: It is no database, or cannot be opened.
            OSError: It cannot be made.
        """
        ...


class VirtualLoop:
    """The base of a loop whose time, chance, threads and disk are not the machine's.

    Attributes:
        clock: Its time.
        databases: What its disk has.
    """

    clock: Clock
    databases: DatabaseFiles

    def new_random(self) -> random.Random:
        """Return a new generator."""
        raise NotImplementedError

    def begin_thread(self, do: Callable[[Any], object]) -> JobQueue:
        """Return where jobs are put, in place of a thread that calls `do` with each."""
        raise NotImplementedError


def virtual_loop() -> VirtualLoop | None:
    """Return the running loop if it is a virtual one."""
    loop: object = running_loop()
    return loop if isinstance(loop, VirtualLoop) else None
