"""One relay's end of a tunnel to another relay: stands for the client there. No socket, no loop.

To the half of the local client a `TunnelEnd` is the other half (`tunnels.Peer`): what
it is told there it says to the far end, and what that says it tells the half. The
allowance goes from end to end: a client is granted again what the far client has
taken, so a tunnel holds no more than the relay's allowance in each direction,
wherever it is. Chunks that NATS would not carry are cut. Messages to an end are
numbered; a relay that gets one out of order closes the tunnel (tunnels.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.nats.connection import NatsMessage
from irismq_runtime.embedded.relay.nats.frames import (
    TUNNEL_OVERHEAD,
    FrameError,
    TunnelItem,
    TunnelItemKind,
    tunnel_item,
    tunnel_message,
)
from irismq_runtime.embedded.relay.nats.outgoing import portions
from irismq_runtime.protocols.iris.tunnel import RELAY_ALLOWANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.embedded.relay.nats.tunnels import NatsTunnels
    from irismq_runtime.embedded.relay.tunnels import Peer

__all__ = ["TunnelEnd"]

_WRAP: Final = 1 << 32
#: A reason for a close is cut to so many characters.
_LONGEST_REASON: Final = 1_000


class TunnelEnd:
    """One end, here, of a tunnel to another relay; stands for the client there."""

    __slots__ = (
        "_expected",
        "_granted",
        "_items",
        "_near",
        "_number",
        "_owed",
        "_tunnels",
        "heard",
        "number",
        "said",
        "to",
    )

    def __init__(self, tunnels: NatsTunnels, number: int, to: str, now: float) -> None:
        self.number = number
        #: The subject of the other end; empty until that is known.
        self.to = to
        #: When the other end was last heard of, and last spoken to.
        self.heard = self.said = now
        self._tunnels = tunnels
        self._near: Peer | None = None
        #: Numbers of the next message out and in.
        self._number = 0
        self._expected = 0
        #: Bytes that the far client may still send, and that it owes grants for.
        self._granted = RELAY_ALLOWANCE
        self._owed = 0
        self._items: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """True from the confirmation to the end."""
        return self._near is not None

    # What the local half says (tunnels.Acceptor)

    def open(self, peer: Peer) -> None:
        """Both ends are known."""
        self._near = peer

    def forward(self, size: int, chunk: bytes) -> None:
        """Bring a chunk of the local client to the far one."""
        self._owed += len(chunk)
        largest = self._tunnels.largest_chunk
        if len(chunk) <= largest:
            self._say(TunnelItemKind.TRANSFER, size, chunk)
            return
        for at in range(0, len(chunk), largest):
            self._say(TunnelItemKind.TRANSFER, 0 if at else size, chunk[at : at + largest])

    def grant_again(self, length: int) -> None:
        """The local client has taken what the far one sent."""
        self._granted += length
        self._say(TunnelItemKind.ALLOW, length)

    def peer_closed(self, reason: str, *, at_once: bool) -> None:
        """The local client's end is over; what it sent before arrives before that."""
        self.close(reason, at_once=at_once)

    def close(self, reason: str = "", *, at_once: bool = False) -> None:  # noqa: ARG002  # as Half
        """Close the far end after what was said before."""
        self._near = None
        self._say(
            TunnelItemKind.CLOSE, 0, reason[:_LONGEST_REASON].encode("utf-8", "surrogateescape")
        )
        self._tunnels.forget(self)

    def say(self, kind: TunnelItemKind, value: int = 0) -> None:
        """Say something without a chunk."""
        self._say(kind, value)

    def _say(self, kind: TunnelItemKind, value: int, data: bytes = b"") -> None:
        item = tunnel_item(kind, value, data)
        self._items.append(item)
        self._tunnels.outgoing.add(self, len(item) + TUNNEL_OVERHEAD)

    def take(self) -> Iterator[NatsMessage]:
        """What this turn said (`outgoing.MessageSource`)."""
        items, self._items = self._items, []
        self.said = self._tunnels.now()
        back = self._tunnels.subjects.tunnel_end(self.number)
        for portion in portions(items, self._tunnels.full):
            yield NatsMessage(self.to, back, tunnel_message(self._number, portion))
            self._number = (self._number + 1) % _WRAP

    def trim(self) -> int:
        """The bytes of all that is to be said: a tunnel has no holes."""
        return sum(map(len, self._items))

    # What the far end says

    def expects(self, number: int) -> bool:
        """Whether a message has the number that is next."""
        if number != self._expected:
            return False
        self._expected = (number + 1) % _WRAP
        return True

    def on_item_untrusted(self, item: TunnelItem) -> None:
        """Carry out what the far end says of an open tunnel."""
        kind, value, data = item
        near = self._near
        if near is None or kind is TunnelItemKind.KEEP:
            return
        if kind is TunnelItemKind.TRANSFER:
            if len(data) > self._granted:
                raise FrameError(f"a chunk of {len(data)} bytes, with {self._granted} granted")
            self._granted -= len(data)
            near.forward(value, data)
        elif kind is TunnelItemKind.ALLOW:
            if value > self._owed:
                raise FrameError(f"{value} bytes granted again, of {self._owed}")
            self._owed -= value
            near.grant_again(value)
        elif kind is TunnelItemKind.CLOSE:
            self.lost(data.decode("utf-8", "replace"))
        else:
            raise FrameError(f"{kind.name} for a tunnel that is open")

    def lost(self, reason: str) -> None:
        """The far end is over: close the local one, and say nothing more."""
        near, self._near = self._near, None
        self._tunnels.forget(self)
        if near is not None:
            near.peer_closed(reason, at_once=False)
