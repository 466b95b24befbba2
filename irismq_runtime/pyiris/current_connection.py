"""Which TCP connection a managed connection has now, or none, and why none.

Requests, topics, tunnels and the inbox outlive a TCP connection; they send through
this and so never hold one that is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import ConnectionLost
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from irismq_runtime.protocols.iris.packets import Packet
    from irismq_runtime.pyiris.connection import Connection

__all__ = ["NEVER", "CurrentConnection"]

#: The reason before the first attempt has ended.
NEVER: Final = "not connected yet"


class CurrentConnection:
    """`connection` is None while there is no connection to `peer`; `reason` then says why."""

    __slots__ = ("connection", "peer", "reason")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.connection: Connection | None = None
        self.reason = NEVER

    def require(self) -> Connection:
        """The connection. Raises `ConnectionLost` ("not sent") when there is none."""
        if self.connection is None:
            raise self.lost()
        return self.connection

    def lost(self) -> ConnectionLost:
        """The error of what cannot be sent now."""
        return ConnectionLost(self.peer, "not sent", self.reason)

    def send_if_up(self, packet: Packet) -> None:
        """Send if there is a connection: for what would mean nothing on a later one."""
        if self.connection is not None and self.connection.up:
            self.connection.send(packet)

    def health(self) -> TransportHealth:
        """Whether there is a connection, and if not, why."""
        if self.connection is not None:
            return WELL
        return TransportHealth(ok=False, reason=f"no connection to {self.peer}: {self.reason}")
