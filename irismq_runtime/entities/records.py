"""What nodes write in a store about themselves and their shards: rows as states, and back.

    irismq.member, key: the node's id    which addresses it has entities of, where its process is;
                                         each beat is a commit, so that the version is the beat
    a shard's address, without a key     which node owns it; "": nobody

They have the form of every stored state (type, version, codec, body), so that whoever reads a store
reads them. A row that cannot be read says nothing. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

__all__ = ["MEMBERS", "NodeRow", "member_in", "owner_in", "owner_state"]

#: The address under which nodes have their rows.
MEMBERS: Final = "irismq.member"
_MEMBER: Final = "irismq.member-row"
_OWNER: Final = "irismq.shard-owner"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, str, bytes]).decode


class _NodeBody(msgspec.Struct):
    addresses: list[str] = []
    place: str = ""
    name: str = ""


class _OwnerBody(msgspec.Struct):
    owner: str = ""


_decode_member: Final = msgspec.msgpack.Decoder(_NodeBody).decode
_decode_owner: Final = msgspec.msgpack.Decoder(_OwnerBody).decode


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What a node says of itself.

    Attributes:
        addresses: Of which it has entities.
        place: The host and the process, so that another process of the host can see that it
            is gone; "" where that cannot be said.
        name: Its name, for people.
    """

    addresses: frozenset[str] = frozenset()
    place: str = ""
    name: str = ""

    def state(self) -> bytes:
        """As it is stored."""
        body = _NodeBody(sorted(self.addresses), self.place, self.name)
        return _encode((_MEMBER, 1, "", _encode(body)))


def member_in(state: bytes | None) -> NodeRow:
    """What a stored row says; an empty one for what cannot be read."""
    body = _body(state, _MEMBER)
    try:
        read = _decode_member(body)
    except msgspec.DecodeError:
        return NodeRow()
    return NodeRow(frozenset(read.addresses), read.place, read.name)


def owner_state(owner: str) -> bytes:
    """The row of a shard that `owner` has; "": nobody."""
    return _encode((_OWNER, 1, "", _encode(_OwnerBody(owner))))


def owner_in(state: bytes | None) -> str:
    """Who owns a shard, as its row says; "" for nobody."""
    try:
        return _decode_owner(_body(state, _OWNER)).owner
    except msgspec.DecodeError:
        return ""


def _body(state: bytes | None, kind: str) -> bytes:
    """The body of a row; b"" where it is none of this kind."""
    try:
        name, _, _, body = _decode(state or b"")
    except msgspec.DecodeError:
        return b""
    return body if name == kind else b""
