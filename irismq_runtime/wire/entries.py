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

__all__ = ["TWICE", "entries_untrusted", "refuse_twice_untrusted", "unique_pairs_untrusted"]

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
