"""One end of an Iris tunnel on a plain relay connection, for one thread.

A message longer than the chunk limit is cut: its first chunk carries the size of
all of it, the others 0. Each end sends what the other has granted, and grants
again what it has taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.interop.plain_iris import (
    TUNNEL_ALLOW,
    TUNNEL_CLOSE,
    TUNNEL_CONFIRM,
    TUNNEL_INIT,
    TUNNEL_TRANSFER,
    FaultError,
)

if TYPE_CHECKING:
    from examples.interop.plain_iris import Relay

ALLOWANCE = 64 * 1024 * 1024


class PlainTunnel:
    """The only tunnel of its relay connection at a time."""

    def __init__(self, relay: Relay, own_id: int, chunk_limit: int) -> None:
        self._relay = relay
        self._id = own_id
        self._limit = chunk_limit
        self._room = 0
        relay.send(TUNNEL_ALLOW, own_id, ALLOWANCE)

    @classmethod
    def open(cls, relay: Relay, cluster: str, timeout: float = 5.0) -> PlainTunnel:
        """Open a tunnel to one member; raises `FaultError` when none accepts."""
        own = relay.new_id()
        relay.send(TUNNEL_INIT, own, cluster, int(timeout * 1000))
        _, late, *limit = relay.next(TUNNEL_CONFIRM)
        if late:
            raise FaultError(f"nobody at {cluster} took the tunnel")
        return cls(relay, own, limit[0])

    @classmethod
    def accept(cls, relay: Relay) -> PlainTunnel:
        """Wait for an inbound tunnel and take it."""
        initiator, limit = relay.next(TUNNEL_INIT)
        own = relay.new_id()
        relay.send(TUNNEL_CONFIRM, initiator, own)
        return cls(relay, own, limit)

    def send(self, message: bytes) -> None:
        """Send one message; waits for room."""
        for start in range(0, len(message), self._limit):
            chunk = message[start : start + self._limit]
            while self._room < len(chunk):
                self._room += self._relay.next(TUNNEL_ALLOW)[1]
            self._room -= len(chunk)
            self._relay.send(TUNNEL_TRANSFER, self._id, 0 if start else len(message), chunk)

    def receive(self) -> bytes | None:
        """Return the next message; None when the other end has closed."""
        message, size = b"", 1
        while len(message) < size:
            packet = self._relay.next(TUNNEL_TRANSFER, TUNNEL_CLOSE)
            if len(packet) == 2:
                return None
            _, whole, chunk = packet
            size = whole or size
            message += chunk
            self._relay.send(TUNNEL_ALLOW, self._id, len(chunk))
        return message

    def close(self) -> None:
        """Close both ends, and wait until the relay has done so."""
        self._relay.send(TUNNEL_CLOSE, self._id)
        self._relay.next(TUNNEL_CLOSE)
