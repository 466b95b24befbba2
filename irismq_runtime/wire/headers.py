"""The headers of an envelope: which there are, and what each may hold.

Keys of one and two letters belong to the protocol; longer ones to users, who
may put scalars there. A receiver takes no notice of a key it does not know,
and refuses a known one of another type, so that nobody behind this file has to
look at the type of a header again. What is not a scalar is refused without being
built: a map whose keys are lists could be made to cost quadratic time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypedDict

import msgspec

from irismq_runtime.errors import DecodeError
from irismq_runtime.wire.entries import entries_untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ASK_ID",
    "ATTEMPTS",
    "CHAIN",
    "CODEC",
    "DUE",
    "ENDS",
    "ENTITY",
    "EXPIRY",
    "FLOWS",
    "KEY_ID",
    "MAC",
    "MAX_HEADERS",
    "NODE",
    "ORIGIN",
    "REMAINING",
    "REPEATS",
    "REPEATS_LONG",
    "SEAL",
    "SENDER",
    "SENDERS_REPEAT",
    "SEQUENCE",
    "SIGNED",
    "TARGET",
    "TRACE",
    "Headers",
    "header_problem",
    "is_signed",
    "read_headers_untrusted",
]

CODEC: Final = "c"  # name of the body's codec; absent: msgpack
SENDER: Final = "s"  # ref of the sender, in text
SEQUENCE: Final = "q"  # the sender's own count of what it sent
REMAINING: Final = "d"  # milliseconds until the asker gives up, when sent
DUE: Final = "t"  # not to be handled before, milliseconds since 1970
ENDS: Final = "e"  # in a tunnel: who sent this ends its messages with END or ERROR
EXPIRY: Final = "x"  # not to be handled after, milliseconds since 1970
FLOWS: Final = "f"  # names of its headers that go on with what is sent because of it
CHAIN: Final = "a"  # who waits for whom: the asks in hand, first asker first
TRACE: Final = "tp"  # W3C traceparent
KEY_ID: Final = "k"  # which key the envelope is signed with
MAC: Final = "m"  # the signature of version 1; always the last entry
SEAL: Final = "m2"  # that of version 2; the last entry but for MAC
SIGNED: Final = "w"  # when it was signed, milliseconds since 1970
NODE: Final = "n"  # id of the sending node
ASK_ID: Final = "i"  # of an ask: the asker's own id, under which it is answered once
REPEATS: Final = "r"  # for how many seconds its sender may store it again; absent: an hour
ATTEMPTS: Final = "b"  # attempts that it had before it was stored again
ORIGIN: Final = "o"  # store, epoch and number of the outbox row that it is
ENTITY: Final = "ek"  # the key of the entity that is meant, at a shard of its address
TARGET: Final = "to"  # actor meant at a node's private cluster, "@node" for the node

#: Seconds for which a message may come that does not say otherwise.
SENDERS_REPEAT: Final = 3_600
#: What REPEATS says where that may be long: as long as ids of handled messages are kept.
REPEATS_LONG: Final = 7 * 86_400
#: Entries that one envelope may have.
MAX_HEADERS: Final = 64
_MAX_CHAIN: Final = 256
_MAX_MILLISECONDS: Final = 2**53

#: What CHAIN holds.
Chain: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=_MAX_CHAIN)]

_SCALARS: Final = frozenset({str, int, float, bool, bytes, type(None)})

#: In the order in which a node writes them, in which they are found soonest.
_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys((SENDER, TRACE, FLOWS), str),
    CHAIN: list,
    **dict.fromkeys((ASK_ID, ENTITY), str),
    **dict.fromkeys((REMAINING, DUE, EXPIRY, ENDS, REPEATS, ATTEMPTS), int),
    **dict.fromkeys((ORIGIN, NODE), str),
    SEQUENCE: int,
    **dict.fromkeys((CODEC, TARGET, KEY_ID), str),
    SIGNED: int,
    **dict.fromkeys((SEAL, MAC), bytes),
}
_MUST_BE: Final[dict[type, str]] = {
    str: "text",
    int: "an integer from 0 to 2**53",
    list: f"a list of at most {_MAX_CHAIN} texts",
    bytes: "bytes",
}
if TYPE_CHECKING:
    Headers: TypeAlias = dict[str, Any]
else:
    #: The headers of the protocol for a decoder, which leaves out what else is there.
    Headers = TypedDict(
        "Headers",
        {
            key: {
                int: Annotated[int, msgspec.Meta(ge=0, le=_MAX_MILLISECONDS)],
                list: Chain,
            }.get(kind, kind)
            for key, kind in _TYPES.items()
        },
        total=False,
    )


#: First bytes of lists, and of what is neither a list nor a scalar: maps, extensions.
_LISTS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
_NO_SCALAR: Final = frozenset(
    {*range(0x80, 0x90), 0xDE, 0xDF, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)}
)
#: What stands for a value that no header may hold: `header_problem` has the words.
_UNFIT: Final = object()
_decode_raw: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_decode_scalar: Final = msgspec.msgpack.Decoder().decode
_decode_chain: Final = msgspec.msgpack.Decoder(Chain).decode


def is_signed(headers: Mapping[str, object]) -> bool:
    """Whether there is a signature, of whichever version, right or wrong."""
    return SEAL in headers or MAC in headers


def read_headers_untrusted(data: bytes) -> dict[str, Any]:
    """The headers in `data`, one msgpack map, built of scalars and lists of texts alone.

    Raises `DecodeError` for what is malformed, has too many entries, or has one twice.
    What a value must be is left to `header_problem`.
    """
    entries = entries_untrusted(data)
    if entries > MAX_HEADERS:
        raise DecodeError(f"{entries:,} headers; an envelope has at most {MAX_HEADERS}")
    try:
        values = _decode_raw(data)
        headers = {key: _value_untrusted(bytes(value)) for key, value in values.items()}
    except Exception as error:  # msgspec's errors, UnicodeDecodeError, RecursionError
        raise DecodeError(f"malformed headers ({error})"[:300]) from error
    if len(headers) != entries:
        raise DecodeError("a header is there twice")
    return headers


def _value_untrusted(data: bytes) -> Any:
    first = data[0]
    if first in _LISTS:
        try:
            return _decode_chain(data)
        except msgspec.ValidationError:
            return _UNFIT
    return _UNFIT if first in _NO_SCALAR else _decode_scalar(data)


def header_problem(headers: Mapping[str, object]) -> tuple[str, str] | None:
    """(key, what it must be) of a header that is not what it must be, or None."""
    if len(headers) > MAX_HEADERS:
        return "", f"at most {MAX_HEADERS} entries"
    for key, value in headers.items():
        kind = type(value)
        expected = _TYPES.get(key)
        if expected is kind:
            if kind is int:
                fits = 0 <= value <= _MAX_MILLISECONDS  # type: ignore[operator]  # an int
            else:
                fits = kind is not list or _is_chain(value)
            if not fits:
                return key, _MUST_BE[kind]
        elif expected is not None:
            return key, _MUST_BE[expected]
        elif type(key) is not str:
            return repr(key)[:40], "named by a text"
        elif kind not in _SCALARS:
            return key[:40], "text, bytes, a number, a bool or None"
    return None


def _is_chain(value: Any) -> bool:
    return len(value) <= _MAX_CHAIN and all(type(item) is str for item in value)
