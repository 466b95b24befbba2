"""The context of the NATS back end: its setup, and what the parts of one overlay share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from actors.clock import Clock
    from irismq_runtime.embedded.relay.nats.connect import Login
    from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats
    from irismq_runtime.embedded.relay.nats.outgoing import Outgoing
    from irismq_runtime.embedded.relay.nats.subjects import Subjects
    from irismq_runtime.embedded.relay.router import RoutingTable
    from irismq_runtime.observe.logs import RateLimitedLog

__all__ = ["NatsContext", "NatsSetup"]


@dataclass(frozen=True, slots=True)
class NatsSetup:
    """Where to connect, as whom, and within which bounds; `NatsBackEnd` says what each is."""

    servers: Sequence[str]
    login: Login
    net: str
    name: str
    clock: Clock
    rng: random.Random
    options: NatsOptions
    stats: NatsStats


@dataclass(frozen=True, slots=True)
class NatsContext:
    """Made once for each start. Loop thread only."""

    relay_id: bytes
    subjects: Subjects
    routing: RoutingTable
    outgoing: Outgoing
    options: NatsOptions
    stats: NatsStats
    log: RateLimitedLog
    #: Seconds on the relay's clock.
    now: Callable[[], float]
    #: Bytes of the largest message that NATS takes now.
    largest: Callable[[], int]
