"""Tunnels through a relay: two halves, each the relay's side of one client's end.

Order of events: the initiator's session makes a `TunnelSetup` and gives it to the
back end; a member's session is offered it, and its client confirms, naming its
end; then both ends are granted the relay's allowance and chunks pass. A half
forwards a chunk when its client has granted room for it and reads what it is
sent; only then is the other client granted its bytes again. So a tunnel never
holds more than the relay's allowance in each direction, which is lent to it by
the session (`lent`): out of a sum for all tunnels.

A graceful close follows what was sent before it; the other client sees it
after the last chunk. What comes for an end that is closed is passed over, as
the real relay does. Records out through `TunnelOwner`, no socket, no clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

from irismq_runtime.protocols.iris.packets import (
    RelayTunnelClose,
    RelayTunnelConfirm,
    TunnelAllow,
    TunnelTransfer,
)
from irismq_runtime.protocols.iris.primitives import IrisProtocolError
from irismq_runtime.protocols.iris.tunnel import CHUNK_LIMIT, RELAY_ALLOWANCE

if TYPE_CHECKING:
    from irismq_runtime.embedded.relay.calls import Expiring, Timeouts
    from irismq_runtime.protocols.iris.packets import RelayPacket

__all__ = ["Acceptor", "Half", "OfferedTunnel", "Peer", "TunnelOwner", "TunnelSetup"]

#: More than any peer can grant in earnest.
_ABSURD: int = 1 << 62


class TunnelOwner(Protocol):
    """The session that has one end of a tunnel."""

    @property
    def congested(self) -> bool:
        """True while its client does not read what it is sent."""
        ...

    def send_tunnel(self, packet: RelayPacket) -> None:
        """Send a packet of a tunnel to its client."""
        ...

    def tunnel_decided(self, tunnel: TunnelSetup) -> None:
        """A tunnel that this session asked for has its result."""
        ...

    def tunnel_over(self, half: Half) -> None:
        """The half has ended; forget its id."""
        ...


class Peer(Protocol):
    """The other end of a tunnel, as a half sees it: here, or at another relay."""

    def forward(self, size: int, chunk: bytes) -> None:
        """Bring a chunk to that end's client."""
        ...

    def grant_again(self, length: int) -> None:
        """What that end's client sent was taken by the other."""
        ...

    def peer_closed(self, reason: str, *, at_once: bool) -> None:
        """The half has ended."""
        ...


class Acceptor(Peer, Protocol):
    """The accepting end of a tunnel being built."""

    def open(self, peer: Peer) -> None:
        """Both ends are known: let its client send."""
        ...

    def close(self, reason: str = "", *, at_once: bool = False) -> None:
        """The tunnel is not to be."""
        ...


class OfferedTunnel(Protocol):
    """A tunnel as a member is offered it."""

    @property
    def chunk_limit(self) -> int:
        """The longest chunk, in bytes."""
        ...

    def confirm_early(self) -> None:
        """Tell the initiator of success before the member has confirmed (a fault)."""
        ...

    def accept(self, acceptor: Half) -> bool:
        """The member has confirmed; False when it is too late, and its half is closed."""
        ...


