"""What the flights service says on the wire: one dataclass a message.

The names given to `@message` are the contract with every other program, in
any language: docs/protocol.md says how the fields travel.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors import Request, message

__all__ = ["CarrierTotals", "Counted", "Flight", "LongDelay", "ResetCaches", "WorstDelays"]


@message("flights.flight")
@dataclass(frozen=True, slots=True)
class Flight:
    """One departure. Delays are minutes; None means cancelled or not recorded."""

    scheduled: str
    carrier: str
    number: int
    origin: str
    destination: str
    departure_delay: int | None
    arrival_delay: int | None
    distance: int

    @property
    def key(self) -> str:
        """What makes the flight the same flight however often it is told."""
        return f"{self.scheduled}/{self.carrier}{self.number}/{self.origin}"


@message("flights.worst_delays")
@dataclass(frozen=True, slots=True)
class WorstDelays(Request[list[tuple[str, int]]]):
    """Ask for the `count` departures with the longest delay."""

    count: int = 3


@message("flights.carrier_totals")
@dataclass(frozen=True, slots=True)
class CarrierTotals(Request[dict[str, int]]):
    """Ask for the number of flights of each carrier."""


@message("flights.counted")
@dataclass(frozen=True, slots=True)
class Counted(Request[int]):
    """Ask for the number of flights in the ledger."""


@message("flights.reset_caches")
@dataclass(frozen=True, slots=True)
class ResetCaches:
    """Tell every member to forget what it has counted."""


@message("flights.long_delay")
@dataclass(frozen=True, slots=True)
class LongDelay:
    """A live event: a departure that was very late."""

    flight: str
    minutes: int
