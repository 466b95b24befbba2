"""A transaction of a program's own on a connection of its own: `StateStore.begin`.

Before the connection goes back, what the program has set on it is reset.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import CommitInvalid, Committed
from irismq_runtime.stores.postgres.connections import closed_meanwhile
from irismq_runtime.stores.postgres.faults import BAD_VALUE, FAULTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.errors import StoreFault
    from irismq_runtime.ports.state_store import CommitOutcome, StateCommit
    from irismq_runtime.stores.postgres.commits import Made
    from irismq_runtime.stores.postgres.connections import Connection

__all__ = ["BEGIN", "PostgresTransaction", "changed"]

_T = TypeVar("_T")
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def changed(status: str) -> int:
    """How many rows a statement changed, from what the server says of it ("DELETE 5")."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdecimal() and not status.startswith("SELECT") else 0


class _FaultOf(Protocol):
    """What to raise for an error of the driver."""

    def __call__(self, error: Exception, *, committing: bool) -> Exception: ...


class PostgresTransaction:
    """One transaction, from `begin` to its end. On the loop.

    Args:
        store: The URL of the store, without a password.
        make: Writes commits in the transaction of a connection.
        fault: What to raise for an error of the driver.
    """

    _connection: Connection
    _timer: TimerHandle

    def __init__(
        self,
        store: str,
        make: Callable[[Connection, Sequence[StateCommit]], Awaitable[Made]],
        fault: _FaultOf,
    ) -> None:
        self._store = store
        self._make = make
        self._fault = fault
        self._over: tuple[StoreFault, str] | None = None
        self._lent = AsyncExitStack()
        self._statement = asyncio.Lock()

    async def begin(
        self, lent: AbstractAsyncContextManager[Connection], clock: Clock, timeout: float
    ) -> None:
        """Begin on a connection that is lent until the end; its time runs from then on."""
        try:
            self._connection = await self._lent.enter_async_context(lent)
            await self._connection.execute(BEGIN)
        except BaseException as error:
            await self._lent.aclose()
            if isinstance(error, FAULTS):
                raise self._fault(error, committing=False) from error
            raise
        self._timer = clock.call_later(timeout, self._expire, timeout)

    async def execute(self, statement: str, *values: Any) -> int:
        """See `StoreTransaction.execute`."""

        async def run() -> int:
            prepared = await self._connection.prepare(statement)
            await prepared.fetch(*values)
            return changed(prepared.get_statusmsg() or "")

        return await self._run(run)

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """See `StoreTransaction.fetch`."""

        async def run() -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await self._connection.fetch(statement, *values)]

        return await self._run(run)

    async def commit(self, commit: StateCommit) -> CommitOutcome:
        """See `StoreTransaction.commit`."""
        async with self._statement:
            self._check()
            self._over = ("ended", "the transaction has ended")
            sent = False
            try:
                with closed_meanwhile(self._connection):
                    [outcome] = (await self._make(self._connection, [commit])).outcomes
                    if not isinstance(outcome, Committed):
                        await self._connection.execute("ROLLBACK")
                        return outcome
                    sent = True
                    await self._connection.execute("COMMIT")
            except BAD_VALUE as error:
                return CommitInvalid(error)
            except FAULTS as error:
                raise self._fault(error, committing=sent) from error
            else:
                return outcome
            finally:
                await self._end()

    async def rollback(self) -> None:
        """See `StoreTransaction.rollback`."""
        if self._over is None:
            self._over = ("ended", "the transaction has ended")
        async with self._statement:
            await self._end()

    async def _run(self, run: Callable[[], Awaitable[_T]]) -> _T:
        async with self._statement:
            self._check()
            try:
                with closed_meanwhile(self._connection):
                    found = await run()
                    goes_on = self._connection.is_in_transaction()
            except FAULTS as error:
                self._check()
                raise self._fault(error, committing=False) from error
            if not goes_on:
                self._over = ("ended", "a statement has ended the transaction")
                self._check()
            return found

    def _check(self) -> None:
        if self._over is not None:
            raise StoreUnavailable(self._store, *self._over)

    def _expire(self, timeout: float) -> None:
        if self._over is None:
            self._over = ("late", f"it was given {timeout:g} s")
            self._connection.terminate()  # and so the server undoes it

    async def _end(self) -> None:
        """Give the connection back as it was, or not at all. Idempotent."""
        self._timer.cancel()
        connection = self._connection
        with suppress(*FAULTS), closed_meanwhile(connection):
            if not connection.is_closed():
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
                await connection.reset()
        await self._lent.aclose()
