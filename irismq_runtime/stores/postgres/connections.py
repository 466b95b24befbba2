"""Connections to a PostgreSQL server: made when one is needed, looked at, lent, kept.

A connection is taken only from a server that keeps what it has confirmed and may be
written: a standby, `fsync = off` and `synchronous_commit = off` are refused. One that
was given back in the middle of something is closed, so that the server undoes it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.stores.postgres.faults import FAULTS, fault_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from irismq_runtime.stores.postgres.url import PostgresUrl

__all__ = ["Connection", "Connections", "closed_meanwhile"]

Connection: TypeAlias = "asyncpg.Connection[Any]"

#: Seconds to wait for a connection, and for the end of one statement.
_CONNECT: Final = 5.0
_STATEMENT: Final = 15.0
_SETTINGS: Final = """
SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'),
current_setting('default_transaction_read_only')"""
#: What a server is: another one, or one that took over from its primary, has another text.
_IDENTITY: Final = """
SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' ||
substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"""


@contextmanager
def closed_meanwhile(connection: Connection) -> Iterator[None]:
    """Turn what the driver raises when another task closes its connection into its own error.

    A connection that is terminated has no protocol from then on, and a call that goes on
    afterwards fails with an `AttributeError`: between two of its steps, or once it has its rows.

    Raises:
        asyncpg.InterfaceError: The connection was closed.
    """
    try:
        yield
    except AttributeError as error:
        if not connection.is_closed():
            raise
        raise asyncpg.InterfaceError("the connection was closed meanwhile") from error


class Connections:
    """At most `limit` connections to one database. One loop.

    Args:
        target: The database.
        limit: Connections at once; who wants one more waits.
    """

    def __init__(self, target: PostgresUrl, limit: int) -> None:
        self._target = target
        self._room = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._closed = True
        #: What the server is that was connected to last; "" where it does not tell.
        self.identity = ""

    def open(self) -> None:
        """Allow connections."""
        self._closed = False

    async def close(self) -> None:
        """Close them all; those that are lent at once. Idempotent."""
        self._closed = True
        for connection in self._lent:
            connection.terminate()
        idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(*FAULTS):
                await connection.close(timeout=1.0)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Connection]:
        """A connection that nobody else has, for as long as the block runs.

        Raises:
            StoreUnavailable: There is none.
            asyncpg.InterfaceError: It was closed meanwhile.
            ConfigError: The server does not keep what it has confirmed.
        """
        async with self._room:
            connection = await self._take()
            self._lent.add(connection)
            whole = False
            try:
                with closed_meanwhile(connection):
                    yield connection
                whole = True
            finally:
                self._lent.discard(connection)
                if not connection.is_closed():
                    if whole and not self._closed and not connection.is_in_transaction():
                        self._idle.append(connection)
                    else:
                        connection.terminate()

    async def _take(self) -> Connection:
        if self._closed:
            raise StoreUnavailable(self._target.shown, "away", "the store is not open")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._connect()
        except FAULTS as error:
            fault = fault_of(self._target.shown, error, committing=False)
            if fault is None:
                raise
            raise fault from error

    async def _connect(self) -> Connection:
        target = self._target
        connection = await asyncpg.connect(
            target.dsn,
            timeout=_CONNECT,
            command_timeout=_STATEMENT,
            statement_cache_size=target.statement_cache_size,
        )
        try:
            await self._look_at(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _look_at(self, connection: Connection) -> None:
        found = await connection.fetchrow(_SETTINGS)
        standby, fsync, synchronous, read_only = found if found is not None else (True, "", "", "")
        if standby or read_only == "on":
            reason = "it is a standby" if standby else "default_transaction_read_only is on"
            raise StoreUnavailable(self._target.shown, "read only", reason)
        if self._target.checked and "off" in {fsync, synchronous}:
            name = "fsync" if fsync == "off" else "synchronous_commit"
            raise ConfigError(
                "store",
                f"{self._target.shown} loses what it has confirmed: {name} is off there",
                f"set {name} = on",
            )
        with suppress(asyncpg.PostgresError):  # a service that does not tell what it is
            self.identity = await connection.fetchval(_IDENTITY)
