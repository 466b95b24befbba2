"""How many entries a msgpack map announces, and whether one of them is there twice.

A decoder keeps the last of two entries with one key, so that two readers of the
same bytes may see different messages. What announces more entries than come out
has one twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from irismq_runtime.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HARMLESS_KEYS",
    "TWICE",
    "entries_untrusted",
    "may_have_long_map",
    "refuse_twice_untrusted",
    "unique_pairs_untrusted",
]

#: So many keys of one hash are looked up soon enough.
HARMLESS_KEYS: Final = 32
#: Bytes that might begin a long map; with more of them each is not looked at.
_MANY_HEADERS: Final = 64

#: What is said of a map with one key twice.
TWICE: Final = "a map that has a key twice"

_FIXMAP, _MAP16, _MAP32 = 0x80, 0xDE, 0xDF
_decode_raw: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode


def entries_untrusted(data: bytes) -> int:
    """The number of entries that the map at the start of `data` announces.

    Raises `DecodeError` when `data` does not begin with a map.
    """
    first = data[0] if data else 0
    if first & 0xF0 == _FIXMAP:
        return first & 0x0F
    if first in (_MAP16, _MAP32):
        size = 2 if first == _MAP16 else 4
        return int.from_bytes(data[1 : 1 + size], "big")
    raise DecodeError("malformed: not a map where one must be")


def may_have_long_map(data: bytes) -> bool:
    """False when no map in `data` has so many entries that the hashes of its keys matter.

    Looks at the bytes alone, so that what is in a text may be taken for a map.
    """
    if len(data) <= 2 * HARMLESS_KEYS or (_MAP16 not in data and _MAP32 not in data):
        return False
    if data.count(_MAP16) + data.count(_MAP32) > _MANY_HEADERS:
        return True
    for header, size in ((_MAP16, 2), (_MAP32, 4)):
        at = data.find(header)
        while at >= 0:
            entries = int.from_bytes(data[at + 1 : at + 1 + size], "big")
            if entries > HARMLESS_KEYS and 2 * entries < len(data) - at:
                return True
            at = data.find(header, at + 1)
    return False


def refuse_twice_untrusted(data: bytes) -> None:
    """Raise `DecodeError` unless `data` is one map of text keys, each there once.

    For the maps of the protocol whose values are read by their declared types; the
    values are not built here.
    """
    try:
        keys = len(_decode_raw(data))
    except Exception as error:  # msgspec's errors, UnicodeDecodeError, RecursionError
        raise DecodeError(f"malformed map ({error})"[:300]) from error
    if keys != entries_untrusted(data):
        raise DecodeError(TWICE)


def unique_pairs_untrusted(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dict of `pairs`. Raises `DecodeError` when two of them have equal keys."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise DecodeError(TWICE)
    return made
