"""A connection to a SQLite database on a simulated disk: it is told of each statement.

The statements are run by SQLite itself. Before each, a full disk refuses what would write,
with the error that SQLite has for it; after each, whoever keeps a log of changes notes it.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ToldConnection", "kind_of"]

#: What a statement does; "changes" is also what makes a table.
Kind: TypeAlias = Literal[
    "reads", "rolls back", "begins", "commits", "sets", "sets in the file", "changes"
]

#: What a full disk may refuse.
_WRITES = frozenset({"changes", "commits"})
#: Settings that are in the file itself.
_KEPT = ("user_version", "auto_vacuum", "incremental_vacuum")


class _Cursor(sqlite3.Cursor):
    """Runs statements, and tells of them."""

    connection: ToldConnection

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        self.connection.before(sql)
        super().execute(sql, parameters)
        self.connection.after(sql, parameters, many=False)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        self.connection.before(sql)
        rows = list(parameters)
        super().executemany(sql, rows)
        self.connection.after(sql, rows, many=True)
        return self

    def executescript(self, sql: str, /) -> Self:
        self.connection.before(sql)
        super().executescript(sql)
        self.connection.after(sql, None, many=False)
        return self


class ToldConnection(sqlite3.Connection):
    """See the module. Made by `sqlite3.Connection`'s own constructor, and then given its disk."""

    #: `total_changes` when the transaction began.
    _changes_before = 0

    def cursor(self, factory: Any = _Cursor) -> Any:
        """See `sqlite3.Connection`."""
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        """See `sqlite3.Connection`."""
        return _Cursor(self).execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> _Cursor:
        """See `sqlite3.Connection`."""
        return _Cursor(self).executemany(sql, parameters)

    def executescript(self, sql: str, /) -> _Cursor:
        """See `sqlite3.Connection`."""
        return _Cursor(self).executescript(sql)

    @property
    def disk_is_full(self) -> bool:
        """Whether nothing more can be written."""
        raise NotImplementedError

    def before(self, sql: str) -> None:
        """A statement is to be run. Raises `sqlite3.OperationalError` where there is no room."""
        kind = kind_of(sql)
        if kind == "begins":
            self._changes_before = self.total_changes
        elif (
            kind in _WRITES
            and self.disk_is_full
            and (
                kind == "changes"
                or (kind == "commits" and self.total_changes > self._changes_before)
            )
        ):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            error.sqlite_errorname = "SQLITE_FULL"
            raise error

    def after(self, sql: str, parameters: Any, *, many: bool) -> None:
        """A statement was run, with these parameters, or for each of these; None: a script."""


@lru_cache(maxsize=512)
def kind_of(sql: str) -> Kind:
    """Say what a statement does. Asked for each that is run, of which few are different."""
    verb, rest = [*sql.split(None, 1), "", ""][:2]
    match verb.rstrip(";").upper():
        case "SELECT" | "EXPLAIN":
            return "reads"
        case "ROLLBACK":
            return "rolls back"
        case "BEGIN":
            return "begins"
        case "COMMIT" | "END":
            return "commits"
        case "PRAGMA":
            return "sets in the file" if rest.startswith(_KEPT) else "sets"
        case _:
            return "changes"
