"""Envelopes by docs/protocol.md alone: this file imports msgpack and nothing of ours.

Text, numbers, lists, maps and nil are what they are. Of the types that msgpack
lacks, the ones this example meets are `Object`, `Ref` and `Decimal`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from decimal import Decimal
from typing import Any, NamedTuple, cast

import msgpack

TELL, ASK, REPLY, ERROR, EVENT, CANCEL, PRESENCE, DEAD, STREAM, END = range(1, 11)

_MARK, _DECIMAL, _REF = 1, 8, 9
_PERSON = b"irismq-envelope2"


class Object(NamedTuple):
    """A value of a registered class."""

    type: str
    fields: dict[str, Any]


class Ref(NamedTuple):
    """An actor on a node: "<node id>/<urn>"."""

    text: str


class Key(NamedTuple):
    """What envelopes are signed with."""

    id: str
    secret: bytes


class Envelope(NamedTuple):
    """One envelope that was read. `body` is its value."""

    kind: int
    id: bytes
    type: str
    body: Any
    headers: dict[str, Any]


def pack(
    kind: int,
    body: object = None,
    *,
    type: str = "",  # noqa: A002  # the element's name
    id: bytes | None = None,  # noqa: A002  # as above
    key: Key | None = None,
    place: str = "",
    **headers: object,
) -> bytes:
    """Return the bytes of an envelope; a new id unless `id` names an ask's.

    With a key it is good for one `place`: a verb and the name of a topic or cluster.
    """
    if key is not None:
        headers = {**headers, "k": key.id, "w": int(time.time() * 1000), "m2": bytes(32)}
    value = msgpack.packb(body, default=_special)
    fields = (kind, id or os.urandom(16), type, value, headers)
    data = b"\xc1\x01" + cast("bytes", msgpack.packb(fields))
    return data if key is None else data[:-32] + _signature(key, place, data[:-32])


def unpack(data: bytes, key: Key | None = None, place: str = "") -> Envelope:
    """Read an envelope; raises `ValueError` when it is none, or not signed for `place`."""
    if data[:2] != b"\xc1\x01":
        raise ValueError(f"no envelope of version 1: {data[:20]!r}")
    kind, identity, name, body, headers = msgpack.unpackb(data[2:], strict_map_key=False)
    if key is not None:
        genuine = _signature(key, place, data[:-32])
        signed = headers.get("k") == key.id and headers.get("m2") == data[-32:]
        if not signed or not hmac.compare_digest(genuine, data[-32:]):
            raise ValueError(f"not signed with our key for {place!r}")
    value = msgpack.unpackb(body, strict_map_key=False, ext_hook=_extension)
    return Envelope(kind, identity, name, _unmarked(value), headers)


def _signature(key: Key, place: str, data: bytes) -> bytes:
    name = place.encode()
    data = len(name).to_bytes(4, "big") + name + data
    return hashlib.blake2b(data, digest_size=32, key=key.secret, person=_PERSON).digest()


def _special(value: object) -> object:
    if isinstance(value, Decimal):
        return msgpack.ExtType(_DECIMAL, str(value).encode())
    raise TypeError(f"{value!r} cannot be sent")


def _extension(code: int, data: bytes) -> object:
    if code == _DECIMAL:
        return Decimal(data.decode())
    if code == _REF:
        return Ref(data.decode())
    if code == _MARK and data == b"o":
        return Object
    raise ValueError(f"extension type {code} is not expected here")


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        items = [_unmarked(item) for item in value]
        return Object(items[1], items[2]) if items[:1] == [Object] else items
    if isinstance(value, dict):
        return {key: _unmarked(item) for key, item in value.items()}
    return value
