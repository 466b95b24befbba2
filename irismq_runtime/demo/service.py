"""The service: ledgers that write flights down, and the statistics over them.

    Flights (one_for_one)
      Ledger #1, Ledger #2   address flights.ledger: told, durable, one takes each flight
      Stats                  address flights.stats:  asked; told by all to forget its cache

Both talk to SQLite, which blocks, so both are `ThreadActor`s. A ledger returns
only when its row is committed; the runtime finishes the message after that. So
a crash, or the death of the process, at any moment loses nothing: the message
comes again, and the primary key makes the second time harmless.

Two settings come from the environment, because that is where this example takes
them from; the runtime has no opinion:

    FLIGHTS_DB       the SQLite file (default: flights.sqlite in the working folder)
    FLIGHTS_CRASH    crash on about one flight in this many, on its first delivery (default: never)
"""

from __future__ import annotations

import os
import pathlib
import zlib

from actors import ThreadActor, receives
from irismq_runtime import current_node
from irismq_runtime.demo.messages import (
    CarrierTotals,
    Counted,
    Flight,
    LongDelay,
    ResetCaches,
    WorstDelays,
)
from irismq_runtime.demo.store import FlightStore
from supervisors import Supervisor, child

__all__ = ["DELAYS", "LEDGER", "STATS", "Flights", "Ledger", "Stats"]

LEDGER = "flights.ledger"
STATS = "flights.stats"
#: The live topic of long delays.
DELAYS = "flights.delays"
#: Minutes from which a delay is news.
LONG = 120


class Ledger(ThreadActor[Flight]):
    """Writes flights down, each once, and says when one was very late."""

    address = LEDGER

    def __init__(self, path: pathlib.Path, crash_one_in: int = 0) -> None:
        super().__init__()
        self._path = path
        self._crash_one_in = crash_one_in

    def on_start(self) -> None:
        """Open the store, in the actor's own thread."""
        self._store = FlightStore(self._path)

    def on_stop(self) -> None:
        """Close it."""
        self._store.close()

    @receives(Flight)
    def write(self, flight: Flight) -> bool:
        """Keep the flight; False when it was kept before."""
        self._crash_perhaps(flight)
        new = self._store.write(flight)
        if new and (flight.departure_delay or 0) >= LONG:
            late = LongDelay(flight.key, flight.departure_delay or 0)
            current_node().publish(DELAYS, late, durable=False)
        return new

    def _crash_perhaps(self, flight: Flight) -> None:
        """Fail as a bug would, on some flights, the first time they come."""
        first = self.context.attempt <= 1
        if (
            self._crash_one_in
            and first
            and zlib.crc32(flight.key.encode()) % self._crash_one_in == 0
        ):
            self._store.close()
            raise RuntimeError(f"a fault made for the demonstration, on {flight.key}")


class Stats(ThreadActor[CarrierTotals | Counted | WorstDelays | ResetCaches]):
    """Answers questions about the ledger; what it has counted it keeps until told."""

    address = STATS

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path
        self._totals: dict[str, int] | None = None

    def on_start(self) -> None:
        """Open the store, in the actor's own thread."""
        self._store = FlightStore(self._path)

    def on_stop(self) -> None:
        """Close it."""
        self._store.close()

    @receives(CarrierTotals)
    def totals(self, _: CarrierTotals) -> dict[str, int]:
        """Flights per carrier, as of the first time it was asked since the last reset."""
        if self._totals is None:
            self._totals = self._store.totals()
        return self._totals

    @receives(Counted)
    def counted(self, _: Counted) -> int:
        """Flights in the ledger now."""
        return self._store.count()

    @receives(WorstDelays)
    def worst_delays(self, question: WorstDelays) -> list[tuple[str, int]]:
        """The longest departure delays, in minutes."""
        return self._store.worst(question.count)

    @receives(ResetCaches)
    def reset(self, _: ResetCaches) -> None:
        """Forget what was counted."""
        self._totals = None


def _path() -> pathlib.Path:
    return pathlib.Path(os.environ.get("FLIGHTS_DB", "flights.sqlite"))


def _crash_one_in() -> int:
    return int(os.environ.get("FLIGHTS_CRASH", "0"))


class Flights(Supervisor):
    """Two ledgers and the statistics; each restarts by itself."""

    strategy = "one_for_one"
    # The demonstration crashes far more often than a service should.
    max_restarts = 1000
    max_seconds = 60

    def children(self) -> list[object]:
        """One spec a kind of child."""
        return [
            child(Ledger, _path(), _crash_one_in()).with_options(instances=2),
            child(Stats, _path()),
        ]
