"""The port `StateStore` over a PostgreSQL database.

A call borrows a connection for as long as it takes. A transaction whose outcome nobody
hears (the connection is lost, or its time is over, after COMMIT was sent) is told as
unknown; before that, closing the connection undoes it. Where others were in the way
(a deadlock, a serialization failure) it is done again a few times.

The server tells what it is: another one, or one that took over from its primary and
may lack what that had confirmed, is not used until somebody accepts it (`accept`).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.clock import default_clock
from irismq_runtime.errors import ConfigError, NotConnected, StoreUnavailable
from irismq_runtime.ports.state_store import (
    LATER,
    RESULTS_KNOWN,
    KeptAnswer,
    OutboxBacklog,
    OutboxRow,
    StateKey,
    StoredState,
    StoreInfo,
    StoreSizes,
)
from irismq_runtime.stores.decisions import check_commits, order_pair, pair_of_row, right_states
from irismq_runtime.stores.last_fault import LastFault
from irismq_runtime.stores.one_by_one import one_by_one
from irismq_runtime.stores.postgres import commits as committing
from irismq_runtime.stores.postgres.commits import columns
from irismq_runtime.stores.postgres.connections import Connections
from irismq_runtime.stores.postgres.faults import BAD_VALUE, FAULTS, fault_of, reason_of
from irismq_runtime.stores.postgres.schema import check, prepare
from irismq_runtime.stores.postgres.statements import Statements
from irismq_runtime.stores.postgres.transaction import BEGIN, PostgresTransaction, changed
from irismq_runtime.stores.writes import outbox_row
from irismq_runtime.wire.ids import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from actors.clock import Clock
    from irismq_runtime.ports import TransportHealth
    from irismq_runtime.ports.state_store import (
        CommitOutcome,
        Right,
        RightState,
        StateCommit,
        StoreTransaction,
    )
    from irismq_runtime.stores.decisions import Standing
    from irismq_runtime.stores.postgres.commits import Made
    from irismq_runtime.stores.postgres.connections import Connection
    from irismq_runtime.stores.postgres.url import PostgresUrl

__all__ = ["PostgresStore"]

_T = TypeVar("_T")
#: Connections at once: for what the runtime does, and for transactions of a program's own.
_CONNECTIONS: Final = 4
#: How often a transaction is done that others are in the way of.
_ATTEMPTS: Final = 5


class PostgresStore:
    """Durable state in a PostgreSQL database. One loop.

    Args:
        target: The database.
        clock: For the time that transactions of a program's own have.
    """

    def __init__(self, target: PostgresUrl, *, clock: Clock | None = None) -> None:
        self._target = target
        self._clock = clock if clock is not None else default_clock()
        self._statements = Statements(target.schema)
        self._connections = Connections(target, _CONNECTIONS)
        self._own = Connections(target, _CONNECTIONS)
        self._info: StoreInfo | None = None
        self._last = LastFault()
        #: What the server was when the store was made, or accepted last.
        self._accepted = ""

    # -- life ---------------------------------------------------------------

    async def open(self, namespace: str | None = "") -> StoreInfo:
        """See `StateStore.open`."""
        self._connections.open()
        self._own.open()
        try:
            async with self._connections.lent() as connection:
                if namespace is None:
                    await check(connection, self._statements)
                else:
                    identity = self._connections.identity
                    await prepare(connection, self._statements, namespace, new_id(), identity)
                return await self._look(connection)
        except (StoreUnavailable, *FAULTS) as error:
            await self.close()
            cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
            raise self._refused(cause or error) from error
        except BaseException:
            await self.close()
            raise

    def _refused(self, error: BaseException) -> Exception:
        """What keeps a store from being opened, for whoever gave its URL."""
        where = self._target.shown
        if getattr(error, "sqlstate", None) == "42501":
            remedy = f"let its user create in the database, or own the schema {self._target.schema}"
            return ConfigError("store", f"{where}: {reason_of(error)}", remedy)
        return NotConnected(f"store {where}", reason_of(error))

    async def close(self) -> None:
        """See `StateStore.close`."""
        await self._connections.close()
        await self._own.close()

    @property
    def info(self) -> StoreInfo:
        """See `StateStore.info`."""
        if self._info is None:
            raise StoreUnavailable(self._target.shown, "away", "the store is not open")
        return self._info

    def health(self) -> TransportHealth:
        """See `StateStore.health`."""
        return self._last.health()

    async def accept(self) -> StoreInfo:
        """See `StateStore.accept`."""
        async with self._connections.lent() as connection:
            async with connection.transaction():
                await connection.execute(self._statements["leap"])
                await connection.execute(self._statements["accept"])
                await connection.execute(
                    self._statements["note"], "identity", self._connections.identity
                )
            return await self._look(connection)

    async def look(self) -> StoreInfo:
        """See `StateStore.look`."""
        return await self._with(self._look, writing=False)

    async def _look(self, connection: Connection) -> StoreInfo:
        facts = dict(await connection.fetch(self._statements["facts"]))
        self._accepted = facts["identity"]
        self._info = StoreInfo(
            self._target.shown, bytes.fromhex(facts["id"]), int(facts["epoch"]), facts["namespace"]
        )
        return self._info

    # -- reading and committing ----------------------------------------------

    async def load(self, keys: Sequence[StateKey]) -> list[StoredState]:
        """See `StateStore.load`."""
        addresses, names = [key.address for key in keys], [key.key for key in keys]
        rows = await self._fetch("load", addresses, names)
        found = {key: StoredState(key, *row[2:]) for row in rows for key in [StateKey(*row[:2])]}
        return [found.get(key) or StoredState(key) for key in keys]

    async def scan(self, address: str, after: str, limit: int) -> list[StoredState]:
        """See `StateStore.scan`."""
        rows = await self._fetch("scan", address, after, limit)
        return [StoredState(StateKey(address, row[0]), *row[1:]) for row in rows]

    async def commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        """See `StateStore.commit`."""
        check_commits(commits)
        with self._last.noticing(writing=True):
            return await one_by_one(self._commit, commits, BAD_VALUE) if commits else []

    async def _commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        attempts = 1
        while True:
            try:
                return await self._commit_once(commits)
            except StoreUnavailable as fault:
                if fault.kind != "conflict" or attempts == _ATTEMPTS:
                    raise
            attempts += 1

    async def _commit_once(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        sent = False
        try:
            async with self._lent(self._connections) as connection:
                await connection.execute(BEGIN)
                made = await self._make(connection, commits)
                sent = True
                await connection.execute("COMMIT")
        except FAULTS as error:
            raise self._fault(error, committing=sent) from error
        await self._see_epoch(made.epoch)
        return made.outcomes

    async def _make(self, connection: Connection, commits: Sequence[StateCommit]) -> Made:
        return await committing.commit(connection, self._statements, commits, self._target.shown)

    async def _see_epoch(self, epoch: int) -> None:
        """Somebody else may have accepted that the store went back."""
        if epoch and epoch != self.info.epoch:
            async with self._connections.lent() as connection:
                await self._look(connection)

    async def begin(self, timeout: float) -> StoreTransaction:
        """See `StateStore.begin`."""
        with self._last.noticing(writing=False):
            transaction = PostgresTransaction(self._target.shown, self._make, self._fault)
            await transaction.begin(self._lent(self._own), self._clock, timeout)
            return transaction

    async def standing(self, key: StateKey, rights: Sequence[Right]) -> list[RightState]:
        """See `StateStore.standing`."""

        async def ask(connection: Connection) -> Standing:
            return await committing.standing(
                connection, self._statements, [(key, rights)], self._target.shown, lock=False
            )

        return list(right_states(key, rights, await self._with(ask, writing=False)))

    async def kept_answer(self, key: StateKey, ask_id: str) -> KeptAnswer | None:
        """See `StateStore.kept_answer`."""
        rows = await self._fetch("kept_answer", *key, ask_id)
        return KeptAnswer(*rows[0]) if rows else None

    async def forget_handled(
        self, address: str, channel: str, age: float, limit: int = 1000
    ) -> int:
        """See `StateStore.forget_handled`."""
        return await self._change("forget_handled", address, channel, age, limit)

    # -- outbox rows ----------------------------------------------------------

    async def rows(self, ids: Sequence[bytes]) -> list[OutboxRow]:
        """See `StateStore.rows`."""
        return await self._outbox("rows", ids)

    async def rows_between(
        self, sender: StateKey, to: StateKey, before: int, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.rows_between`."""
        pair = order_pair(sender, to)
        return await self._outbox("rows_between", pair, before, *sender, *to, limit)

    async def missing(self, address: str, overdue: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.missing`."""
        return await self._outbox("missing", address, overdue, limit)

    async def due(self, addresses: Collection[str], within: float, limit: int) -> list[OutboxRow]:
        """See `StateStore.due`."""
        return await self._outbox("due", list(addresses), within, limit, LATER)

    async def release(self, ids: Sequence[bytes], channel: str) -> None:
        """See `StateStore.release`."""
        await self._change("release", ids, channel)

    async def unconfirmed(
        self, senders: Collection[str], overdue: float, limit: int
    ) -> list[OutboxRow]:
        """See `StateStore.unconfirmed`."""
        return await self._outbox("unconfirmed", list(senders), overdue, limit)

    async def put_off(self, ids: Sequence[bytes], delay: float, *, tried: bool) -> None:
        """See `StateStore.put_off`."""
        await self._change("put_off", ids, delay, int(tried))

    async def forget(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.forget`."""
        return await self._change("forget", ids)

    async def revive(self, ids: Sequence[bytes]) -> int:
        """See `StateStore.revive`."""
        return await self._change("revive", ids)

    async def waiting(self, address: str, limit: int, *, owned: bool) -> int:
        """See `StateStore.waiting`."""
        (row,) = await self._fetch("waiting" if owned else "untaken", address, limit)
        count: int = row[0]
        return count

    async def outbox(self, address: str = "", limit: int = 1000) -> list[OutboxRow]:
        """See `StateStore.outbox`."""
        return await self._outbox("outbox", address, limit)

    async def readdress(self, rows: Sequence[OutboxRow]) -> int:
        """See `StateStore.readdress`."""
        given = [(row.id, *row.to, row.owned, row.channel, pair_of_row(row)) for row in rows]
        return await self._change("readdress", *columns(given, 6))

    async def backlog(self) -> list[OutboxBacklog]:
        """See `StateStore.backlog`."""
        return [OutboxBacklog(*row) for row in await self._fetch("backlog")]

    async def sizes(self) -> StoreSizes:
        """See `StateStore.sizes`."""
        return StoreSizes(*(await self._fetch("sizes"))[0])

    async def tidy(self, keep: float, limit: int = 1000) -> bool:
        """See `StateStore.tidy`."""
        gone = [
            await self._change("tidy_handled", keep, limit),
            await self._change("tidy_ended", keep, limit),
            await self._change("tidy_results", min(keep, RESULTS_KNOWN), limit),
            await self._change("empty_answers", limit),
            await self._change("tidy_answers", keep, limit),
        ]
        return max(gone) >= limit

    # -- how a call is made ----------------------------------------------------

    async def _outbox(self, name: str, *values: Any) -> list[OutboxRow]:
        return [outbox_row(tuple(row)) for row in await self._fetch(name, *values)]

    async def _fetch(self, name: str, *values: Any) -> list[Any]:
        async def ask(connection: Connection) -> list[Any]:
            return await connection.fetch(self._statements[name], *values)

        return await self._with(ask, writing=False)

    async def _change(self, name: str, *values: Any) -> int:
        """Run a statement that changes rows, in a transaction of its own; how many."""

        async def ask(connection: Connection) -> int:
            return changed(await connection.execute(self._statements[name], *values))

        return await self._with(ask, writing=True)

    async def _with(self, work: Callable[[Connection], Awaitable[_T]], *, writing: bool) -> _T:
        with self._last.noticing(writing=writing):
            try:
                async with self._lent(self._connections) as connection:
                    return await work(connection)
            except FAULTS as error:
                raise self._fault(error, committing=writing) from error

    @asynccontextmanager
    async def _lent(self, connections: Connections) -> AsyncIterator[Connection]:
        """A connection to a server that is what it was, or was accepted as what it is."""
        async with connections.lent() as connection:
            identity = connections.identity
            if identity != self._accepted:
                await self._look(connection)
            if identity != self._accepted:
                raise StoreUnavailable(
                    self._target.shown,
                    "went back",
                    f"the server was {self._accepted or 'unknown'}, and is {identity or 'unknown'}",
                )
            yield connection

    def _fault(self, error: Exception, *, committing: bool) -> Exception:
        """What to raise for `error`: the fault that it is, or itself."""
        return fault_of(self._target.shown, error, committing=committing) or error
