"""Entities of nodes in processes of their own, whose leases may be short."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from actors import message, receives
from irismq_runtime import Entity
from irismq_runtime.entities import ownership

ADDRESS = "test.meter"
SHARDS = 8
#: The variable with the seconds of a lease, which is short for a test.
LEASE = "TEST_ENTITY_LEASE"
if LEASE in os.environ:
    ownership.LEASE = float(os.environ[LEASE])
    ownership.BEAT = ownership.LEASE / 10
    ownership._EXPECTING = ownership._ROUND = ownership.BEAT / 2


@message("test.meter-state")
@dataclass
class MeterState:
    seen: list[int] = field(default_factory=list)


@message("test.meter-pulse")
@dataclass(frozen=True)
class Pulse:
    number: int


@message("test.meter-seen")
@dataclass(frozen=True)
class Seen:
    pass


@message("test.meter-where")
@dataclass(frozen=True)
class Where:
    pass


class Meter(Entity):
    """Remembers which pulses came, in order."""

    address = ADDRESS
    shards = SHARDS
    state: MeterState

    @receives(Pulse)
    async def count(self, pulse: Pulse) -> int:
        self.state.seen.append(pulse.number)
        return len(self.state.seen)

    @receives(Seen)
    def told(self, _: Seen) -> list[int]:
        return self.state.seen

    @receives(Where)
    def where(self, _: Where) -> int:
        return os.getpid()
