"""The envelope: what every message of ours is wrapped in.

Byte 0xC1, which msgpack never uses, a version byte, then one msgpack array:
kind, id, type name, body, headers. The body is opaque here. What does not start
with 0xC1 is foreign: from a program that knows nothing of us. Limits and
signature are checked before anybody looks at the body. Nothing is built of the
headers that could be hashed or nested by a stranger's choice: they hold scalars
and one list of texts, and no header twice.

What our own nodes write is read in one pass, with headers by name and type; whether
all that were announced came out of it says whether that was the whole. Everything else
is read with more care, and then taken or refused.
"""

from __future__ import annotations

import enum
from hmac import compare_digest
from typing import TYPE_CHECKING, Annotated, Any, Final, final

import msgspec

from irismq_runtime.errors import (
    BadSignature,
    DecodeError,
    EncodeError,
    MessageTooLarge,
    NotFresh,
    NotSigned,
    SignatureError,
    UnknownFormat,
)
from irismq_runtime.wire.headers import (
    KEY_ID,
    MAC,
    SEAL,
    SIGNED,
    Headers,
    header_problem,
    read_headers_untrusted,
)
from irismq_runtime.wire.ids import ID_SIZE
from irismq_runtime.wire.limits import DEFAULT_LIMITS, WireLimits
from irismq_runtime.wire.signing import MAC_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.wire.signing import Key, KeyRing, Place

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
    "encode_sealed",
    "verify_sealed_untrusted",
    "without_signature",
]

MAGIC: Final = 0xC1
VERSION: Final = 1
MAX_TYPE_NAME: Final = 200

_PREFIX: Final = bytes([MAGIC, VERSION])
_CHEAP_TO_COPY: Final = 4096
#: What an integer of so many bits takes beside its first byte, at least: (bytes, bits).
_INT_BYTES: Final = ((0, 7), (1, 8), (2, 16), (4, 32), (8, 64))
_NO_MAC: Final = bytes(MAC_SIZE)
_SIGNATURES: Final = frozenset({KEY_ID, MAC, SEAL, SIGNED})
#: What stands between the two signatures of an envelope that has both.
_MAC_BEGINS: Final = b"\xa1m\xc4\x20"


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

#: How an envelope begins as our nodes write it: all its fields, so that no default fills
#: one, its kind in one byte, and the length of its id.
_BEGINNINGS: Final = tuple(_PREFIX + bytes([0x95, kind, 0xC4, ID_SIZE]) for kind in Kind)
_NAME_AT: Final = len(_BEGINNINGS[0]) + ID_SIZE
#: Marks of msgpack. A short text or map has its length in its mark.
_FIXMAP: Final = 0x80
_FIXSTR: Final = 0xA0
_STR8: Final = 0xD9
#: Where the body is, less the length of a short type name in its mark.
_BODY_AT: Final = _NAME_AT + 1 - _FIXSTR
#: The bytes before what is in a body, by its mark.
_BEFORE_BODY: Final = {0xC4: 2, 0xC5: 3, 0xC6: 5}
#: The least that an envelope with a header has beside its type name and its body.
_WITH_A_HEADER: Final = _NAME_AT + 1 + 2 + (1 + 2)


@final
class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message as it travels. `id`: 16 bytes; `type`: "" for plain values.

    A reply, an error, a cancel and the parts of a stream carry the id of the
    ask they belong to. `headers` is a dict, of whatever the sender has put there.
    """

    kind: Kind
    id: Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
    type: Annotated[str, msgspec.Meta(max_length=MAX_TYPE_NAME)] = ""
    body: bytes = b""
    headers: Headers = {}  # each its own


class Foreign(msgspec.Struct, frozen=True):
    """Bytes that are not an envelope, as they came."""

    data: bytes


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    kind: int
    id: bytes
    type: str
    body: bytes
    headers: msgspec.Raw


_encode: Final = msgspec.msgpack.Encoder().encode
#: Checks the headers of the protocol in passing, and leaves out all others.
_decode: Final = msgspec.msgpack.Decoder(Envelope).decode
_decode_wire: Final = msgspec.msgpack.Decoder(_Wire).decode


def encode_envelope(
    envelope: Envelope, *, limits: WireLimits = DEFAULT_LIMITS, signer: Key | None = None
) -> bytes:
    """Return the bytes of an envelope. From any thread.

    Args:
        envelope: what is to travel.
        limits: bytes of all of it, and how deep and wide its headers may be.
        signer: signs it in version 1.

    Raises:
        EncodeError: an envelope cannot hold this; the path says where (`$.headers...`).
        MessageTooLarge: it is above the limits.
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


