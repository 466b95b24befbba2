"""What nodes write in a store about themselves and their shards: rows as states, and back.

    irismq.member, key: the node's id    which addresses it has entities of, where its process is;
                                         each beat is a commit, so that the version is the beat
    a shard's address, without a key     which node owns it; "": nobody
    irismq.pins, key: an address         which of its shards an operator wants elsewhere than they
                                         belong, as long as the node named lives

They have the form of every stored state (type, version, codec, body), so that whoever reads a store
reads them. A row that cannot be read says nothing. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MEMBERS",
    "PINS",
    "NodeRow",
    "member_in",
    "owner_in",
    "owner_state",
    "pins_in",
    "pins_state",
]

#: The address under which nodes have their rows.
MEMBERS: Final = "irismq.member"
#: The address under which it is kept which shards of an address are moved.
PINS: Final = "irismq.pins"
_MEMBER: Final = "irismq.member-row"
_PINNED: Final = "irismq.pinned-shards"
_OWNER: Final = "irismq.shard-owner"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, str, bytes]).decode


class _NodeBody(msgspec.Struct):
    addresses: list[str] = []
    place: str = ""
    name: str = ""
    avoids: list[str] = []


class _OwnerBody(msgspec.Struct):
    owner: str = ""


class _PinsBody(msgspec.Struct):
    pins: dict[int, str] = {}


_decode_member: Final = msgspec.msgpack.Decoder(_NodeBody).decode
_decode_pins: Final = msgspec.msgpack.Decoder(_PinsBody).decode
_decode_owner: Final = msgspec.msgpack.Decoder(_OwnerBody).decode


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What a node says of itself.

    Attributes:
        addresses: Of which it has entities.
        place: The host and the process, so that another process of the host can see that it
            is gone; "" where that cannot be said.
        name: Its name, for people.
        avoids: The addresses of shards that it does not want: newer code than its own has written
            a state in them.
    """

    addresses: frozenset[str] = frozenset()
    place: str = ""
    name: str = ""
    avoids: frozenset[str] = frozenset()

    def state(self) -> bytes:
        """As it is stored."""
        body = _NodeBody(sorted(self.addresses), self.place, self.name, sorted(self.avoids))
        return _encode((_MEMBER, 1, "", _encode(body)))


def member_in(state: bytes | None) -> NodeRow:
    """What a stored row says; an empty one for what cannot be read."""
    body = _body(state, _MEMBER)
    try:
        read = _decode_member(body)
    except msgspec.DecodeError:
        return NodeRow()
    addresses, avoids = frozenset(read.addresses), frozenset(read.avoids)
    return NodeRow(addresses, read.place, read.name, avoids)


def owner_state(owner: str) -> bytes:
    """The row of a shard that `owner` has; "": nobody."""
    return _encode((_OWNER, 1, "", _encode(_OwnerBody(owner))))


def owner_in(state: bytes | None) -> str:
    """Who owns a shard, as its row says; "" for nobody."""
    try:
        return _decode_owner(_body(state, _OWNER)).owner
    except msgspec.DecodeError:
        return ""


def pins_state(pins: Mapping[int, str]) -> bytes:
    """The row that says to which nodes shards are moved."""
    return _encode((_PINNED, 1, "", _encode(_PinsBody(dict(pins)))))


def pins_in(state: bytes | None) -> dict[int, str]:
    """To which nodes shards are moved, as a row says; {} for none, or what cannot be read."""
    try:
        return _decode_pins(_body(state, _PINNED)).pins
    except msgspec.DecodeError:
        return {}


def _body(state: bytes | None, kind: str) -> bytes:
    """The body of a row; b"" where it is none of this kind."""
    try:
        name, _, _, body = _decode(state or b"")
    except msgspec.DecodeError:
        return b""
    return body if name == kind else b""
