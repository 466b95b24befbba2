"""What a back end is set up with, and what the parts of one overlay share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from actors.clock import Clock
    from irismq_runtime.embedded.relay.nats.dialling import Login
    from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats
    from irismq_runtime.embedded.relay.nats.outgoing import Outgoing
    from irismq_runtime.embedded.relay.nats.subjects import Subjects
    from irismq_runtime.embedded.relay.router import RoutingTable
    from irismq_runtime.observe.logs import RateLimitedLog

__all__ = ["Setup", "Shared"]


@dataclass(frozen=True, slots=True)
class Setup:
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
class Shared:
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
