"""Packets of the Iris relay protocol v1.0-draft2: one table, both directions.

A packet is an opcode byte and its fields; there is no outer length. `PACKETS`
says, for each direction, which record an opcode stands for and which fields
it has. Encoders (encoders.py) and decoders (decoders.py) are made from that
table, so the client and the relay cannot drift apart. Which packet may come when is not known here
(states.py).
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, TypeAlias

import msgspec

__all__ = [
    "CLIENT_MAGIC",
    "PACKETS",
    "RELAY_MAGIC",
    "VERSION",
    "ClientBroadcast",
    "ClientClose",
    "ClientInit",
    "ClientPacket",
    "ClientReply",
    "ClientRequest",
    "ClientTunnelClose",
    "ClientTunnelConfirm",
    "ClientTunnelInit",
    "Deny",
    "Field",
    "Op",
    "Packet",
    "PacketRecord",
    "Publish",
    "RelayBroadcast",
    "RelayClose",
    "RelayInit",
    "RelayPacket",
    "RelayReply",
    "RelayRequest",
    "RelayTunnelClose",
    "RelayTunnelConfirm",
    "RelayTunnelInit",
    "Role",
    "Row",
    "Subscribe",
    "TunnelAllow",
    "TunnelTransfer",
    "Unsubscribe",
]

CLIENT_MAGIC: Final = "iris-client-magic"
RELAY_MAGIC: Final = "iris-relay-magic"
VERSION: Final = "v1.0-draft2"


class Role(Enum):
    """Who sends a packet."""

    CLIENT = "client"
    RELAY = "relay"

    @property
    def peer(self) -> Role:
        """The other end of the connection."""
        return Role.RELAY if self is Role.CLIENT else Role.CLIENT


class Op(IntEnum):
    """The first byte of a packet."""

    INIT = 0x00
    DENY = 0x01
    CLOSE = 0x02
    BROADCAST = 0x03
    REQUEST = 0x04
    REPLY = 0x05
    SUBSCRIBE = 0x06
    UNSUBSCRIBE = 0x07
    PUBLISH = 0x08
    TUNNEL_INIT = 0x09
    TUNNEL_CONFIRM = 0x0A
    TUNNEL_ALLOW = 0x0B
    TUNNEL_TRANSFER = 0x0C
    TUNNEL_CLOSE = 0x0D


class Field(IntEnum):
    """How a field of a record stands on the wire.

    The last three take more than one value: RESULT is the pair (body, fault)
    as a bool and one of both; TIMED_RESULT a bool `timeout` and, unless set, a
    RESULT; TIMED_VARINT a bool `timeout` and, unless set, a varint. When the
    flag is set nothing follows it: the flag wins.
    """

    VARINT = 0
    BINARY = 1
    CHUNK = 2
    NAME = 3
    TEXT = 4
    RESULT = 5
    TIMED_RESULT = 6
    TIMED_VARINT = 7

    @property
    def width(self) -> int:
        """How many values of a record it takes."""
        return {Field.RESULT: 2, Field.TIMED_RESULT: 3, Field.TIMED_VARINT: 2}.get(self, 1)


class PacketRecord(msgspec.Struct, frozen=True, gc=False):
    """One packet: plain values, in the order in which they stand on the wire."""


class ClientInit(PacketRecord, frozen=True):
    """Opens a connection; an empty cluster makes a client that is not a member."""

    magic: str
    version: str
    cluster: str


class RelayInit(PacketRecord, frozen=True):
    """Accepts a connection."""

    magic: str
    version: str


class Deny(PacketRecord, frozen=True):
    """Refuses a connection, which the relay then closes."""

    magic: str
    reason: str


class ClientClose(PacketRecord, frozen=True):
    """Asks for an orderly end; requests are answered until `RelayClose` comes."""


class RelayClose(PacketRecord, frozen=True):
    """Ends the connection; an empty reason is a graceful end."""

    reason: str


class ClientBroadcast(PacketRecord, frozen=True):
    """A message to every member of a cluster."""

    cluster: str
    body: bytes


class RelayBroadcast(PacketRecord, frozen=True):
    """A broadcast for this member."""

    body: bytes


class ClientRequest(PacketRecord, frozen=True):
    """A request to one member of a cluster; `id` is the client's own."""

    id: int
    cluster: str
    body: bytes
    timeout_ms: int


class RelayRequest(PacketRecord, frozen=True):
    """A request for this member; `id` is the relay's own."""

    id: int
    body: bytes
    timeout_ms: int


class ClientReply(PacketRecord, frozen=True):
    """A member's answer: either `body` or `fault` is set, the other is None."""

    id: int
    body: bytes | None
    fault: str | None


class RelayReply(PacketRecord, frozen=True):
    """The result of a request: `timeout`, or `body`, or `fault`."""

    id: int
    timeout: bool
    body: bytes | None
    fault: str | None


class Subscribe(PacketRecord, frozen=True):
    """Listen to a topic."""

    topic: str


class Unsubscribe(PacketRecord, frozen=True):
    """Listen to a topic no more."""

    topic: str


