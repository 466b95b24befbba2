"""What the parts of one relay's overlay share. Made once for each start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats
    from irismq_runtime.embedded.relay.nats.outgoing import Outgoing
    from irismq_runtime.embedded.relay.nats.subjects import Subjects
    from irismq_runtime.embedded.relay.router import Directory
    from irismq_runtime.observe.logs import RateLimitedLog

__all__ = ["Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """Loop thread only."""

    relay_id: bytes
    subjects: Subjects
    directory: Directory
    outgoing: Outgoing
    options: NatsOptions
    stats: NatsStats
    log: RateLimitedLog
    #: Seconds on the relay's clock.
    now: Callable[[], float]
    #: Bytes of the largest message that NATS takes now.
    largest: Callable[[], int]