def encode_checked(envelope: Envelope, limits: WireLimits, signer: Key | None) -> bytes:
    """As `encode_envelope`, for what is known to be as an envelope must be.

    Args:
        envelope: its headers have been checked (`check_headers`), its id is one of
            `new_id` or has arrived, its type name is a registered one.
        limits: bytes of all of it.
        signer: signs it in version 1; None leaves it unsigned.

    Raises:
        MessageTooLarge: it is above the limits.
    """
    if signer is not None:
        headers = envelope.headers
        headers = {k: v for k, v in headers.items() if k not in (KEY_ID, MAC)}
        headers |= {KEY_ID: signer.id, MAC: _NO_MAC}
        envelope = Envelope(envelope.kind, envelope.id, envelope.type, envelope.body, headers)
    try:
        data = _PREFIX + _encode(envelope)
    except (UnicodeEncodeError, OverflowError) as error:
        raise _not_encodable(error) from error
    if len(data) > limits.size:
        raise MessageTooLarge(len(data), limits.size)
    if signer is not None:
        data = data[:-MAC_SIZE]
        data += signer.mac(data)
    return data


def encode_sealed(
    envelope: Envelope,
    limits: WireLimits,
    keys: KeyRing,
    place: Place,
    now: float,
) -> bytes:
    """As `encode_checked`, signed in version 2, and in version 1 behind it while `keys` say so.

    Args:
        envelope: as `encode_checked` takes it, with headers that hold no signature. They are
            completed, and must not be used again.
        limits: bytes of all of it.
        keys: the signer signs it; `old_until` is for readers that know version 1 alone.
        place: for which place, verb and ask the signature holds.
        now: seconds since 1970.

    Raises:
        MessageTooLarge: it is above the limits.
    """
    key = keys.signer
    headers = envelope.headers
    headers[KEY_ID] = key.id
    headers[SIGNED] = int(now * 1000)
    headers[SEAL] = _NO_MAC
    if now < keys.old_until:
        headers[MAC] = _NO_MAC
        data = encode_checked(envelope, limits, None)[: -2 * MAC_SIZE - len(_MAC_BEGINS)]
        data += key.seal(place, data) + _MAC_BEGINS
        return data + key.mac(data)
    # As `encode_checked`, in place: a call more, on every message.
    try:
        data = _PREFIX + _encode(envelope)
    except (UnicodeEncodeError, OverflowError) as error:
        raise _not_encodable(error) from error
    if len(data) > limits.size:
        raise MessageTooLarge(len(data), limits.size)
    data = data[:-MAC_SIZE]
    return data + key.seal(place, data)


def _not_encodable(error: Exception) -> EncodeError:
    return EncodeError("$.headers", f"{type(error).__name__}: {error}"[:300])


def without_signature(headers: dict[str, Any]) -> dict[str, Any]:
    """A copy of `headers` without any signature, and the time and key of one."""
    return {key: value for key, value in headers.items() if key not in _SIGNATURES}


def verify_sealed_untrusted(  # noqa: PLR0917  # on the hot path, where keywords cost
    data: bytes,
    headers: dict[str, Any],
    keys: KeyRing,
    place: Place,
    now: Callable[[], float],
    stored: float | None = None,
) -> bytes | None:
    """Return the signature of version 2 by which an envelope is authentic.

    Args:
        data: the envelope as received.
        headers: of that envelope, as decoded.
        keys: which signatures are accepted.
        place: for which place, verb and ask it must hold.
        now: gives the time, in seconds since 1970: it decides whether `keys` take version 1.
        stored: when its broker took it; None: it was not stored. What was stored in time is
            taken in version 1 however late it is handled.

    Returns:
        The 32 bytes of it; None when it is signed in version 1 alone and `keys` take that.

    Raises:
        SignatureError: it is not authentic there.
    """
    seal: bytes | None = headers.get(SEAL)
    if seal is None:
        if MAC in headers and (now() if stored is None else stored) >= keys.old_until:
            raise NotFresh("it is signed in version 1, which does not say for what or when")
        _verify(data, headers, keys)
        return None
    if data.endswith(seal):  # one that is shorter is compared below, and equals nothing
        signed = data[:-MAC_SIZE] if len(data) < _CHEAP_TO_COPY else memoryview(data)[:-MAC_SIZE]
    else:
        end = max(0, len(data) - 2 * MAC_SIZE - len(_MAC_BEGINS))
        if data[end + MAC_SIZE : -MAC_SIZE] != _MAC_BEGINS or data[end : end + MAC_SIZE] != seal:
            seal = b""  # it is not where it must be, so it signs nothing
        signed = memoryview(data)[:end]
    key = keys.by_id.get(headers.get(KEY_ID, ""))
    if key is None:
        key = keys.key_untrusted(headers.get(KEY_ID), seal)
    if not compare_digest(key.seal(place, signed), seal):
        raise BadSignature(key.id)
    if SIGNED not in headers:
        raise NotFresh("it does not say when it was signed")
    return seal


