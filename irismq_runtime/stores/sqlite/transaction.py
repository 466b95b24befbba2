"""A transaction of a program's own on the connection that writes: `StateStore.begin`.

It holds the turn of all that writes until it ends: by its commit, by its rollback, or by
its time, whichever comes first.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import Committed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from actors.clock import Clock
    from irismq_runtime.errors import StoreFault
    from irismq_runtime.ports.state_store import CommitOutcome, StateCommit
    from irismq_runtime.stores.sqlite.file import SqliteFile
    from irismq_runtime.worker_thread import WorkerThread

__all__ = ["SqliteTransaction"]

_T = TypeVar("_T")


class SqliteTransaction:
    """One transaction, from `begin` to its end. On the loop.

    Args:
        file: The connection that writes.
        thread: The thread that it belongs to.
        turn: What whoever writes holds.
        make: Writes a commit in the transaction of a connection.
    """

    def __init__(
        self,
        file: SqliteFile,
        thread: WorkerThread,
        turn: asyncio.Lock,
        make: Callable[[sqlite3.Connection, StateCommit], CommitOutcome],
    ) -> None:
        self._file = file
        self._thread = thread
        self._turn = turn
        self._make = make
        self._over: tuple[StoreFault, str] | None = None
        self._statement = asyncio.Lock()

    async def begin(self, clock: Clock, timeout: float) -> None:
        """Begin when it is this one's turn; its time runs from then on."""
        await self._turn.acquire()
        try:
            await self._thread.call(self._file.begin)
        except BaseException:
            # Where the caller was cancelled the thread may begin it yet: it undoes it then.
            self._thread.call(self._file.rollback)
            self._turn.release()
            raise
        self._timer = clock.call_later(timeout, self._expire, timeout)

    async def execute(self, statement: str, *values: Any) -> int:
        """See `StoreTransaction.execute`."""

        def run(connection: sqlite3.Connection) -> int:
            return max(connection.execute(statement, values).rowcount, 0)

        return await self._run(run)

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """See `StoreTransaction.fetch`."""

        def run(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(statement, values).fetchall()

        return await self._run(run)

    async def commit(self, commit: StateCommit) -> CommitOutcome:
        """See `StoreTransaction.commit`."""

        def run() -> CommitOutcome:
            with self._file.faults():
                outcome = self._make(self._file.connection, commit)
            if isinstance(outcome, Committed):
                self._file.commit()
            return outcome

        self._check()
        async with self._statement:
            self._check()
            self._over = ("ended", "the transaction has ended")
            try:
                return await self._thread.call(run)
            finally:
                self._leave()

    async def rollback(self) -> None:
        """See `StoreTransaction.rollback`."""
        if self._over is None:
            self._over = ("ended", "the transaction has ended")
            self._leave()

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            with self._file.guarded() as connection:
                return work(connection)

        self._check()
        async with self._statement:
            self._check()
            try:
                return await self._thread.call(run)
            except StoreUnavailable as fault:
                if self._over is not None and fault.kind == "late":
                    self._check()
                if fault.kind == "ended":
                    await self.rollback()
                raise

    def _check(self) -> None:
        if self._over is not None:
            raise StoreUnavailable(self._file.url, *self._over)

    def _expire(self, timeout: float) -> None:
        if self._over is None:
            self._over = ("late", f"it was given {timeout:g} s")
            self._file.interrupt()
            self._leave()

    def _leave(self) -> None:
        """Undo what was not committed, and let the next one write."""
        self._timer.cancel()
        undone = self._thread.call(self._file.rollback)
        undone.add_done_callback(partial(_released, self._turn))


def _released(turn: asyncio.Lock, undone: asyncio.Future[None]) -> None:
    turn.release()
    if not undone.cancelled():
        undone.exception()  # what cannot be undone is gone with the connection that fails
