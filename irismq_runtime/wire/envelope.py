"""The envelope: what every message of ours is wrapped in.

Byte 0xC1, which msgpack never uses, a version byte, then one msgpack array:
kind, id, type name, body, headers. The body is opaque here. What does not start
with 0xC1 is foreign: from a program that knows nothing of us. Limits and
signature are checked before anybody looks at the body. Nothing is built of the
headers that could be hashed or nested by a stranger's choice: they hold scalars
and one list of texts, and no header twice.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, final

import msgspec

from actors.type_variables import R
from irismq_runtime.errors import (
    DecodeError,
    EncodeError,
    MessageTooLarge,
    NotFresh,
    NotSigned,
    UnknownFormat,
)
from irismq_runtime.wire.headers import (
    KEY_ID,
    MAC,
    MAX_HEADERS,
    SEAL,
    SIGNED,
    Chain,
    header_problem,
    read_headers_untrusted,
)
from irismq_runtime.wire.ids import ID_SIZE
from irismq_runtime.wire.limits import DEFAULT_LIMITS, WireLimits
from irismq_runtime.wire.signing import MAC_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "decode_signed_untrusted",
    "encode_checked",
    "encode_envelope",
    "encode_sealed",
    "verify_sealed_untrusted",
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

#: How an envelope begins that has all its fields: no default fills one.
_FIVE: Final = _PREFIX + b"\x95"
#: Where the type name begins, after a kind in one byte and an id with its length.
_NAME_AT: Final = len(_FIVE) + 1 + 2 + ID_SIZE
#: What each entry of a map takes at least, when its key has a character.
_ENTRY: Final = 3
#: The bytes of an envelope, each length in as few as it may have, but for type name, body,
#: what is in the headers "n" and "q", and all but the first byte of the number in "q".
_USUAL: Final = _NAME_AT + 1 + 2 + (1 + _ENTRY + _ENTRY)
#: By the bits of the number in "q": the first sum of the rest at which there is room for
#: an entry more. Above 53 bits there is none, for no header is so large.
_ROOM: Final = tuple(
    _USUAL + _ENTRY + next(size for size, most in _INT_BYTES if bits <= most) if bits <= 53 else 0
    for bits in range(65)
)
#: The same for what is signed, whose key and signature are left out as well: the entries
#: of these and of the time, which takes nine bytes.
_ROOM_SIGNED: Final = tuple(room and room + _ENTRY + (_ENTRY + 8) + (_ENTRY + 2) for room in _ROOM)
#: The first and the last time, in milliseconds, that takes so many and is one.
_LATE: Final = 2**32
_LATEST: Final = 2**53
#: Headers of so many bytes are decoded with the rest; a map that hides in a header
#: of that size cannot cost more than some microseconds. Longer ones are read one by one.
_SHORT_HEADERS: Final = 256
#: In an envelope of so many bytes they are short wherever they begin.
_SHORT: Final = _NAME_AT + _SHORT_HEADERS


@final
class Envelope(
    msgspec.Struct, Generic[R], frozen=True, array_like=True, forbid_unknown_fields=True
):
    """One message as it travels. `id`: 16 bytes; `type`: "" for plain values.

    A reply, an error, a cancel and the parts of a stream carry the id of the
    ask they belong to. `R` is for the decoder: the types of what is in the headers.
    """

    kind: Kind
    id: Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
    type: Annotated[str, msgspec.Meta(max_length=MAX_TYPE_NAME)] = ""
    body: bytes = b""
    headers: Annotated[dict[str, R], msgspec.Meta(max_length=MAX_HEADERS)] = {}  # each its own


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
#: Of headers that hold nothing that could be hashed or nested by a stranger's choice. A
#: union of msgspec cannot have text and bytes in it, so these are for `_decode_any`.
_decode: Final = msgspec.msgpack.Decoder(Envelope[str | int | float | bool | None | Chain]).decode
_decode_any: Final = msgspec.msgpack.Decoder(Envelope).decode
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
        raise EncodeError("$.headers", f"{type(error).__name__}: {error}"[:300]) from error
    if len(data) > limits.size:
        raise MessageTooLarge(len(data), limits.size)
    if signer is not None:
        data = data[:-MAC_SIZE]
        data += signer.mac(data)
    return data


def encode_sealed(
    envelope: Envelope, limits: WireLimits, key: Key, place: bytes, *, now: int, old: bool
) -> bytes:
    """As `encode_checked`, signed in version 2.

    Args:
        envelope: as `encode_checked` takes it. Its headers are completed, and must not be
            used again.
        limits: bytes of all of it.
        key: what signs it.
        place: for which place, verb and ask the signature holds; see `place_of`.
        now: milliseconds since 1970.
        old: sign it in version 1 as well, behind it, for readers that know no other.

    Raises:
        MessageTooLarge: it is above the limits.
    """
    headers = envelope.headers
    if not _SIGNATURES.isdisjoint(headers):
        headers = {k: v for k, v in headers.items() if k not in _SIGNATURES}
        envelope = Envelope(envelope.kind, envelope.id, envelope.type, envelope.body, headers)
    headers[KEY_ID] = key.id
    headers[SIGNED] = now
    headers[SEAL] = _NO_MAC
    if old:
        headers[MAC] = _NO_MAC
    data = encode_checked(envelope, limits, None)
    if not old:
        data = data[:-MAC_SIZE]
        return data + key.seal(place, data)
    data = data[: -2 * MAC_SIZE - len(_MAC_BEGINS)]
    data += key.seal(place, data) + _MAC_BEGINS
    return data + key.mac(data)


def verify_sealed_untrusted(  # noqa: PLR0917  # on the hot path, where keywords cost
    data: bytes,
    headers: dict[str, Any],
    keys: KeyRing,
    place: bytes,
    now: Callable[[], float],
    stored: float | None = None,
) -> bytes | None:
    """Return the signature of version 2 by which an envelope is authentic.

    Args:
        data: the envelope as received.
        headers: of that envelope, as decoded.
        keys: which signatures are accepted.
        place: for which place, verb and ask it must hold; see `place_of`.
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
    if data[-MAC_SIZE:] == seal:
        end = len(data) - MAC_SIZE
    else:
        end = len(data) - 2 * MAC_SIZE - len(_MAC_BEGINS)
        if data[end + MAC_SIZE : -MAC_SIZE] != _MAC_BEGINS or data[end : end + MAC_SIZE] != seal:
            seal = b""  # it is not where it must be, so it signs nothing
    signed = data[:end] if 0 <= end < _CHEAP_TO_COPY else memoryview(data)[: max(end, 0)]
    keys.verify_seal_untrusted(place, signed, headers.get(KEY_ID), seal)
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
    envelope: Envelope | None = None
    if keys is None and data.startswith(_FIVE):
        try:
            envelope = _decode(data[2:] if size < _CHEAP_TO_COPY else memoryview(data)[2:])
            headers = envelope.headers
            if not headers:
                return envelope
            if (
                len(headers) == 2
                and type(number := headers["q"]) is int
                and type(node := headers["n"]) is str
                and size - len(envelope.body) - len(envelope.type) - len(node)
                < _ROOM[number.bit_length()]
                and number >= 0
            ):
                return envelope  # what most are, and no room for an entry that is lost
            if not _has_each_once(data, headers):
                envelope = None
        except Exception:  # the careful way accepts it after all, or says what is wrong
            envelope = None
    return _checked(data, envelope, keys)