def decode_envelope_untrusted(
    data: bytes, limits: WireLimits = DEFAULT_LIMITS, keys: KeyRing | None = None
) -> Envelope | Foreign:
    """Return the envelope in received bytes, or `Foreign` when they do not claim to be one.

    Args:
        data: whatever came; nothing is allocated for what it claims before that is checked.
        limits: bytes of all of it, and how deep and wide its headers may be.
        keys: by which it must be signed; None checks no signature.

    Raises:
        DecodeError: it cannot be read, and nothing else is raised. Its subclass
            `SignatureError`: no key fits (foreign bytes are never signed).
    """
    size = len(data)
    if size > limits.size:
        raise DecodeError(f"{size:,} bytes, over the limit of {limits.size:,}")
    if data.startswith(_BEGINNINGS):
        try:
            envelope = _decode(data[2:] if size < _CHEAP_TO_COPY else memoryview(data)[2:])
            headers = envelope.headers
            body = len(envelope.body)
            if not headers and size - body - len(envelope.type) < _WITH_A_HEADER:
                return envelope if keys is None else _verified(data, envelope, keys)
            mark = data[_NAME_AT]
            if mark < _STR8:
                at = _BODY_AT + mark
            else:
                at = _NAME_AT + 2 + data[_NAME_AT + 1] if mark == _STR8 else 0
            # As many as are announced came out: none is unknown, and none there twice.
            if data[at + _BEFORE_BODY[data[at]] + body] == _FIXMAP | len(headers):
                return envelope if keys is None else _verified(data, envelope, keys)
        except SignatureError:
            raise
        except Exception:  # noqa: S110  # the careful way takes it after all, or says what is wrong
            pass
    return _read_carefully_untrusted(data, keys)


def _read_carefully_untrusted(data: bytes, keys: KeyRing | None) -> Envelope | Foreign:
    """As `decode_envelope_untrusted`, for all that is not too large."""
    if not data.startswith(_PREFIX):
        return _not_ours(data, keys)
    envelope = _read_untrusted(memoryview(data)[2:])
    headers = envelope.headers
    problem = header_problem(headers)
    if problem is not None:
        raise DecodeError(f"header {problem[0]!r} must be {problem[1]}")
    return envelope if keys is None else _verified(data, envelope, keys)


def _read_untrusted(rest: memoryview) -> Envelope:
    """What follows the version byte, whichever form of msgpack it is in."""
    try:
        wire = _decode_wire(rest)
    except Exception as error:  # msgspec's errors, UnicodeDecodeError, RecursionError
        raise DecodeError(f"malformed envelope ({error})"[:300]) from error
    kind = _KINDS.get(wire.kind)
    if kind is None:
        raise UnknownFormat(f"unknown kind {wire.kind}; the sender may be newer than this node")
    if len(wire.id) != ID_SIZE or len(wire.type) > MAX_TYPE_NAME:
        raise DecodeError("id or type name of a wrong length")
    headers = read_headers_untrusted(bytes(wire.headers))
    return Envelope(kind, wire.id, wire.type, wire.body, headers)


def _verified(data: bytes, envelope: Envelope, keys: KeyRing) -> Envelope:
    _verify(data, envelope.headers, keys)
    return envelope


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
    version = f"envelope version {data[1]}; this node speaks version {VERSION}"
    raise UnknownFormat(version) if data[1] > VERSION else DecodeError(version)
