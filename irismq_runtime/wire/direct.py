"""Bodies of small flat messages, read from their bytes without a tree between.

Condition: every field of the class is declared as text, bytes, a number, a bool,
None, an enum of these, or a choice among them, and the body is a msgpack map of
exactly as many entries. Such a body has no depth, no extension values and no
crafted keys to guard against, so msgspec may make the object straight from it.
Where every field is required, as many entries as fields means that none is there
twice; where one has a default, the keys are counted first.
The way by a tree is the rule and this one a short cut: what it refuses for any
reason goes that way, which accepts it after all or says what is wrong. An entry
that is not a field, in the place of one with a default, is skipped here and not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import msgspec.inspect as ms

from irismq_runtime.wire.entries import TWICE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Direct", "direct_reading"]

#: A map whose size stands in its first byte has at most so many entries.
_MAX_FIELDS: Final = 15
_FIXMAP: Final = 0x80

_decode_raw: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode

_FLAT: Final = (
    ms.StrType,
    ms.BytesType,
    ms.IntType,
    ms.FloatType,
    ms.BoolType,
    ms.NoneType,
    ms.EnumType,
    ms.LiteralType,
)


class Direct:
    """How bodies of one class are read. `header`: the first byte of those it is for."""

    __slots__ = ("decode", "header")

    def __init__(self, kind: type, fields: int, *, required: bool) -> None:
        self.header = _FIXMAP | fields
        read: Callable[[bytes], Any] = msgspec.msgpack.Decoder(kind).decode
        #: bytes -> an instance, checked field by field; raises anything for what does not fit.
        self.decode = read if required else _counting(read, fields)


def _counting(read: Callable[[bytes], Any], fields: int) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        if len(_decode_raw(data)) != fields:
            raise ValueError(TWICE)
        return read(data)

    return decode


def direct_reading(kind: type) -> Direct | None:
    """The short cut for a class, or None where the condition does not hold."""
    try:
        record = ms.type_info(kind)
    except Exception:  # a hint that cannot be resolved; the long way says so
        return None
    if isinstance(record, ms.StructType):
        plain = not record.array_like and record.tag_field is None
    else:
        plain = isinstance(record, ms.DataclassType)
    if not plain or not 1 <= len(record.fields) <= _MAX_FIELDS:  # type: ignore[attr-defined]  # both have fields
        return None
    fields = record.fields  # type: ignore[attr-defined]  # both have fields
    if not all(_is_flat(field.type) for field in fields):
        return None
    return Direct(kind, len(fields), required=all(field.required for field in fields))


def _is_flat(hint: ms.Type) -> bool:
    if isinstance(hint, ms.Metadata):
        return _is_flat(hint.type)
    if isinstance(hint, ms.UnionType):
        return all(map(_is_flat, hint.types))
    return isinstance(hint, _FLAT)