class Half:
    """The relay's side of one end: `id` is what that client calls its end."""

    __slots__ = (
        "_allowance",
        "_closing",
        "_granted",
        "_owner",
        "_peer",
        "_queue",
        "_room",
        "id",
        "lent",
    )

    def __init__(self, owner: TunnelOwner, tunnel_id: int, lent: int = RELAY_ALLOWANCE) -> None:
        self.id = tunnel_id
        #: Bytes that this client, or one that has closed before it, may make the relay hold.
        self.lent = lent
        self._owner = owner
        self._peer: Peer | None = None
        #: Bytes that this client may still send.
        self._granted = 0
        #: Bytes that this client has room for, and the most it ever had.
        self._allowance = 0
        self._room = 0
        self._queue: deque[tuple[int, bytes]] = deque()
        self._closing: str | None = None

    def open(self, peer: Peer) -> None:
        """Both ends are known: let this client send."""
        self._peer = peer
        self._granted = self.lent
        self._owner.send_tunnel(TunnelAllow(self.id, self.lent))

    def transfer_untrusted(self, size: int, chunk: bytes) -> None:
        """This client sent a chunk. Raises `IrisProtocolError` over its allowance."""
        if len(chunk) > self._granted:
            raise IrisProtocolError(
                f"tunnel {self.id}: chunk of {len(chunk)} bytes goes over the allowance of "
                f"{self._granted}"
            )
        self._granted -= len(chunk)
        if self._peer is not None:
            self._peer.forward(size, chunk)

    def allow_untrusted(self, granted: int) -> None:
        """This client grants room. Raises `IrisProtocolError` when the sum is absurd."""
        if granted > _ABSURD - self._allowance:
            raise IrisProtocolError(f"tunnel {self.id}: an allowance of {granted} more is absurd")
        self._allowance += granted
        self._room = max(self._room, self._allowance)
        self.pump()

    def forward(self, size: int, chunk: bytes) -> None:
        """Bring a chunk to this client, as soon as it has room."""
        if self._closing is None:
            self._queue.append((size, chunk))
            self.pump()

    def pump(self) -> None:
        """Send what this client has room for, and grant the other its bytes again."""
        sent = 0
        while self._queue and not self._owner.congested:
            size, chunk = self._queue[0]
            length = min(len(chunk), self._room)
            if length > self._allowance or (chunk and not length):
                break
            if length < len(chunk):
                self._queue[0] = (0, chunk[length:])
                chunk = chunk[:length]
            else:
                self._queue.popleft()
            self._allowance -= length
            sent += length
            self._owner.send_tunnel(TunnelTransfer(self.id, size, chunk))
        if sent and self._peer is not None:
            self._peer.grant_again(sent)
        if self._closing is not None and not self._queue:
            self._end(self._closing)

    def grant_again(self, length: int) -> None:
        """What this client sent was taken by the other."""
        self._granted += length
        self._owner.send_tunnel(TunnelAllow(self.id, length))

    def close(self, reason: str = "", *, at_once: bool = False) -> None:
        """This client closes, or is gone: end this half, and the other after its last chunk."""
        peer, self._peer = self._peer, None
        self._queue.clear()
        if isinstance(peer, Half):  # it goes on holding what this client sent
            peer.lent += self.lent
            self.lent = 0
        self._end(reason)
        if peer is not None:
            peer.peer_closed(reason, at_once=at_once)

    def peer_closed(self, reason: str, *, at_once: bool) -> None:
        """The other half has ended."""
        self._peer = None
        self._closing = reason
        if at_once:
            self._queue.clear()
        self.pump()

    def _end(self, reason: str) -> None:
        self._owner.send_tunnel(RelayTunnelClose(self.id, reason))
        self._owner.tunnel_over(self)


class TunnelSetup:
    """A tunnel being built, from the initiator's init to its result.

    It has a result exactly once: confirmed, timed out, or given up by the
    initiator. An acceptor that confirms after that gets a close.
    """

    __slots__ = ("_bucket", "_owner", "_told", "chunk_limit", "deadline", "done", "id", "initiator")

    def __init__(self, owner: TunnelOwner, tunnel_id: int, lent: int = RELAY_ALLOWANCE) -> None:
        self.id = tunnel_id
        self.initiator = Half(owner, tunnel_id, lent)
        self.chunk_limit = CHUNK_LIMIT
        self.done = False
        #: Seconds on the relay's clock; set by `expire_in`.
        self.deadline = math.inf
        self._bucket: dict[Expiring, None] = {}
        self._owner = owner
        self._told = False

    def expire_in(self, timeout_ms: int, timeouts: Timeouts) -> None:
        """Let it expire after `timeout_ms`, unless it has its result by then."""
        self.deadline = timeouts.clock.monotonic() + timeout_ms / 1000
        self._bucket = timeouts.add(self, self.deadline)

    def confirm_early(self) -> None:
        """Tell the initiator of success before the acceptor has confirmed (a fault)."""
        if not self.done and not self._told:
            self._told = True
            self._owner.send_tunnel(RelayTunnelConfirm(self.id, False, self.chunk_limit))

    def accept(self, acceptor: Acceptor) -> bool:
        """The acceptor has confirmed; False when it is too late, and its half is closed."""
        if self.done:
            acceptor.close("the initiator has given up")
            return False
        self._decide()
        if not self._told:
            self._owner.send_tunnel(RelayTunnelConfirm(self.id, False, self.chunk_limit))
        self.initiator.open(acceptor)
        acceptor.open(self.initiator)
        return True

    def expire(self) -> None:
        """The initiator's time has passed: tell it so, and forget its end."""
        if self.done:
            return
        self._decide()
        if self._told:
            self.initiator.close("not confirmed in time")
        else:
            self._owner.send_tunnel(RelayTunnelConfirm(self.id, True, None))
            self._owner.tunnel_over(self.initiator)

    def give_up(self) -> None:
        """The initiator closes, or is gone, before there was a result."""
        if not self.done:
            self._decide()
            self.initiator.close()

    def _decide(self) -> None:
        self.done = True
        self._bucket.pop(self, None)
        self._owner.tunnel_decided(self)
