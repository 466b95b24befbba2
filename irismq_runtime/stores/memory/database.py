"""The server of the store in memory: tables, locks by row, transactions in steps.

Between two steps `step` is awaited, with the name of the one that comes: there others
go on, and there a test kills. What is written is seen by nobody before "commit", and by
everybody after it. A transaction that is cancelled or fails before has done nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from actors.clock import default_clock
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, CommitInvalid, Committed, OwnedRight
from irismq_runtime.stores.decisions import check_commits, latest_claim, refusal
from irismq_runtime.stores.memory.locks import RowLocks
from irismq_runtime.stores.memory.tables import Tables
from irismq_runtime.wire.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from actors.clock import Clock
    from irismq_runtime.errors import StoreFault
    from irismq_runtime.ports.state_store import (
        CommitOutcome,
        OutboxRow,
        Right,
        StateCommit,
        StateKey,
    )
    from irismq_runtime.stores.decisions import Found, Standing

__all__ = ["STEPS", "MemoryDatabase"]

_T = TypeVar("_T")
#: The steps of a commit, in order. A connection that is lost before "commit" has
#: undone it; from "committed" on it is written although nobody hears of it. In between
#: nobody knows: the commit was sent, and lands when the server comes to it.
STEPS: Final = ("begin", "lock", "insert", "rights", "commit", "committed")


async def _next_turn(_step: str) -> None:
    await asyncio.sleep(0)


class MemoryDatabase:
    """What outlives its clients, like a server does. One loop.

    Args:
        clock: For the times of rows. Its wall clock alone is read.
        step: Awaited before each step of a transaction and before each other statement
            ("read", "change"), with its name.
        store_id: The 16 bytes that tell this store from others; None: new ones.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        step: Callable[[str], Awaitable[None]] = _next_turn,
        store_id: bytes | None = None,
    ) -> None:
        self.id = new_id() if store_id is None else store_id
        self.step = step
        self.tables = Tables()
        #: What is wrong with the server: its kind and a reason. None: nothing.
        self.fault: tuple[StoreFault, str] | None = None
        self.clock = clock if clock is not None else default_clock()
        self._locks = RowLocks()

    def now(self) -> float:
        """The time of the store, seconds since the epoch."""
        return self.clock.time()

    def backup(self) -> Tables:
        """What is committed at this moment, to be given to `restore`."""
        return self.tables.copy()

    def restore(self, backup: Tables) -> None:
        """Go back in time: what was committed after the backup never was."""
        self.tables = backup.copy()

    def check(self) -> None:
        """Raise `StoreUnavailable` while the server has a fault."""
        if self.fault is not None:
            raise StoreUnavailable("memory:", *self.fault)

    async def statement(self, name: str) -> None:
        """Come to the next statement: others go first, and it may fail here."""
        await self.step(name)
        self.check()

    async def commit(
        self, commits: Sequence[StateCommit], sent: Callable[[], None]
    ) -> list[CommitOutcome]:
        """Make `commits` in one transaction; `sent` is called when its commit is on its way."""
        check_commits(commits)
        transaction = _Transaction(self, commits)
        try:
            return await transaction.run(sent)
        finally:
            transaction.end()

    async def read(self, read: Callable[[Tables], _T]) -> _T:
        """Run one query: what it sees is what is committed when it runs."""
        await self.statement("read")
        return read(self.tables)

    async def change(self, change: Callable[[Tables], _T]) -> _T:
        """Run one statement that changes what no transaction locks."""
        await self.statement("change")
        return change(self.tables)

    async def change_rows(
        self, ids: Sequence[bytes], change: Callable[[OutboxRow], OutboxRow | None]
    ) -> int:
        """Change the rows of `ids`, which are sorted, or delete where None; how many there were."""
        await self.statement("change")
        locked: list[bytes] = []
        try:
            for row_id in ids:
                if row_id in self.tables.rows:
                    await self.lock(row_id)
                    locked.append(row_id)
            found = [row for each in locked if (row := self.tables.remove(each)) is not None]
            for row in found:
                if (changed := change(row)) is not None:
                    self.tables.add(changed)
            return len(found)
        finally:
            for row_id in locked:
                self.unlock(row_id)

    def see_claims(self, rights: Sequence[Right], standing: Standing) -> None:
        """Raise `StoreUnavailable` where a right shows that the store went back in time."""
        if latest_claim(rights, standing.rows) > self.tables.version:
            raise StoreUnavailable("memory:", "went back", "a message is newer than the store")

    async def lock(self, row: Hashable) -> None:
        """Lock a row for a transaction, which gives it back by `unlock`."""
        await self._locks.take(row)

    def unlock(self, row: Hashable) -> None:
        """Give the lock of a row to whoever waits for it."""
        self._locks.give_back(row)


class _Transaction:
    """One transaction: what it has locked and found so far."""

    def __init__(self, database: MemoryDatabase, commits: Sequence[StateCommit]) -> None:
        self._database = database
        self._commits = commits
        self._locked: list[Hashable] = []
        self._found: dict[StateKey, Found] = {}

    async def run(self, sent: Callable[[], None]) -> list[CommitOutcome]:
        database = self._database
        await database.statement("begin")
        keys = {commit.key: commit.version for commit in self._commits}
        # In one order for everybody, so that no two wait for each other.
        await database.statement("lock")
        for key in sorted(key for key, version in keys.items() if version != ABSENT):
            await self._lock_existing(key)
        await database.statement("insert")
        for key in sorted(key for key, version in keys.items() if version == ABSENT):
            await self._insert(key)
        await database.statement("rights")
        standing = await self._rights()
        refused = [refusal(each, self._found[each.key], standing) for each in self._commits]
        sent()
        await database.statement("commit")
        tables, now = database.tables, database.now()
        tables.version += 1
        outcomes: list[CommitOutcome] = []
        for commit, reason in zip(self._commits, refused, strict=True):
            if reason is None and (error := tables.bad_value(commit)) is not None:
                outcomes.append(CommitInvalid(error))
            elif reason is None:
                tables.write(commit, tables.version, now)
                outcomes.append(Committed(tables.version))
            else:
                outcomes.append(reason)
        self.end()
        await database.statement("committed")
        return outcomes

    async def _lock_existing(self, key: StateKey) -> None:
        """A row that is not there is not waited for; one that is, is read once it is ours."""
        if key in self._database.tables.states:
            await self._take(key)
        self._found[key] = self._database.tables.found(key)

    async def _insert(self, key: StateKey) -> None:
        """Whoever inserts the same key first is waited for; is it there then, it is theirs."""
        await self._take(key)
        self._found[key] = self._database.tables.found(key)

    async def _rights(self) -> Standing:
        tables = self._database.tables
        claimed: list[Right] = [right for each in self._commits for right in each.rights]
        for row_id in sorted(right.id for right in claimed if isinstance(right, OwnedRight)):
            if row_id in tables.rows:
                await self._take(row_id)
        tables = self._database.tables
        standing = tables.standing([(each.key, each.rights) for each in self._commits])
        self._database.see_claims(claimed, standing)
        return standing

    async def _take(self, row: Hashable) -> None:
        await self._database.lock(row)
        self._locked.append(row)

    def end(self) -> None:
        """Give back all locks. Idempotent."""
        while self._locked:
            self._database.unlock(self._locked.pop())