def decode_signed_untrusted(data: bytes, limits: WireLimits = DEFAULT_LIMITS) -> Envelope | Foreign:
    """Do as `decode_envelope_untrusted`, faster for what is signed. Checks no signature.

    Args:
        data: as there.
        limits: as there.

    Raises:
        DecodeError: it cannot be read, and nothing else is raised.
    """
    size = len(data)
    if size > limits.size:
        raise DecodeError(f"{size:,} bytes, over the limit of {limits.size:,}")
    envelope: Envelope | None = None
    if data.startswith(_FIVE):
        try:
            if size <= _SHORT or size - _headers_begin_untrusted(data) <= _SHORT_HEADERS:
                envelope = _decode_any(data[2:] if size < _CHEAP_TO_COPY else memoryview(data)[2:])
                if _is_signed_as_usual(envelope, size):
                    return envelope
                if not _has_each_once(data, envelope.headers):
                    envelope = None
        except Exception:  # as above
            envelope = None
    return _checked(data, envelope, None)


def _is_signed_as_usual(envelope: Envelope, size: int) -> bool:
    """Whether it has the headers of most that are signed, and no room for one that is lost.

    Raises `KeyError` for other headers.
    """
    headers = envelope.headers
    return (
        len(headers) == 5
        and type(number := headers["q"]) is int
        and type(when := headers["w"]) is int
        and type(seal := headers["m2"]) is bytes
        and type(node := headers["n"]) is type(key := headers["k"]) is str
        and size - len(envelope.body) - len(envelope.type) - len(node) - len(key) - len(seal)
        < _ROOM_SIGNED[number.bit_length()]
        and number >= 0
        and _LATE <= when <= _LATEST
    )


def _checked(data: bytes, envelope: Envelope | None, keys: KeyRing | None) -> Envelope | Foreign:
    """The envelope, read in the careful way unless it was read; what is in it is checked."""
    if envelope is None:
        if not data.startswith(_PREFIX):
            return _not_ours(data, keys)
        envelope = _read_untrusted(memoryview(data)[2:])
    headers = envelope.headers
    problem = header_problem(headers)
    if problem is not None:
        raise DecodeError(f"header {problem[0]!r} must be {problem[1]}")
    if keys is not None:
        _verify(data, headers, keys)
    return envelope


def _has_each_once(data: bytes, headers: dict[str, Any]) -> bool:
    """Whether as many headers came out of `data` as it announces; False: it is not known."""
    begin = _headers_begin_untrusted(data)
    return begin > 0 and data[begin] == 0x80 | len(headers)


def _headers_begin_untrusted(data: bytes) -> int:
    """Where the headers begin in what begins with `_FIVE`; 0: it is not written as we do.

    Raises `IndexError` for what is cut short.
    """
    if data[3] not in _KINDS or data[4] != 0xC4 or data[5] != ID_SIZE:
        return 0
    mark = data[_NAME_AT]
    if 0xA0 <= mark <= 0xBF:
        at = _NAME_AT + 1 + mark - 0xA0
    elif mark == 0xD9:
        at = _NAME_AT + 2 + data[_NAME_AT + 1]
    else:
        return 0
    mark = data[at]
    if mark == 0xC4:
        return at + 2 + data[at + 1]
    if mark == 0xC5:
        return at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
    if mark == 0xC6:
        return at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
    return 0


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
