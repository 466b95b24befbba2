"""What a relay has done and holds now: counters inside, one frozen value outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["RelayStats", "RelayTotals"]


@dataclass(slots=True)
class RelayTotals:
    """Totals since the relay was made; only ever grow."""

    accepted: int = 0
    denied: int = 0
    requests: int = 0
    replies: int = 0
    faults: int = 0
    timeouts: int = 0
    #: Replies to requests that were over, dropped as the specification wants.
    late_replies: int = 0
    broadcasts: int = 0
    events: int = 0
    tunnels: int = 0
    #: Last wills of clients that were lost, carried out.
    wills: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    #: Times that a sender was held back for a slow reader's sake.
    stalls: int = 0
    #: Why connections were dropped by the relay -> how many.
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, why: str) -> None:
        """Count one connection dropped for the reason `why` (a short fixed word)."""
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def copy(self) -> RelayTotals:
        """The totals as they stand now."""
        return replace(self, dropped=dict(self.dropped))


@dataclass(frozen=True, slots=True)
class RelayStats:
    """One moment of a relay."""

    #: Connections past their handshake, members included.
    connections: int
    #: Cluster -> live members.
    members: dict[str, int]
    #: Topic -> subscribers.
    topics: dict[str, int]
    #: Requests without an answer so far.
    pending_requests: int
    #: Ends of tunnels that are open or being built.
    tunnel_ends: int
    #: Bytes kept for readers that do not keep up.
    bytes_waiting: int
    #: Readers that do not keep up now.
    slow_readers: int
    totals: RelayTotals

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)
