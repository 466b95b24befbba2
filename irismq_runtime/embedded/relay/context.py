"""The context that the sessions of one relay share. Made and filled once by the server."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from irismq_runtime.embedded.relay.last_wills import LastWills
from irismq_runtime.embedded.relay.tunnel_room import TunnelRoom
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import RelayBroadcast

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock
    from irismq_runtime.embedded.relay.calls import Timeouts
    from irismq_runtime.embedded.relay.faults import FaultInjector, Faults
    from irismq_runtime.embedded.relay.options import RelayOptions
    from irismq_runtime.embedded.relay.router import BackEnd
    from irismq_runtime.embedded.relay.stats import RelayTotals
    from irismq_runtime.protocols.iris import IrisProtocolError
    from irismq_runtime.protocols.iris.last_will import LastWill

__all__ = ["RelayContext"]

_LOG = logging.getLogger("irismq_runtime.embedded.relay")


@dataclass(slots=True)
class RelayContext:
    """Shared by the sessions of one relay. Loop thread only."""

    options: RelayOptions
    clock: Clock
    back_end: BackEnd
    counters: RelayTotals
    timeouts: Timeouts
    faults: Faults
    #: None while no fault is switched on, so that nothing is asked on hot paths.
    injector: FaultInjector | None
    #: Writes what was produced outside of a read.
    end_turn: Callable[[], None]
    #: Slows the sender of this turn down.
    overrun: Callable[[], None]
    #: What the clients of tunnels may make the relay hold.
    tunnel_room: TunnelRoom = field(init=False)
    wills: LastWills = field(init=False)
    _reports: Throttle = field(default_factory=Throttle)

    def __post_init__(self) -> None:
        """Set aside what the options allow."""
        self.tunnel_room = TunnelRoom(self.options.tunnel_bytes)
        self.wills = LastWills(self.clock, self.options.will_seconds, self._carry_out)

    def _carry_out(self, will: LastWill) -> None:
        self.counters.wills += 1
        self.back_end.broadcast(will.cluster, encode_packet(RelayBroadcast(will.message)))
        self.end_turn()

    def report_violation(self, violation: IrisProtocolError, cluster: str) -> None:
        """Log a violation, at most one a second as a warning."""
        who = f"member of {cluster!r}" if cluster else "client"
        count = self._reports.note(self.clock.monotonic())
        more = f" ({count} since the last such line)" if count > 1 else ""
        level = logging.WARNING if count else logging.DEBUG
        _LOG.log(level, "relay drops a %s: %s%s", who, violation, more)
