"""The requests and tunnels of an address transport: part of the ports, see there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["InboundRequest", "InboundTunnel", "TunnelPort"]


class InboundRequest(Protocol):
    """A request that waits for exactly one answer."""

    body: bytes
    #: Seconds left until the caller gives up, at the time of arrival.
    timeout: float
    #: Nothing else has come with it: an idle actor may handle it where it is taken.
    alone: bool

    def reply(self, body: bytes) -> bool:
        """Answer. False when it was too late or already answered."""
        ...

    def fail(self, fault: str) -> bool:
        """Answer with a fault text (not empty). False as in `reply`."""
        ...


class TunnelPort(Protocol):
    """An ordered, flow-controlled stream of messages between two ends."""

    async def send(self, body: bytes) -> None:
        """Send one message; waits while the peer has granted no room.

        Raises `TunnelClosed` once either end has closed.
        """
        ...

    async def receive(self) -> bytes:
        """The next message. Raises `TunnelClosed` at the end."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over messages until the peer closes gracefully."""
        ...

    async def close(self) -> None:
        """Close both ends after what was sent has been taken. Idempotent."""
        ...


class InboundTunnel(Protocol):
    """A tunnel that a caller asks for; accept it or let it be closed."""

    async def accept(self) -> TunnelPort:
        """Confirm, and return this end of the tunnel."""
        ...