class Publish(PacketRecord, frozen=True):
    """An event, to the relay and from it alike."""

    topic: str
    body: bytes


class ClientTunnelInit(PacketRecord, frozen=True):
    """Asks for a tunnel to one member of a cluster; `id` names the client's end."""

    id: int
    cluster: str
    timeout_ms: int


class RelayTunnelInit(PacketRecord, frozen=True):
    """An inbound tunnel for this member, to be confirmed within 3 s."""

    init_id: int
    chunk_limit: int


class ClientTunnelConfirm(PacketRecord, frozen=True):
    """Takes the inbound tunnel `init_id`; `tunnel_id` names the acceptor's end."""

    init_id: int
    tunnel_id: int


class RelayTunnelConfirm(PacketRecord, frozen=True):
    """The result of a tunnel init: `timeout`, or the chunk limit in bytes."""

    tunnel_id: int
    timeout: bool
    chunk_limit: int | None


class TunnelAllow(PacketRecord, frozen=True):
    """Grants the peer `granted` more payload bytes."""

    tunnel_id: int
    granted: int


class TunnelTransfer(PacketRecord, frozen=True):
    """A chunk; `size` is the whole message's on its first chunk, 0 on the others."""

    tunnel_id: int
    size: int
    chunk: bytes


class ClientTunnelClose(PacketRecord, frozen=True):
    """Closes a tunnel, both ends of it."""

    tunnel_id: int


class RelayTunnelClose(PacketRecord, frozen=True):
    """A tunnel was closed; an empty reason is a graceful end."""

    tunnel_id: int
    reason: str


ClientPacket: TypeAlias = (
    ClientInit
    | ClientClose
    | ClientBroadcast
    | ClientRequest
    | ClientReply
    | Subscribe
    | Unsubscribe
    | Publish
    | ClientTunnelInit
    | ClientTunnelConfirm
    | TunnelAllow
    | TunnelTransfer
    | ClientTunnelClose
)
RelayPacket: TypeAlias = (
    RelayInit
    | Deny
    | RelayClose
    | RelayBroadcast
    | RelayRequest
    | RelayReply
    | Publish
    | RelayTunnelInit
    | RelayTunnelConfirm
    | TunnelAllow
    | TunnelTransfer
    | RelayTunnelClose
)
Packet: TypeAlias = ClientPacket | RelayPacket

_VARINT, _BINARY, _CHUNK, _NAME, _TEXT, _RESULT, _TIMED_RESULT, _TIMED_VARINT = Field
Row: TypeAlias = tuple[type[Packet], tuple[Field, ...]]

#: Direction -> opcode -> (record, its fields in wire order). What a direction
#: does not list, its sender never sends.
PACKETS: Final[dict[Role, dict[Op, Row]]] = {
    Role.CLIENT: {
        Op.INIT: (ClientInit, (_NAME, _NAME, _NAME)),
        Op.CLOSE: (ClientClose, ()),
        Op.BROADCAST: (ClientBroadcast, (_NAME, _BINARY)),
        Op.REQUEST: (ClientRequest, (_VARINT, _NAME, _BINARY, _VARINT)),
        Op.REPLY: (ClientReply, (_VARINT, _RESULT)),
        Op.SUBSCRIBE: (Subscribe, (_NAME,)),
        Op.UNSUBSCRIBE: (Unsubscribe, (_NAME,)),
        Op.PUBLISH: (Publish, (_NAME, _BINARY)),
        Op.TUNNEL_INIT: (ClientTunnelInit, (_VARINT, _NAME, _VARINT)),
        Op.TUNNEL_CONFIRM: (ClientTunnelConfirm, (_VARINT, _VARINT)),
        Op.TUNNEL_ALLOW: (TunnelAllow, (_VARINT, _VARINT)),
        Op.TUNNEL_TRANSFER: (TunnelTransfer, (_VARINT, _VARINT, _CHUNK)),
        Op.TUNNEL_CLOSE: (ClientTunnelClose, (_VARINT,)),
    },
    Role.RELAY: {
        Op.INIT: (RelayInit, (_NAME, _NAME)),
        Op.DENY: (Deny, (_NAME, _TEXT)),
        Op.CLOSE: (RelayClose, (_TEXT,)),
        Op.BROADCAST: (RelayBroadcast, (_BINARY,)),
        Op.REQUEST: (RelayRequest, (_VARINT, _BINARY, _VARINT)),
        Op.REPLY: (RelayReply, (_VARINT, _TIMED_RESULT)),
        Op.PUBLISH: (Publish, (_NAME, _BINARY)),
        Op.TUNNEL_INIT: (RelayTunnelInit, (_VARINT, _VARINT)),
        Op.TUNNEL_CONFIRM: (RelayTunnelConfirm, (_VARINT, _TIMED_VARINT)),
        Op.TUNNEL_ALLOW: (TunnelAllow, (_VARINT, _VARINT)),
        Op.TUNNEL_TRANSFER: (TunnelTransfer, (_VARINT, _VARINT, _CHUNK)),
        Op.TUNNEL_CLOSE: (RelayTunnelClose, (_VARINT, _TEXT)),
    },
}
