"""The states of an Iris connection: which packet may come when, at either end.

`TRANSITIONS` is the whole of it: a connection is in one state, known to both
ends, and a packet of the role that sends it leads to the next.

    NEW --client init--> OFFERED --relay init--> OPEN
                         OFFERED --relay deny--> CLOSED
    OPEN --client close--> DRAINING --relay close--> CLOSED
    OPEN --relay close--> CLOSED

Any other packet is allowed in OPEN and DRAINING and changes nothing; while
DRAINING the client still answers, and the relay still delivers what is pending.
A client must not send between its init and the answer, but a relay takes what
comes then (the real one does) and handles it once it has accepted. What comes
in CLOSED was under way when this side closed, and is passed over.
The first packet of each side must carry its magic; the hints for bytes that do
not come from an Iris peer at all are here too, for that is when they show.
No socket, no clock: deadlines of the handshake belong to the callers.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from irismq_runtime.protocols.iris.codec import PacketDecoder
from irismq_runtime.protocols.iris.encoders import encode_packet
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    RELAY_MAGIC,
    VERSION,
    ClientClose,
    ClientInit,
    Deny,
    Packet,
    RelayClose,
    RelayInit,
    Role,
)
from irismq_runtime.protocols.iris.primitives import DEFAULT_LIMITS, IrisProtocolError, PacketLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TRANSITIONS", "ConnectionState", "IrisProtocol", "version_refusal"]


class ConnectionState(Enum):
    """The states of one connection, in the order in which they are reached."""

    NEW = "new"
    OFFERED = "offered"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


#: (state, record that was sent) -> next state.
TRANSITIONS: Final[dict[tuple[ConnectionState, type[Packet]], ConnectionState]] = {
    (ConnectionState.NEW, ClientInit): ConnectionState.OFFERED,
    (ConnectionState.OFFERED, RelayInit): ConnectionState.OPEN,
    (ConnectionState.OFFERED, Deny): ConnectionState.CLOSED,
    (ConnectionState.OPEN, ClientClose): ConnectionState.DRAINING,
    (ConnectionState.OPEN, RelayClose): ConnectionState.CLOSED,
    (ConnectionState.DRAINING, RelayClose): ConnectionState.CLOSED,
}
#: Records that mean a transition; in a state without a row for them they are a violation.
_CONTROL: Final = frozenset(record for _, record in TRANSITIONS)
_TALKING: Final = frozenset((ConnectionState.OPEN, ConnectionState.DRAINING))
#: (who receives, state) where packets that mean no transition are taken.
_PASSING: Final = frozenset(
    {(role, state) for role in Role for state in _TALKING} | {(Role.RELAY, ConnectionState.OFFERED)}
)

_MAGIC: Final = {Role.CLIENT: CLIENT_MAGIC, Role.RELAY: RELAY_MAGIC}

#: What a stranger says first -> what it is and what to do. By who listens.
_STRANGERS: Final[dict[Role, tuple[tuple[bytes, str], ...]]] = {
    Role.CLIENT: (
        (b"HTTP/", "an HTTP server answers on this port; give the relay's, 55555 by default"),
        (b"\x00\x00\x00", "an nsqd answers on this port; give the relay's, 55555 by default"),
        (b"\x15\x03", "a TLS server answers on this port; a relay speaks plain TCP"),
        (b"SSH-", "an SSH server answers on this port; give the relay's, 55555 by default"),
        (b"INFO ", "a NATS server answers on this port; give the relay's, 55555 by default"),
        (b"-ERR", "a Redis server answers on this port; give the relay's, 55555 by default"),
    ),
    Role.RELAY: (
        (b"  V", "an NSQ client; nsqd listens on another port, 4150 by default"),
        (b"GET ", "an HTTP client; the relay speaks the Iris protocol only"),
        (b"POST ", "an HTTP client; the relay speaks the Iris protocol only"),
        (b"\x16\x03", "a TLS client; the relay speaks plain TCP"),
    ),
}
_LONGEST_HELLO: Final = 5


def version_refusal(version: str) -> str | None:
    """Why a client's `version` is refused by a relay of ours; None when it is not."""
    if version == VERSION:
        return None
    return f"unsupported protocol version: client speaks {version!r}, relay speaks {VERSION!r}"


