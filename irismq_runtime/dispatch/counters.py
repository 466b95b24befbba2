"""What dispatch has counted since the node started; read by metrics and health."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Counters", "Settled"]


@dataclass(slots=True)
class Settled:
    """What became of the stored messages of one address."""

    finished: int = 0
    requeued: int = 0
    buried: int = 0

    def to_dict(self) -> dict[str, int]:
        """All counts by name."""
        return asdict(self)


@dataclass(slots=True)
class Counters:
    """Plain numbers, changed on the loop alone."""

    stored: int = 0
    finished: int = 0
    requeued: int = 0
    buried: int = 0
    duplicates: int = 0
    expired: int = 0
    deferred: int = 0
    leases_lost: int = 0
    undecodable: int = 0
    unsigned: int = 0
    requests: int = 0
    answered: int = 0
    failed: int = 0
    late: int = 0
    cancelled: int = 0
    broadcasts: int = 0
    refused: int = 0
    tunnels: int = 0
    events: int = 0

    def to_dict(self) -> dict[str, int]:
        """All counts by name."""
        return asdict(self)
