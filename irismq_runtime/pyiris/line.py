"""The line of a connection: the link of the moment, or none, and why none.

The parts of a connection outlive its links; they send through the line and so
never hold a link that is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import ConnectionLost
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from irismq_runtime.protocols.iris.packets import Packet
    from irismq_runtime.pyiris.link import Link

__all__ = ["NEVER", "Line"]

#: The reason before the first attempt has ended.
NEVER: Final = "not connected yet"


class Line:
    """`link` is None while there is no connection to `peer`; `reason` then says why."""

    __slots__ = ("link", "peer", "reason")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.link: Link | None = None
        self.reason = NEVER

    def require(self) -> Link:
        """The link. Raises `ConnectionLost` ("not sent") when there is none."""
        if self.link is None:
            raise self.lost()
        return self.link

    def lost(self) -> ConnectionLost:
        """The error of what cannot be sent now."""
        return ConnectionLost(self.peer, "not sent", self.reason)

    def say(self, packet: Packet) -> None:
        """Send through the link if there is one: for what means nothing on another."""
        if self.link is not None and self.link.up:
            self.link.send(packet)

    def health(self) -> TransportHealth:
        """Whether there is a link, and if not, why."""
        if self.link is not None:
            return WELL
        return TransportHealth(ok=False, reason=f"no connection to {self.peer}: {self.reason}")
