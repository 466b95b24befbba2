"""Stable names for message classes: what a type is called on the wire.

A class keeps its name when it is moved or renamed in Python. One name means
one class in a process; a second class under it is an error at import. Only
classes whose fields are declared can be registered, because what arrives from
outside is checked against them.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MessageNameError", "message", "message_name", "message_types"]

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")

_lock = threading.Lock()
_types: dict[str, type] = {}
_names: dict[type, str] = {}


class MessageNameError(ValueError):
    """A name, or a class, that cannot be registered as a message."""


def message(name: str) -> Callable[[type[T]], type[T]]:
    """Register a dataclass, attrs class or msgspec.Struct, so that it can be sent to other nodes.

    Stands above the decorator that makes the class one of these.

    Args:
        name: Its name on the wire, such as "shop.reserve": 1 to 200 of letters, digits and
            `_ . : / -`.

    Raises:
        MessageNameError: the name is malformed or another class has it, or the class has no
            declared fields.
    """
    given: object = name  # whatever a caller without a type checker gave
    if not isinstance(given, str) or _NAME.fullmatch(name) is None:
        raise MessageNameError(
            f"{name!r} is not a message name: 1 to 200 of letters, digits and _ . : / -, "
            'such as "shop.reserve"'
        )

    def register(kind: type[T]) -> type[T]:
        if not _has_declared_fields(kind):
            raise MessageNameError(
                f"{kind!r} has no declared fields: write @message({name!r}) above @dataclass, "
                "above an attrs class, or on a msgspec.Struct"
            )
        with _lock:
            _claim(name, kind)
        return kind

    return register


def message_types() -> Mapping[str, type]:
    """All registered classes by name, as they are now and will be."""
    return MappingProxyType(_types)


def message_name(kind: type) -> str | None:
    """Return the registered name of exactly this class.

    Args:
        kind: A class.

    Returns:
        Its name; None when it is not registered, also if a base of it is.
    """
    return _names.get(kind)


def _claim(name: str, kind: type) -> None:
    other = _types.get(name)
    # A reloaded module defines its classes anew; the new one takes the name over.
    if other is not None and (other.__module__, other.__qualname__) != (
        kind.__module__,
        kind.__qualname__,
    ):
        raise MessageNameError(f"the message name {name!r} belongs to {other!r} already")
    if other is not None:
        _names.pop(other, None)
    _types[name] = kind
    _names[kind] = name


def _has_declared_fields(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or "__attrs_attrs__" in vars(kind)
        or hasattr(kind, "__struct_fields__")
    )
