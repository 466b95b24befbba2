"""The stock on disk: two SQLite tables.

An order reserves once, however often its message comes: the order's number is
the primary key. That is what makes at-least-once delivery come out as once.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from .messages import Reservation

if TYPE_CHECKING:
    import pathlib

SCHEMA = """
create table if not exists stock (sku text primary key, count integer not null);
create table if not exists reservation
    (number text primary key, sku text not null, count integer not null);
"""


class Store:
    """A connection to the database; used from the thread that opened it alone."""

    def __init__(self, path: pathlib.Path | str) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(SCHEMA)

    def count(self, sku: str) -> int:
        """How many of `sku` are left."""
        row = self._db.execute("select count from stock where sku = ?", (sku,)).fetchone()
        return int(row[0]) if row else 0

    def add(self, sku: str, count: int) -> int:
        """Add some; return how many there are now."""
        with self._db:
            self._db.execute(
                "insert into stock values (?, ?)"
                " on conflict (sku) do update set count = count + excluded.count",
                (sku, count),
            )
        return self.count(sku)

    def reserve(self, number: str, sku: str, count: int) -> bool:
        """Set some aside for an order; False when there are too few."""
        with self._db:  # one transaction: both rows, or neither
            if self._db.execute("select 1 from reservation where number = ?", (number,)).fetchone():
                return True
            if self.count(sku) < count:
                return False
            self._db.execute("insert into reservation values (?, ?, ?)", (number, sku, count))
            self._db.execute("update stock set count = count - ? where sku = ?", (count, sku))
        return True

    def page(self, after: str, size: int) -> list[Reservation]:
        """The next reservations behind an order's number."""
        rows = self._db.execute(
            "select number, sku, count from reservation where number > ? order by 1 limit ?",
            (after, size),
        )
        return [Reservation(*row) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
