"""The one writer of JSON for people and programs: what commands, logs and pages print.

What it writes every strict parser reads: no NaN and no infinity (their names as texts),
no lone surrogates (escaped), no bytes (text, or base64), no number beyond a double's
range (its digits as text), no key that is not text. It never fails: what has no form
in JSON is shown as text.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.messages import is_model
from actors.texts import sendable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["json_text", "to_plain"]

#: Containers inside containers; deeper ones are shown as text.
_DEEPEST: Final = 200
#: Bits of an integer that is still below the largest double.
_MOST_BITS: Final = 1024


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON, in one line unless `indent` says otherwise. Raises nothing."""
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return a value that strict JSON can hold, for showing alone. Raises nothing."""
    if isinstance(value, str):
        return sendable(value) if not value.isascii() else str(value)
    if depth > _DEEPEST:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return _named(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item, depth + 1) for item in value]
    for kinds, plain in _PLAIN:
        if isinstance(value, kinds):
            return plain(value)
    found = _fields(value)
    return _text(value) if found is None else to_plain(found, depth + 1)


def _named(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    """A map with keys of text; two keys of one text are told apart."""
    named: dict[str, Any] = {}
    for key, item in value.items():
        name = sendable(key) if isinstance(key, str) else _text(key)
        while name in named:
            name += "'"
        named[name] = to_plain(item, depth + 1)
    return named


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a message, None for anything else."""
    if isinstance(value, type):
        return None
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if is_model(type(value)):
        held = vars(value)
        return {name: held.get(name) for name in type(value).__pydantic_fields__}
    attributes = getattr(value, "__attrs_attrs__", None)
    if attributes is None:
        return None
    return {attribute.name: getattr(value, attribute.name) for attribute in attributes}


def _text(value: Any) -> str:
    try:
        return sendable(str(value))
    except Exception:  # the text of a user's object is user code
        return f"({type(value).__name__}; its text could not be made)"


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _number(value: int) -> int | str:
    number = int(value)
    if number.bit_length() <= _MOST_BITS:
        return number
    return f"({number.bit_length():,} bits)" if number.bit_length() > 10_000 else str(number)


def _finite(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


_PLAIN: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    ((type(None), bool), lambda value: value),
    (int, _number),
    (float, _finite),
    ((dt.datetime, dt.date, dt.time), lambda value: value.isoformat()),
    (dt.timedelta, lambda value: value.total_seconds()),
    ((bytes, bytearray, memoryview), lambda value: _bytes(bytes(value))),
)
