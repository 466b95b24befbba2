"""One client of a database in memory: it fills the port `StateStore`.

Each call runs as a task of the server, and the client waits for its answer. When the
connection is lost (`drop`), or the caller is cancelled, the server undoes what has not
come to its commit; what has goes on without a listener.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.ports.state_store import (
    LATER,
    VERSION_LEAP,
    OutboxBacklog,
    OutboxRow,
    StoredState,
    StoreInfo,
    StoreSizes,
)
from irismq_runtime.stores.decisions import right_states
from irismq_runtime.stores.last_fault import LastFault
from irismq_runtime.stores.memory.database import MemoryDatabase
from irismq_runtime.stores.migrations import check_form, check_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence

    from actors.clock import Clock
    from irismq_runtime.ports import TransportHealth
    from irismq_runtime.ports.state_store import (
        CommitOutcome,
        KeptAnswer,
        Right,
        RightState,
        StateCommit,
        StateKey,
        StoreTransaction,
    )
    from irismq_runtime.stores.memory.tables import Tables

__all__ = ["MemoryStore"]

_T = TypeVar("_T")
_URL: Final = "memory:"


class _ServerCall:
    """A call that runs at the server."""

    __slots__ = ("answer", "sent", "task")

    def __init__(self, task: asyncio.Task[Any], answer: asyncio.Future[Any]) -> None:
        self.task = task
        self.answer = answer
        self.sent = False

    def on_sent(self) -> None:
        self.sent = True

    def give_up(self) -> None:
        """Nobody listens any more: the server undoes it, unless it has come too far."""
        if not self.sent:
            self.task.cancel()


class MemoryStore:
    """A store that is gone with its `MemoryDatabase`. One loop.

    Args:
        database: The server; None: one of its own.
    """

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = database if database is not None else MemoryDatabase()
        #: In the order in which they began.
        self._calls: dict[_ServerCall, None] = {}
        self._last = LastFault()
        self._open = False

    # -- life ---------------------------------------------------------------

    async def open(self, namespace: str | None = "") -> StoreInfo:
        """See `StateStore.open`."""
        await self.database.statement("read")
        tables = self.database.tables
        if namespace is None:
            check_form(int(tables.namespace is not None), ("tables",))
        elif tables.namespace is None:
            tables.namespace = namespace
        else:
            check_namespace(tables.namespace, namespace)
        self._open = True
        return self.info

    async def close(self) -> None:
        """See `StateStore.close`."""
        self._open = False
        self.drop("the store was closed")

    @property
    def info(self) -> StoreInfo:
        """See `StateStore.info`."""
        tables = self.database.tables
        return StoreInfo(_URL, self.database.id, tables.epoch, tables.namespace or "")

    async def look(self) -> StoreInfo:
        """See `StateStore.look`."""
        await self.database.statement("read")
        return self.info

    def health(self) -> TransportHealth:
        """See `StateStore.health`."""
        return self._last.health()

    async def accept(self) -> StoreInfo:
        """See `StateStore.accept`."""
        await self.database.statement("change")
        self.database.tables.epoch += 1
        self.database.tables.version += VERSION_LEAP
        return self.info

    def drop(self, reason: str = "the connection was lost") -> None:
        """Lose the connection: every call that runs fails, with what is known of it."""
        calls, self._calls = self._calls, {}
        for call in calls:
            call.give_up()
            if not call.answer.done():
                call.answer.set_exception(_away(reason, unknown=call.sent))

    # -- reading and committing ----------------------------------------------

    async def load(self, keys: Sequence[StateKey]) -> list[StoredState]:
        """See `StateStore.load`."""

        def read(tables: Tables) -> list[StoredState]:
            return [tables.states.get(key) or StoredState(key) for key in keys]

        return await self._read(read)

    async def scan(self, address: str, after: str, limit: int) -> list[StoredState]:
        """See `StateStore.scan`."""

        def read(tables: Tables) -> list[StoredState]:
            first = after.encode()
            found = [
                stored
                for key, stored in tables.states.items()
                if key.address == address and stored.state is not None and key.key.encode() > first
            ]
            return sorted(found, key=lambda stored: stored.key.key.encode())[:limit]

        return await self._read(read)

    async def commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        """See `StateStore.commit`."""
        return await self._ask(lambda call: self.database.commit(commits, call.on_sent))

    async def begin(self, timeout: float) -> StoreTransaction:
        """See `StateStore.begin`; no statement can be run in it."""
        clock = self.database.clock
        return _NoTables(self, clock, clock.monotonic() + timeout)

    async def standing(self, key: StateKey, rights: Sequence[Right]) -> list[RightState]:
        """See `StateStore.standing`."""

        def read(tables: Tables) -> list[RightState]:
            found = tables.standing([(key, rights)])
            self.database.see_claims(rights, found)
            return list(right_states(key, rights, found))

        return await self._read(read)

    async def kept_answer(self, key: StateKey, ask_id: str) -> KeptAnswer | None:
        """See `StateStore.kept_answer`."""
        return await self._read(lambda tables: tables.answer(key, ask_id, self.database.now()))

    async def forget_handled(
        self, address: str, channel: str, age: float, limit: int = 1000
    ) -> int:
        """See `StateStore.forget_handled`."""

        def change(tables: Tables) -> int:
            return tables.forget_handled(address, channel, self.database.now() - age, limit)

        return await self._ask(lambda _call: self.database.change(change))

    # -- outbox rows ----------------------------------------------------------

    async def rows(self, ids: Sequence[bytes]) -> list[OutboxRow]:
        """See `StateStore.rows`."""
        return await self._read(
            lambda tables: [tables.rows[each] for each in ids if each in tables.rows]
        )

    async def rows_between(
        self, sender: StateKey, to: StateKey, before: int, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.rows_between`."""

        def read(tables: Tables) -> list[OutboxRow]:
            numbers = sorted(tables.order.get((sender, to), {}).items())
            return [tables.rows[row] for number, row in numbers if number < before][:limit]

        return await self._read(read)

    async def missing(self, address: str, overdue: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.missing`."""
        return await self._overdue(overdue, limit, lambda row: row.owned and row.to[0] == address)

    async def due(self, addresses: Collection[str], within: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.due`."""
        return await self._overdue(
            -within,
            limit,
            lambda row: row.owned and row.channel == LATER and row.to[0] in addresses,
        )

    async def release(self, ids: Sequence[bytes], channel: str) -> None:
        """See `StateStore.release`."""
        await self._change(ids, lambda row: replace(row, channel=channel))

    async def unconfirmed(
        self, senders: Collection[str], overdue: float, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.unconfirmed`."""
        return await self._overdue(
            overdue, limit, lambda row: not row.owned and row.sender[0] in senders
        )

    async def put_off(self, ids: Sequence[bytes], delay: float, *, tried: bool) -> None:
        """See `StateStore.put_off`."""

        def change(row: OutboxRow) -> OutboxRow:
            return replace(row, due=self.database.now() + delay, tries=row.tries + tried)

        await self._change(ids, change)

    async def forget(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.forget`."""
        return await self._change(ids, lambda _row: None)

    async def revive(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.revive`."""

        def change(row: OutboxRow) -> OutboxRow:
            now = self.database.now()
            return replace(row, dead=False, due=now, tries=0, expires=None) if row.dead else row

        dead = [row.id for row in await self.rows(ids) if row.dead]
        return await self._change(dead, change)

    async def waiting(self, address: str, limit: int, *, owned: bool) -> int:
        """See `StateStore.waiting`."""

        def meant(row: OutboxRow) -> bool:
            if owned:
                return row.owned and not row.dead and row.to.address == address
            return not row.owned and row.sender.address == address

        def read(tables: Tables) -> int:
            return min(limit, sum(map(meant, tables.rows.values())))

        return await self._read(read)

    async def outbox(self, address: str = "", limit: int = 1000) -> list[OutboxRow]:
        """See `StateStore.outbox`."""

        def read(tables: Tables) -> list[OutboxRow]:
            rows = [row for row in tables.rows.values() if address in {"", row.to.address}]
            return sorted(rows, key=lambda row: row.number)[:limit]

        return await self._read(read)

    async def readdress(self, rows: Sequence[OutboxRow]) -> int:
        """See `StateStore.readdress`."""
        given = {row.id: row for row in rows}

        def change(row: OutboxRow) -> OutboxRow:
            new = given[row.id]
            ordered = row.ordered and new.owned
            return replace(
                row, to=new.to, owned=new.owned, channel=new.channel, ordered=ordered, tries=0
            )

        waiting = [row.id for row in await self.rows(list(given)) if not row.dead]
        return await self._change(waiting, change)

    async def backlog(self) -> list[OutboxBacklog]:
        """See `StateStore.backlog`."""

        def read(tables: Tables) -> list[OutboxBacklog]:
            now = self.database.now()
            groups: dict[tuple[str, bool], list[OutboxRow]] = {}
            for row in tables.rows.values():
                groups.setdefault((row.to.address, row.owned), []).append(row)
            return [_backlog(*group, rows, now) for group, rows in sorted(groups.items())]

        return await self._read(read)

    async def sizes(self) -> StoreSizes:
        """See `StateStore.sizes`."""
        return await self._read(lambda tables: StoreSizes(len(tables.rows), len(tables.handled)))

    async def tidy(self, keep: float, limit: int = 1000) -> bool:
        """See `StateStore.tidy`."""

        def change(tables: Tables) -> bool:
            return tables.tidy(self.database.now(), keep, limit)

        return await self._ask(lambda _call: self.database.change(change))

    # -- how a call is made ----------------------------------------------------

    async def _read(self, read: Callable[[Tables], _T]) -> _T:
        return await self._ask(lambda _call: self.database.read(read), writing=False)

    async def _overdue(
        self, overdue: float, limit: int, wanted: Callable[[OutboxRow], bool]
    ) -> list[OutboxRow]:
        def read(tables: Tables) -> list[OutboxRow]:
            latest = self.database.now() - overdue
            rows = tables.rows.values()
            found = [row for row in rows if not row.dead and row.due <= latest and wanted(row)]
            return sorted(found, key=lambda row: row.due)[:limit]

        return await self._read(read)

    async def _change(
        self, ids: Iterable[bytes], change: Callable[[OutboxRow], OutboxRow | None]
    ) -> int:
        return await self._ask(lambda _call: self.database.change_rows(sorted(set(ids)), change))

    async def _ask(
        self, work: Callable[[_ServerCall], Coroutine[Any, Any, _T]], *, writing: bool = True
    ) -> _T:
        """Have the server do `work`, and wait for its answer."""
        if not self._open:
            raise _away("the store is not open", unknown=False)
        call = self._start(work)
        try:
            with self._last.noticing(writing=writing):
                answer: _T = await call.answer
        except asyncio.CancelledError:
            call.give_up()
            raise
        finally:
            self._calls.pop(call, None)
        return answer

    def _start(self, work: Callable[[_ServerCall], Coroutine[Any, Any, _T]]) -> _ServerCall:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        started: list[_ServerCall] = []

        async def run() -> _T:
            return await work(started[0])

        def tell(task: asyncio.Task[_T]) -> None:
            if answer.done():
                if not task.cancelled():
                    task.exception()  # nobody hears it: the connection is gone
            elif task.cancelled():
                answer.set_exception(_away("the server gave it up", unknown=False))
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        call = _ServerCall(loop.create_task(run()), answer)
        started.append(call)
        call.task.add_done_callback(tell)
        self._calls[call] = None
        return call


def _away(reason: str, *, unknown: bool) -> StoreUnavailable:
    return StoreUnavailable(_URL, "away", reason, "unknown" if unknown else "not sent")


def _backlog(address: str, owned: bool, rows: Sequence[OutboxRow], now: float) -> OutboxBacklog:
    waiting = [row for row in rows if not row.dead]
    oldest = min((row.due for row in waiting), default=now)
    return OutboxBacklog(
        address, owned, len(waiting), len(rows) - len(waiting), max(0.0, now - oldest)
    )


class _NoTables:
    """The transaction of a store that has no tables of one's own: it commits, and no more."""

    def __init__(self, store: MemoryStore, clock: Clock, deadline: float) -> None:
        self._store = store
        self._clock = clock
        self._deadline = deadline

    async def execute(self, _statement: str, *_values: Any) -> NoReturn:
        self._refuse()

    async def fetch(self, _statement: str, *_values: Any) -> NoReturn:
        self._refuse()

    async def commit(self, commit: StateCommit) -> CommitOutcome:
        if self._clock.monotonic() >= self._deadline:
            raise StoreUnavailable(_URL, "late", "its time is over")
        return (await self._store.commit([commit]))[0]

    async def rollback(self) -> None:
        return

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            "store", "the store in memory has no SQL", "use sqlite:///PATH or postgresql://…"
        )
