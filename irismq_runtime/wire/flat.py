"""The short way for what most messages are: a scalar, or a flat dict of scalars.

For these values, and of types that msgpack has itself, msgspec reads and writes
the same bytes as msgpack does, several times as fast and with no hook to ask.
Each function here either does what `MsgpackCodec` does or says that the value
is not for it (None, `NOT_FLAT`); the codec then does it, or finds the error.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["LONGEST", "NOT_FLAT", "decode_flat_untrusted", "encode_fields", "encode_flat"]

#: Types that msgpack has itself and that contain nothing.
_NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes})
#: Bodies above this many bytes are not read here: the codec guards what is large
#: against what little data can make a receiver do.
LONGEST: Final = 2048
#: What `decode_flat_untrusted` says of a body that is not for it.
NOT_FLAT: Final = object()

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def encode_flat(tree: Any, items: int) -> bytes | None:
    """The bytes of a scalar or a flat dict of at most `items` elements; else None."""
    if not _is_flat(tree, items):
        return None
    try:
        return _encode(tree)
    except Exception:  # more than 64 bits, a lone surrogate: the codec has a form, or words
        return None


def encode_fields(names: tuple[str, ...], values: tuple[Any, ...]) -> bytes | None:
    """The bytes of a dict of fields if every value is a scalar; else None."""
    if not _NATIVE.issuperset(map(type, values)):
        return None
    try:
        return _encode(dict(zip(names, values, strict=True)))
    except Exception:  # as above
        return None


def decode_flat_untrusted(data: bytes, items: int) -> Any:
    """The value of `data` if it is as `encode_flat` takes it; else `NOT_FLAT`.

    `data` has at most `LONGEST` bytes. Raises nothing.
    """
    try:
        tree = _decode(data)
    except Exception:  # malformed, or an extension type: the codec knows, or has words
        return NOT_FLAT
    return tree if _is_flat(tree, items) else NOT_FLAT


def _is_flat(tree: Any, items: int) -> bool:
    kind = type(tree)
    if kind is not dict:
        return kind in _NATIVE
    return (
        2 * len(tree) <= items
        and _NATIVE.issuperset(map(type, tree.values()))
        and _NATIVE.issuperset(map(type, tree))
    )
