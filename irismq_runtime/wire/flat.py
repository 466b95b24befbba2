"""Encodes what most messages are in one pass: a scalar, or a flat dict of scalars.

For these values, and of types that msgpack has itself, msgspec reads and writes
the same bytes as msgpack does, several times as fast and with no hook to ask.
Each function here either does what `MsgpackCodec` does or says that the value
is not for it (None, `NOT_FLAT`); the codec then does it, or finds the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from irismq_runtime.wire.entries import HARMLESS_KEYS, entries_untrusted, may_have_long_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "LONGEST",
    "NOT_FLAT",
    "NO_CONTAINER",
    "decode_flat_untrusted",
    "encode_flat",
    "fields_encoder",
]

#: Types that msgpack has itself and that contain nothing.
_NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes})
#: Bodies above this many bytes are not read here: the codec guards what is large
#: against what little data can make a receiver do.
LONGEST: Final = 2048
#: Bytes that cannot begin an array or a map: what is left bounds their number.
NO_CONTAINER: Final = bytes(b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF))
#: A map of fewer entries than that has their number in its first byte.
_FIXMAP: Final = 0x80
_SIZED: Final = 16
#: So few bytes hold no long map.
_UNSUSPICIOUS: Final = 2 * HARMLESS_KEYS
#: What `decode_flat_untrusted` says of a body that is not for it.
NOT_FLAT: Final = object()

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def encode_flat(tree: Any, items: int) -> bytes | None:
    """The bytes of a scalar or a flat dict of at most `items` elements; else None."""
    if type(tree) not in _NATIVE and not _is_flat(tree, items):
        return None
    try:
        return _encode(tree)
    except Exception:  # more than 64 bits, a lone surrogate: the codec has a form, or words
        return None


def fields_encoder(fields: Sequence[tuple[str, str]]) -> Callable[[Any], bytes | None]:
    """A function that gives the bytes of an object's fields: (attribute, wire name) each.

    It gives None unless every field is a scalar of msgpack. Written as source, as
    `dataclasses` does, for it runs once a message: to look at each attribute by
    itself takes a third of the time of collecting them.
    """
    names = [f"v{index}" for index in range(len(fields))]
    taken = "".join(
        f"        {name} = value.{attribute}\n"
        for name, (attribute, _) in zip(names, fields, strict=True)
    )
    tests = " and ".join(f"type({name}) in NATIVE" for name in names) or "True"
    pairs = ", ".join(f"{wire!r}: {name}" for name, (_, wire) in zip(names, fields, strict=True))
    source = (
        f"def encode(value):\n    try:\n{taken}        if {tests}:\n"
        f"            return pack({{{pairs}}})\n"
        "    except Exception:\n        return None\n    return None"
    )
    scope: dict[str, Any] = {"NATIVE": _NATIVE, "pack": _encode}
    exec(source, scope)  # noqa: S102  # made of names of declared fields alone
    encoder: Callable[[Any], bytes | None] = scope["encode"]
    return encoder


def decode_flat_untrusted(data: bytes, items: int) -> Any:
    """The value of `data` if it is as `encode_flat` takes it; else `NOT_FLAT`.

    `data` has at most `LONGEST` bytes. Raises nothing. What might hold a long map
    is not decoded here: keys that are lists could be made to have one hash.
    """
    if len(data) > _UNSUSPICIOUS and (0xDE in data or 0xDF in data) and may_have_long_map(data):
        return NOT_FLAT
    try:
        tree = _decode(data)
    except Exception:  # malformed, or an extension type: the codec knows, or has words
        return NOT_FLAT
    if type(tree) in _NATIVE:
        return tree
    if _is_flat(tree, items) and (
        (data[0] == _FIXMAP | len(tree) and len(tree) < _SIZED)
        or len(tree) == entries_untrusted(data)
    ):
        return tree
    return NOT_FLAT


def _is_flat(tree: Any, items: int) -> bool:
    return (
        type(tree) is dict
        and 2 * len(tree) <= items
        and _NATIVE.issuperset(map(type, tree.values()))
        and _NATIVE.issuperset(map(type, tree))
    )