class IrisProtocol:
    """One connection as `role` sees it: bytes in, records out, and the reverse.

    Not thread-safe; does no I/O. Every error is an `IrisProtocolError`. After
    one raised by `feed_untrusted` the state is CLOSED and the socket is to be
    dropped; one raised by `encode` (ours) leaves all as it was.
    """

    __slots__ = ("_decoder", "_first", "_talking", "role", "state")

    def __init__(self, role: Role, limits: PacketLimits = DEFAULT_LIMITS) -> None:
        self.role = role
        self.state = ConnectionState.NEW
        #: Packets that mean no transition are taken: they need no look at the table.
        self._talking = False
        self._decoder = PacketDecoder(role.peer, limits)
        self._first = b""

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete packet held now."""
        return self._decoder.buffered

    def encode(self, packet: Packet) -> bytes:
        """The bytes of `packet`, sent by this side now."""
        data = encode_packet(packet)
        record = type(packet)
        if not self._talking or record in _CONTROL:
            self._enter(self._next(record, ours=True))
        return data

    def feed_untrusted(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes.

        Raises `IrisProtocolError`, with what came whole before in `decoded`.
        """
        if not self._talking:
            if self.state is ConnectionState.CLOSED:
                return []
            self._first = (self._first + data[:_LONGEST_HELLO])[:_LONGEST_HELLO]
        try:
            packets = self._decoder.decode_untrusted(data)
        except IrisProtocolError as error:
            return self._judged(error.decoded, error)
        # What means no transition may come at any time of a conversation.
        if self._talking and _CONTROL.isdisjoint(map(type, packets)):
            return packets
        return self._judged(packets, None)

    def _judged(
        self, packets: Sequence[Packet], violation: IrisProtocolError | None
    ) -> list[Packet]:
        """The packets that may come, one after another, and what they lead to."""
        taken = 0
        try:
            for packet in packets:
                record = type(packet)
                if record in _CONTROL or not self._talking:
                    if self.state is ConnectionState.CLOSED:
                        return list(packets[:taken])
                    self._check_magic(packet)
                    self._enter(self._next(record, ours=False))
                taken += 1
        except IrisProtocolError as error:
            violation = error
        if violation is not None:
            raise self._fatal(violation, packets[:taken])
        return list(packets)

    def _enter(self, state: ConnectionState) -> None:
        self.state = state
        self._talking = state in _TALKING

    def _next(self, record: type[Packet], *, ours: bool) -> ConnectionState:
        """The state after `record`; raises `IrisProtocolError` when it may not come now."""
        after = TRANSITIONS.get((self.state, record))
        if after is not None:
            return after
        if record not in _CONTROL and not ours and (self.role, self.state) in _PASSING:
            return self.state
        sender = self.role if ours else self.role.peer
        raise IrisProtocolError(
            f"{record.__name__} from the {sender.value} may not come in state {self.state.value}",
            ours=ours,
        )

    def _check_magic(self, packet: Packet) -> None:
        if isinstance(packet, ClientInit | RelayInit | Deny):
            wanted = _MAGIC[self.role.peer]
            if packet.magic != wanted:
                raise IrisProtocolError(f"magic is {packet.magic[:40]!r} instead of {wanted!r}")

    def _fatal(self, error: IrisProtocolError, decoded: Sequence[Packet]) -> IrisProtocolError:
        """Close, and say which stranger this probably is."""
        hint = "" if self._talking else _stranger(self.role, self._first)
        self._enter(ConnectionState.CLOSED)
        return IrisProtocolError(error.reason, hint=hint, decoded=decoded)


def _stranger(role: Role, first: bytes) -> str:
    """The hint for a peer whose first bytes, maybe not all of them, are `first`."""
    for prefix, hint in _STRANGERS[role]:
        if first.startswith(prefix) or prefix.startswith(first):
            return hint
    return ""
