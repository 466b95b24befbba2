"""Refuses dict keys and set members crafted to collide, before a dict or set is made.

A field declared as `set[tuple[int, ...]]` or `dict[UUID, X]` arrives with lists or texts,
harmless as they stand; the keys are made of them by the hints. Many keys of one hash
would take quadratic time, so a collection of more than a few is made as a list first, and
refused as the codecs refuse those that come as keys. The hints of a class are read once.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union
from uuid import UUID

import msgspec
import msgspec.inspect as ms

from irismq_runtime.errors import DecodeError
from irismq_runtime.wire.entries import HARMLESS_KEYS
from irismq_runtime.wire.shape import refuse_crafted_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["KeyGuard", "key_guard"]

#: Raises `DecodeError` for keys made to have one hash, in the fields of an object.
KeyGuard: TypeAlias = "Callable[[Any], None]"

#: Types whose hashes nobody outside can choose: they are salted, or there are few values.
_SAFE: Final = (
    ms.StrType, ms.BytesType, ms.BoolType, ms.NoneType, ms.EnumType, ms.LiteralType, ms.DateType,
    ms.AnyType,
)  # fmt: skip
_SETS: Final = (ms.SetType, ms.FrozenSetType)
_ARRIVED: Final = (list, tuple, set, frozenset)


def key_guard(kind: type) -> KeyGuard | None:
    """What looks into the fields of the class; None where nothing is made a key by a hint."""
    try:
        hint = ms.type_info(kind)
        return _Guards().of(hint) if _makes_keys(hint, set()) else None
    except Exception:  # a hint that cannot be resolved; reading a message says so
        return None


def _chosen(hint: Any) -> bool:
    """Whether a stranger can choose the hashes of values declared as `hint`."""
    if isinstance(hint, ms.Metadata):
        return _chosen(hint.type)
    if isinstance(hint, ms.UnionType):
        return any(map(_chosen, hint.types))
    return not isinstance(hint, _SAFE)


def _makes_keys(hint: Any, seen: set[int]) -> bool:
    if isinstance(hint, tuple | list):
        return any(_makes_keys(each, seen) for each in hint)
    if not isinstance(hint, ms.Type | ms.Field) or id(hint) in seen:
        return False
    if isinstance(hint, _SETS) and _chosen(hint.item_type):
        return True
    if isinstance(hint, ms.DictType) and _chosen(hint.key_type):
        return True
    seen.add(id(hint))
    return any(_makes_keys(getattr(hint, name), seen) for name in hint.__struct_fields__)


class _Guards:
    """Makes a look of each hint that makes keys. A class may hold itself."""

    def __init__(self) -> None:
        self._records: dict[int, KeyGuard] = {}

    def of(self, hint: Any) -> KeyGuard:
        """The look at what arrived for a value declared as `hint`."""
        guard: KeyGuard = _pass
        if not _makes_keys(hint, set()):
            return guard
        match hint:
            case ms.Metadata():
                guard = self.of(hint.type)
            case ms.UnionType():
                guard = _all_of([self.of(each) for each in hint.types])
            case ms.DictType():
                guard = self._dict(hint)
            case ms.TupleType():
                guard = _positions([self.of(each) for each in hint.item_types])
            case ms.ListType() | ms.VarTupleType() | ms.SetType() | ms.FrozenSetType():
                guard = self._elements(hint)
            case _:
                guard = self._record(hint)
        return guard

    def _record(self, hint: Any) -> KeyGuard:
        made = self._records.get(id(hint))
        if made is not None:
            return made
        guards: list[tuple[Any, KeyGuard]] = []

        def guard(value: Any) -> None:
            if isinstance(value, dict):
                for name, look in guards:
                    look(value.get(name))
            elif isinstance(value, list | tuple):
                for part, (_, look) in zip(value, guards, strict=False):
                    look(part)

        self._records[id(hint)] = guard
        guards += [
            (getattr(field, "encode_name", field.name), self.of(field.type))
            for field in hint.fields
        ]
        return guard

    def _dict(self, hint: ms.DictType) -> KeyGuard:
        keys, parts = self.of(hint.key_type), self.of(hint.value_type)
        check = _hashes(hint.key_type)

        def guard(value: Any) -> None:
            if isinstance(value, dict):
                _each(keys, value)
                _each(parts, value.values())
                check(value)

        return guard

    def _elements(self, hint: Any) -> KeyGuard:
        parts = self.of(hint.item_type)
        check = _hashes(hint.item_type) if isinstance(hint, _SETS) else _pass

        def guard(value: Any) -> None:
            if isinstance(value, _ARRIVED):
                _each(parts, value)
                check(value)

        return guard


def _hashes(hint: Any) -> KeyGuard:
    """The check of keys declared as `hint`."""
    if not _chosen(hint):
        return _pass
    made: Any = list[_declared(hint)]  # type: ignore[misc]  # made at run time

    def check(value: Any) -> None:
        if len(value) <= HARMLESS_KEYS:
            return
        try:
            keys = msgspec.convert(list(value), made)
            refuse_crafted_untrusted(keys)
        except DecodeError:
            raise
        except BaseException:  # noqa: S110  # making the whole says what is wrong
            pass

    return check


def _each(look: KeyGuard, values: Iterable[Any]) -> None:
    if look is not _pass:
        for value in values:
            look(value)


def _positions(guards: list[KeyGuard]) -> KeyGuard:
    def guard(value: Any) -> None:
        if isinstance(value, list | tuple):
            for part, look in zip(value, guards, strict=False):
                look(part)

    return guard


def _all_of(guards: list[KeyGuard]) -> KeyGuard:
    wanted = [guard for guard in guards if guard is not _pass]

    def guard(value: Any) -> None:
        for look in wanted:
            look(value)

    return guard


def _pass(value: Any) -> None:
    """Nothing is made a key here."""


_PLAIN: Final[dict[type, Any]] = {
    ms.IntType: int,
    ms.FloatType: float,
    ms.StrType: str,
    ms.BytesType: bytes,
    ms.BoolType: bool,
    ms.NoneType: type(None),
    ms.UUIDType: UUID,
    ms.DecimalType: Decimal,
    ms.DateTimeType: datetime,
    ms.TimeType: time,
    ms.TimeDeltaType: timedelta,
}


def _declared(hint: Any) -> Any:
    """The type that `hint` was read from, without its constraints."""
    declared: Any
    match hint:
        case ms.Metadata():
            declared = _declared(hint.type)
        case ms.UnionType():
            declared = Union[tuple(_declared(each) for each in hint.types)]  # noqa: UP007  # a tuple
        case ms.VarTupleType():
            declared = tuple[_declared(hint.item_type), ...]  # type: ignore[misc]  # at run time
        case ms.TupleType():
            declared = tuple[tuple(map(_declared, hint.item_types))]  # type: ignore[misc]  # as above
        case ms.FrozenSetType():
            declared = frozenset[_declared(hint.item_type)]  # type: ignore[misc]  # as above
        case _:
            declared = _PLAIN.get(type(hint)) or getattr(hint, "cls", Any)
    return declared
