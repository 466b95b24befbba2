"""The port `StateStore` over a SQLite file: two threads, each with a connection.

One reads, one writes. Whatever writes goes one after another, in the order in which it
was asked for; a transaction of a program's own (`begin`) holds the others up until it
ends, which it does in its time. Reads see what is committed, and wait for nobody.
Several processes of a host may share a file: SQLite's own lock is between them.

A commit of several that fails because of one value is done again one by one, so that
only what has the value fails.
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from actors.clock import default_clock
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import CommitInvalid
from irismq_runtime.stores.decisions import check_commits, right_states
from irismq_runtime.stores.last_fault import LastFault
from irismq_runtime.stores.one_by_one import one_by_one
from irismq_runtime.stores.sqlite import commits as committing
from irismq_runtime.stores.sqlite import statements
from irismq_runtime.stores.sqlite.file import SqliteFile, default_files
from irismq_runtime.stores.sqlite.transaction import SqliteTransaction
from irismq_runtime.wire.ids import new_id
from irismq_runtime.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from actors.clock import Clock
    from actors.virtual_loop import DatabaseFiles
    from irismq_runtime.ports import TransportHealth
    from irismq_runtime.ports.state_store import (
        CommitOutcome,
        KeptAnswer,
        OutboxBacklog,
        OutboxRow,
        Right,
        RightState,
        StateCommit,
        StateKey,
        StoredState,
        StoreInfo,
        StoreSizes,
        StoreTransaction,
    )

__all__ = ["SqliteStore"]

_T = TypeVar("_T")


#: What Python's driver raises for a value, or SQLite for a row, that cannot be kept.
_BAD_VALUE: Final = (
    ValueError,
    OverflowError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class SqliteStore:
    """Durable state in a file. One loop.

    Args:
        path: The file; its folder must exist.
        clock: For the times of rows; its wall clock is that of the store.
        files: Where the file is; None: with the loop, or on the machine.
    """

    def __init__(
        self, path: Path, *, clock: Clock | None = None, files: DatabaseFiles | None = None
    ) -> None:
        self._url = f"sqlite:///{path}"
        self._clock = clock if clock is not None else default_clock()
        files = files if files is not None else default_files()
        self._reading = SqliteFile(path, self._url, files)
        self._writing = SqliteFile(path, self._url, files)
        self._reader: WorkerThread | None = None
        self._writer: WorkerThread | None = None
        self._turn = asyncio.Lock()
        self._info: StoreInfo | None = None
        self._last = LastFault()

    # -- life ---------------------------------------------------------------

    async def open(self, namespace: str | None = "") -> StoreInfo:
        """See `StateStore.open`."""
        loop = asyncio.get_running_loop()
        reader = self._reader = WorkerThread("irismq-store-read", loop)
        writer = self._writer = WorkerThread("irismq-store-write", loop)
        try:
            await writer.call(partial(self._writing.open, make=namespace is not None))
            if namespace is None:
                await writer.call(partial(self._writing.read, statements.check))
            else:
                prepare = partial(statements.prepare, namespace=namespace, new_id=new_id())
                await writer.call(partial(self._writing.write, prepare))
            await reader.call(self._reading.open)
            return await self.look()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See `StateStore.close`."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader is None or writer is None:
            return
        closing = [reader.call(self._reading.close), writer.call(self._writing.close)]
        reader.end()
        writer.end()
        await asyncio.gather(*closing)

    @property
    def info(self) -> StoreInfo:
        """See `StateStore.info`."""
        if self._info is None:
            raise self._not_open()
        return self._info

    def health(self) -> TransportHealth:
        """See `StateStore.health`."""
        return self._last.health()

    async def accept(self) -> StoreInfo:
        """See `StateStore.accept`."""
        await self._write(statements.accept)
        return await self.look()

    async def look(self) -> StoreInfo:
        """See `StateStore.look`."""
        self._info = await self._read(partial(statements.info, url=self._url))
        return self._info

    # -- reading and committing ----------------------------------------------

    async def load(self, keys: Sequence[StateKey]) -> list[StoredState]:
        """See `StateStore.load`."""
        return await self._read(partial(statements.load, keys=keys))

    async def scan(self, address: str, after: str, limit: int) -> list[StoredState]:
        """See `StateStore.scan`."""
        return await self._read(partial(statements.scan, address=address, after=after, limit=limit))

    async def commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        """See `StateStore.commit`."""
        check_commits(commits)
        return await one_by_one(self._commit, commits, _BAD_VALUE)

    async def _commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        outcomes, epoch = await self._write(partial(self._make, commits))
        if epoch != self.info.epoch:  # somebody else has accepted that it went back
            self._info = replace(self.info, epoch=epoch)
        return outcomes

    def _make(
        self, commits: Sequence[StateCommit], connection: sqlite3.Connection
    ) -> tuple[list[CommitOutcome], int]:
        """Make `commits` in the transaction of `connection`, on its thread."""
        return committing.commit(connection, commits, self._clock.time(), self._url)

    def _make_one(self, connection: sqlite3.Connection, commit: StateCommit) -> CommitOutcome:
        try:
            return self._make([commit], connection)[0][0]
        except _BAD_VALUE as error:
            return CommitInvalid(error)

    async def begin(self, timeout: float) -> StoreTransaction:
        """See `StateStore.begin`."""
        thread = self._open(self._writer)
        with self._last.noticing(writing=False):
            transaction = SqliteTransaction(self._writing, thread, self._turn, self._make_one)
            await transaction.begin(self._clock, timeout)
            return transaction

    async def standing(self, key: StateKey, rights: Sequence[Right]) -> list[RightState]:
        """See `StateStore.standing`."""
        asked = [(key, rights)]
        found = await self._read(
            lambda connection: committing.standing(connection, asked, self._url)
        )
        return list(right_states(key, rights, found))

    async def kept_answer(self, key: StateKey, ask_id: str) -> KeptAnswer | None:
        """See `StateStore.kept_answer`."""
        now = self._clock.time()
        return await self._read(partial(statements.kept_answer, key=key, ask_id=ask_id, now=now))

    async def forget_handled(
        self, address: str, channel: str, age: float, limit: int = 1000
    ) -> int:
        """See `StateStore.forget_handled`."""
        oldest = self._clock.time() - age
        return await self._write(
            lambda connection: statements.forget_handled(
                connection, address, channel, oldest, limit
            )
        )

    # -- outbox rows ----------------------------------------------------------

    async def rows(self, ids: Sequence[bytes]) -> list[OutboxRow]:
        """See `StateStore.rows`."""
        return await self._read(partial(statements.rows, ids=ids))

    async def rows_between(
        self, sender: StateKey, to: StateKey, before: int, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.rows_between`."""
        return await self._read(
            partial(statements.rows_between, sender=sender, to=to, before=before, limit=limit)
        )

    async def missing(self, address: str, overdue: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.missing`."""
        latest = self._clock.time() - overdue
        return await self._read(
            partial(statements.missing, address=address, latest=latest, limit=limit)
        )

    async def due(self, addresses: Collection[str], within: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.due`."""
        latest = self._clock.time() + within
        return await self._read(
            partial(statements.due, addresses=addresses, latest=latest, limit=limit)
        )

    async def release(self, ids: Sequence[bytes], channel: str) -> None:
        """See `StateStore.release`."""
        await self._write(partial(statements.release, ids=ids, channel=channel))

    async def unconfirmed(
        self, senders: Collection[str], overdue: float, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.unconfirmed`."""
        latest = self._clock.time() - overdue
        return await self._read(
            partial(statements.unconfirmed, senders=senders, latest=latest, limit=limit)
        )

    async def put_off(self, ids: Sequence[bytes], delay: float, *, tried: bool) -> None:
        """See `StateStore.put_off`."""
        due = self._clock.time() + delay
        await self._write(partial(statements.put_off, ids=ids, due=due, tried=tried))

    async def forget(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.forget`."""
        return await self._write(partial(statements.forget, ids=ids))

    async def revive(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.revive`."""
        return await self._write(partial(statements.revive, ids=ids, now=self._clock.time()))

    async def waiting(self, address: str, limit: int, *, owned: bool) -> int:
        """See `StateStore.waiting`."""
        return await self._read(
            partial(statements.waiting, address=address, limit=limit, owned=owned)
        )

    async def outbox(self, address: str = "", limit: int = 1000) -> list[OutboxRow]:
        """See `StateStore.outbox`."""
        return await self._read(partial(statements.outbox, address=address, limit=limit))

    async def readdress(self, rows: Sequence[OutboxRow]) -> int:
        """See `StateStore.readdress`."""
        return await self._write(partial(statements.readdress, given=rows))

    async def backlog(self) -> list[OutboxBacklog]:
        """See `StateStore.backlog`."""
        return await self._read(partial(statements.backlog, now=self._clock.time()))

    async def sizes(self) -> StoreSizes:
        """See `StateStore.sizes`."""
        return await self._read(statements.sizes)

    async def tidy(self, keep: float, limit: int = 1000) -> bool:
        """See `StateStore.tidy`."""
        now = self._clock.time()
        return await self._write(partial(statements.tidy, now=now, keep=keep, limit=limit))

    # -- how a call is made ----------------------------------------------------

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._last.noticing(writing=False):
            return await self._open(self._reader).call(partial(self._reading.read, work))

    async def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._last.noticing(writing=True):
            async with self._turn:
                return await self._open(self._writer).call(partial(self._writing.write, work))

    def _open(self, thread: WorkerThread | None) -> WorkerThread:
        if thread is None:
            raise self._not_open()
        return thread

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(self._url, "away", "the store is not open")
