"""A datetime without a zone names no instant: no sender may send one, no receiver take one.

Ours travel as an extension value that has its offset. Text does not: a message from a
command, or from a program in another language, may hold a time in a text, and msgspec
makes a naive datetime of one that has no offset. So what was read is looked through, if
its class has such fields at all.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

import msgspec
import msgspec.inspect as ms

__all__ = ["has_datetimes", "naive_place"]


def has_datetimes(kind: type) -> bool:
    """Whether a field of the class, or of what is in it, is declared as a datetime."""
    try:
        return _mentions(ms.type_info(kind), set())
    except Exception:  # a hint that cannot be resolved; reading a message says so
        return False


def _mentions(hint: Any, seen: set[int]) -> bool:
    if isinstance(hint, ms.DateTimeType):
        return True
    if isinstance(hint, tuple | list):
        return any(_mentions(each, seen) for each in hint)
    if not isinstance(hint, ms.Type | ms.Field) or id(hint) in seen:
        return False
    seen.add(id(hint))
    return any(_mentions(getattr(hint, name), seen) for name in hint.__struct_fields__)


def naive_place(value: Any) -> str | None:
    """The path of the first datetime without a zone in `value`, "" for itself; None: none."""
    if isinstance(value, datetime):
        return "" if value.utcoffset() is None else None
    for step, part in _parts(value):
        place = naive_place(part)
        if place is not None:
            return f"{step}{place}"
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{number}]", part) for number, part in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        names: Any = value.__struct_fields__
    elif is_dataclass(value) and not isinstance(value, type):
        names = value.__dataclass_fields__
    else:
        names = [field.name for field in getattr(type(value), "__attrs_attrs__", ())]
    return [(f".{name}", getattr(value, name, None)) for name in names]
