"""The ledger on disk: one SQLite table, one row a flight.

The primary key is the flight's own, so writing a flight twice changes nothing:
that is what makes at-least-once delivery come out as exactly once. Several
processes write to one file (WAL); a writer waits for another up to 5 s.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

    from irismq_runtime.demo.messages import Flight

__all__ = ["FlightStore"]

SCHEMA = """
create table if not exists flight (
    key text primary key,
    carrier text not null,
    departure_delay integer
) without rowid
"""


class FlightStore:
    """A connection to the ledger; used from the thread that opened it alone."""

    def __init__(self, path: pathlib.Path) -> None:
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.execute(SCHEMA)

    def write(self, flight: Flight) -> bool:
        """Keep `flight`; False when it was there already."""
        cursor = self._db.execute(
            "insert or ignore into flight values (?, ?, ?)",
            (flight.key, flight.carrier, flight.departure_delay),
        )
        return cursor.rowcount == 1

    def totals(self) -> dict[str, int]:
        """Flights per carrier, the largest first."""
        return dict(
            self._db.execute(
                "select carrier, count(*) from flight group by carrier order by 2 desc, 1"
            )
        )

    def count(self) -> int:
        """Flights in the ledger."""
        (count,) = self._db.execute("select count(*) from flight").fetchone()
        return int(count)

    def worst(self, count: int) -> list[tuple[str, int]]:
        """The `count` flights with the longest departure delay, in minutes."""
        return list(
            self._db.execute(
                "select key, departure_delay from flight where departure_delay is not null"
                " order by 2 desc, 1 limit ?",
                (count,),
            )
        )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
