"""Refuses datetimes without a zone, at the sender and the receiver: they name no instant.

Ours travel as an extension value that has its offset. Text does not: a message from a
command, or from a program in another language, may hold a time in a text, and msgspec
makes a naive datetime of one that has no offset. So what was read is looked through
where its hints say that a datetime may be; what is said of a class is found out once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec.inspect as ms

from irismq_runtime.pydantic_models import Absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Find", "naive_finder"]

#: The path of the first datetime without a zone in a value, "" for itself; None: none.
Find: TypeAlias = "Callable[[Any], str | None]"

_RECORDS: Final = (ms.DataclassType, ms.StructType)
_ELEMENTS: Final = (ms.ListType, ms.VarTupleType, ms.SetType, ms.FrozenSetType)


def naive_finder(kind: type) -> Find | None:
    """What looks into objects of the class; None where no field may hold a datetime."""
    try:
        hint = ms.type_info(kind)
    except Exception:  # a hint that cannot be resolved; reading a message says so
        return None
    return _Finders().of(hint) if _mentions(hint, set()) else None


def _mentions(hint: Any, seen: set[int]) -> bool:
    if isinstance(hint, ms.DateTimeType):
        return True
    if isinstance(hint, tuple | list):
        return any(_mentions(each, seen) for each in hint)
    if not isinstance(hint, ms.Type | ms.Field) or id(hint) in seen:
        return False
    seen.add(id(hint))
    return any(_mentions(getattr(hint, name), seen) for name in hint.__struct_fields__)


class _Finders:
    """Makes a search of each hint that mentions a datetime. A class may hold itself."""

    def __init__(self) -> None:
        self._records: dict[int, Find] = {}

    def of(self, hint: Any) -> Find:
        """The search of values declared as `hint`."""
        if isinstance(hint, ms.Metadata):
            return self.of(hint.type)
        if isinstance(hint, ms.DateTimeType):
            return _naive
        if isinstance(hint, ms.UnionType):
            return self._union(hint)
        if isinstance(hint, (*_RECORDS, ms.NamedTupleType, ms.TypedDictType)):
            return self._record(hint)
        return self._collection(hint)

    def _union(self, hint: ms.UnionType) -> Find:
        finds = [(_class_of(each), self.of(each)) for each in hint.types if _mentions(each, set())]

        def find(value: Any) -> str | None:
            for kind, search in finds:
                if isinstance(value, kind):
                    return search(value)
            return None

        return find

    def _record(self, hint: Any) -> Find:
        made = self._records.get(id(hint))
        if made is not None:
            return made
        fields: list[tuple[str, str, Find]] = []
        named = isinstance(hint, ms.TypedDictType)

        def find(value: Any) -> str | None:
            for name, key, search in fields:
                part = value.get(key) if named else getattr(value, name, None)
                if (
                    part is not None
                    and type(part) is not Absent
                    and (place := search(part)) is not None
                ):
                    return f".{name}{place}"
            return None

        self._records[id(hint)] = find
        timed = [field for field in hint.fields if _mentions(field.type, set())]
        fields += [(field.name, field.encode_name, self.of(field.type)) for field in timed]
        return find

    def _collection(self, hint: Any) -> Find:
        if isinstance(hint, ms.DictType):
            keys, values = self._or_nothing(hint.key_type), self._or_nothing(hint.value_type)
            return lambda value: _first(
                (f"[{key!r}]", search(part))
                for key, item in value.items()
                for search, part in ((keys, key), (values, item))
            )
        if isinstance(hint, _ELEMENTS):
            search = self._or_nothing(hint.item_type)
            return lambda value: _first(
                (f"[{number}]", search(part)) for number, part in enumerate(value)
            )
        if isinstance(hint, ms.TupleType):
            finds = [self._or_nothing(each) for each in hint.item_types]
            return lambda value: _first(
                (f"[{number}]", search(part))
                for number, (search, part) in enumerate(zip(finds, value, strict=False))
            )
        return _nothing

    def _or_nothing(self, hint: Any) -> Find:
        return self.of(hint) if _mentions(hint, set()) else _nothing


def _naive(value: Any) -> str | None:
    if type(value) is datetime and value.tzinfo is UTC:  # as most are
        return None
    return "" if isinstance(value, datetime) and value.utcoffset() is None else None


def _nothing(value: Any) -> str | None:  # noqa: ARG001  # of the kind of a search
    return None


def _first(found: Iterable[tuple[str, str | None]]) -> str | None:
    for step, place in found:
        if place is not None:
            return f"{step}{place}"
    return None


def _class_of(hint: Any) -> Any:
    """The class of the values of one member of a union."""
    if isinstance(hint, ms.Metadata):
        return _class_of(hint.type)
    cls: Any = _CLASSES.get(type(hint)) or getattr(hint, "cls", object)
    return getattr(cls, "__origin__", cls)


_CLASSES: Final[dict[type, type]] = {
    ms.DateTimeType: datetime,
    ms.DictType: dict,
    ms.TypedDictType: dict,
    ms.ListType: list,
    ms.VarTupleType: tuple,
    ms.TupleType: tuple,
    ms.SetType: set,
    ms.FrozenSetType: frozenset,
}
