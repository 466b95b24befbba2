"""The envelope: what every message of ours is wrapped in.

Byte 0xC1, which msgpack never uses, a version byte, then one msgpack array:
kind, id, type name, body, headers. The body is opaque here. What does not start
with 0xC1 is foreign: from a program that knows nothing of us. Limits and
signature are checked before anybody looks at the body.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, Final, final

import msgspec

from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge, NotSigned
from irismq_runtime.wire.headers import KEY_ID, MAC, header_problem
from irismq_runtime.wire.ids import ID_SIZE
from irismq_runtime.wire.limits import DEFAULT_LIMITS, Limits
from irismq_runtime.wire.signing import MAC_SIZE

if TYPE_CHECKING:
    from irismq_runtime.wire.signing import Key, KeyRing

__all__ = [
    "MAGIC",
    "MAX_TYPE_NAME",
    "VERSION",
    "Envelope",
    "Foreign",
    "Kind",
    "check_headers",
    "decode_envelope_untrusted",
    "encode_checked",
    "encode_envelope",
]

MAGIC: Final = 0xC1
VERSION: Final = 1
MAX_TYPE_NAME: Final = 200

_PREFIX: Final = bytes([MAGIC, VERSION])
_FIVE: Final = _PREFIX + b"\x95"
_CHEAP_TO_COPY: Final = 4096
_NO_MAC: Final = bytes(MAC_SIZE)


class Kind(enum.IntEnum):
    """What an envelope is for."""

    TELL = 1
    ASK = 2
    REPLY = 3
    ERROR = 4
    EVENT = 5
    CANCEL = 6
    PRESENCE = 7
    DEAD = 8
    STREAM = 9
    END = 10


_KINDS: Final = {int(kind): kind for kind in Kind}


@final
class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message as it travels. `id`: 16 bytes; `type`: "" for plain values.

    A reply, an error, a cancel and the parts of a stream carry the id of the
    ask they belong to.
    """

    kind: Kind
    id: Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
    type: Annotated[str, msgspec.Meta(max_length=MAX_TYPE_NAME)] = ""
    body: bytes = b""
    headers: dict[str, Any] = {}  # msgspec gives each its own


class Foreign(msgspec.Struct, frozen=True):
    """Bytes that are no envelope, as they came."""

    data: bytes


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    kind: int
    id: bytes
    type: str
    body: bytes
    headers: dict[str, Any]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Envelope).decode
_decode_wire: Final = msgspec.msgpack.Decoder(_Wire).decode


def encode_envelope(
    envelope: Envelope, *, limits: Limits = DEFAULT_LIMITS, signer: Key | None = None
) -> bytes:
    """The bytes of `envelope`, signed when a `signer` is given.

    Raises `EncodeError` (with `$.headers...` and the like as path) for what an
    envelope cannot hold, and `MessageTooLarge`.
    """
    check_headers(envelope.headers)
    if len(envelope.id) != ID_SIZE:
        raise EncodeError("$.id", f"must be {ID_SIZE} bytes")
    if len(envelope.type) > MAX_TYPE_NAME:
        raise EncodeError("$.type", f"must have at most {MAX_TYPE_NAME} characters")
    return encode_checked(envelope, limits, signer)


def check_headers(headers: dict[str, Any]) -> None:
    """Raise `EncodeError` if an envelope cannot hold these headers."""
    problem = header_problem(headers) if headers else None
    if problem is not None:
        raise EncodeError(f"$.headers.{problem[0]}", f"must be {problem[1]}")


def encode_checked(envelope: Envelope, limits: Limits, signer: Key | None) -> bytes:
    """As `encode_envelope`, for what is known to be as an envelope must be.

    Its headers have been checked (`check_headers`), its id is one of `new_id` or
    has arrived, its type name is a registered one.
    """
    if signer is not None:
        headers = envelope.headers
        headers = {k: v for k, v in headers.items() if k not in (KEY_ID, MAC)}
        headers |= {KEY_ID: signer.id, MAC: _NO_MAC}
        envelope = Envelope(envelope.kind, envelope.id, envelope.type, envelope.body, headers)
    try:
        data = _PREFIX + _encode(envelope)
    except (UnicodeEncodeError, OverflowError) as error:
        raise EncodeError("$.headers", f"{type(error).__name__}: {error}"[:300]) from error
    if len(data) > limits.size:
        raise MessageTooLarge(len(data), limits.size)
    if signer is not None:
        data = data[:-MAC_SIZE]
        data += signer.mac(data)
    return data


def decode_envelope_untrusted(
    data: bytes, limits: Limits = DEFAULT_LIMITS, keys: KeyRing | None = None
) -> Envelope | Foreign:
    """The envelope in `data`, or `Foreign` when it does not claim to be one.

    Raises `DecodeError` alone; its subclass `SignatureError` when `keys` are
    given and do not fit (foreign bytes are never signed).
    """
    if len(data) > limits.size:
        raise DecodeError(f"{len(data):,} bytes, over the limit of {limits.size:,}")
    envelope: Envelope | None = None
    if data.startswith(_FIVE):  # all five fields are there: no default fills one
        try:
            envelope = _decode(data[2:] if len(data) < _CHEAP_TO_COPY else memoryview(data)[2:])
        except Exception:  # the careful way accepts it after all, or says what is wrong
            envelope = None
    elif not data.startswith(_PREFIX):
        return _not_ours(data, keys)
    if envelope is None:
        envelope = _read_untrusted(memoryview(data)[2:])
    headers = envelope.headers
    problem = header_problem(headers) if headers else None
    if problem is not None:
        raise DecodeError(f"header {problem[0]!r} must be {problem[1]}")
    if keys is not None:
        _verify(data, headers, keys)
    return envelope


def _read_untrusted(rest: memoryview) -> Envelope:
    """What follows the version byte, whichever form of msgpack it is in."""
    try:
        wire = _decode_wire(rest)
    except Exception as error:  # msgspec's errors, UnicodeDecodeError, RecursionError
        raise DecodeError(f"malformed envelope ({error})"[:300]) from error
    kind = _KINDS.get(wire.kind)
    if kind is None:
        raise DecodeError(f"unknown kind {wire.kind}; the sender may be newer than this node")
    if len(wire.id) != ID_SIZE or len(wire.type) > MAX_TYPE_NAME:
        raise DecodeError("id or type name of a wrong length")
    return Envelope(kind, wire.id, wire.type, wire.body, wire.headers)


def _verify(data: bytes, headers: dict[str, Any], keys: KeyRing) -> None:
    mac = headers.get(MAC)
    if mac is not None and data[-MAC_SIZE:] != mac:
        mac = b""  # not the last thing in the envelope, so it signs nothing
    keys.verify_untrusted(memoryview(data)[:-MAC_SIZE], headers.get(KEY_ID), mac)


def _not_ours(data: bytes, keys: KeyRing | None) -> Foreign:
    if data[:1] != _PREFIX[:1]:
        if keys is not None:
            raise NotSigned
        return Foreign(data)
    if len(data) == 1:
        raise DecodeError("cut short after its first byte")
    raise DecodeError(f"envelope version {data[1]}; this node speaks version {VERSION}")
