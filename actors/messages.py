"""Stable names for message classes: what a type is called on the wire.

A class keeps its name when it is moved or renamed in Python. One name means
one class in a process; a second class under it is an error at import. Only
classes whose fields are declared can be registered, because what arrives from
outside is checked against them.

A class whose instances are kept for long has a version, which is kept with them, and says
how the fields of an older version become those of the next one. A class whose name has to
change has its other names as aliases: what bears one of them is read as the class.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "MessageNameError",
    "is_model",
    "message",
    "message_aliases",
    "message_name",
    "message_types",
    "message_version",
    "readable_types",
    "upgrade_steps",
    "upgrades",
]

#: Fields of one version of a class, by name, to those of the next version.
Upgrade: TypeAlias = "Callable[[dict[str, Any]], dict[str, Any]]"
_U = TypeVar("_U", bound="Upgrade")

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")

_lock = threading.Lock()
_types: dict[str, type] = {}
_names: dict[type, str] = {}
_versions: dict[type, int] = {}
_aliases: dict[type, tuple[str, ...]] = {}
#: By their names and by their aliases.
_readable: dict[str, type] = {}
_upgrades: dict[str, dict[int, Upgrade]] = {}


class MessageNameError(ValueError):
    """A name, or a class, that cannot be registered as a message."""


def message(
    name: str, *, version: int = 1, aliases: Iterable[str] = ()
) -> Callable[[type[T]], type[T]]:
    """Register a class, so that its objects can be sent to other nodes.

    It is a dataclass, an attrs class, a msgspec.Struct or a pydantic.BaseModel. Stands above
    the decorator that makes it one of these.

    Args:
        name: Its name on the wire, such as "shop.reserve": 1 to 200 of letters, digits and
            `_ . : / -`.
        version: Of its fields, from 1: raised when what was kept of it has to be changed to be
            read, see `upgrades`. Messages that travel are not changed by it.
        aliases: Other names that are read as this class, and never written: those that it had,
            and before it is renamed, the one that it will have.

    Raises:
        MessageNameError: a name or an alias is malformed or another class has it, the version
            is not a whole number from 1, or the class has no declared fields.
    """
    if isinstance(aliases, str):
        raise MessageNameError(f"aliases={aliases!r} of {name!r}: write ({aliases!r},)")
    others = tuple(dict.fromkeys(aliases))
    for each in (name, *others):
        _check_name(each)
    number: object = version
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise MessageNameError(f"version {version!r} of {name!r}: write a whole number from 1")

    def register(kind: type[T]) -> type[T]:
        if not _has_declared_fields(kind):
            raise MessageNameError(
                f"{kind!r} has no declared fields: write @message({name!r}) above @dataclass, "
                "above an attrs class, or on a msgspec.Struct or a pydantic model"
            )
        with _lock:
            _claim(name, others, kind)
            _versions[kind] = version
        return kind

    return register


def message_types() -> Mapping[str, type]:
    """All registered classes by name, as they are now and will be."""
    return MappingProxyType(_types)


def readable_types() -> Mapping[str, type]:
    """All registered classes by their names and their aliases, as they are now and will be."""
    return MappingProxyType(_readable)


def message_aliases(kind: type) -> tuple[str, ...]:
    """Return the other names that are read as exactly this class."""
    return _aliases.get(kind, ())


def message_name(kind: type) -> str | None:
    """Return the registered name of exactly this class.

    Args:
        kind: A class.

    Returns:
        Its name; None when it is not registered, also if a base of it is.
    """
    return _names.get(kind)


def message_version(kind: type) -> int:
    """Return the version of exactly this class: 1 unless it says another, or is not registered."""
    return _versions.get(kind, 1)


def upgrades(kind: type, *, from_version: int) -> Callable[[_U], _U]:
    """Say how what was kept of `kind` in an older version becomes the next version.

    Stands above a function that takes the fields of `from_version` by name, and returns
    those of the version after it. What was kept goes through all steps from its version
    on; a version without a function changes nothing, for fields that are new with a
    default or gone. A step is never changed once something was kept by it.

    Args:
        kind: A class that has `@message(..., version=n)`.
        from_version: What the function takes, from 1 to n - 1.

    Raises:
        MessageNameError: the class is not registered, has no such version, or has a
            function for it already.
    """
    name = message_name(kind)
    if name is None:
        raise MessageNameError(f"{kind!r} has no name; write @message above it")
    if from_version not in range(1, message_version(kind)):
        raise MessageNameError(
            f"from_version={from_version!r} of {name!r}, which has version "
            f"{message_version(kind)}; raise the version in its @message"
        )

    def register(step: _U) -> _U:
        steps = _upgrades.setdefault(name, {})
        other = steps.get(from_version)
        # A reloaded module defines its functions anew, as its classes.
        if other is not None and (other.__module__, other.__qualname__) != (
            step.__module__,
            step.__qualname__,
        ):
            raise MessageNameError(f"{name!r} has {other!r} from version {from_version} already")
        steps[from_version] = step
        return step

    return register


def upgrade_steps(name: str) -> Mapping[int, Upgrade]:
    """Return the functions of `upgrades` for a registered name, by the version they take."""
    return MappingProxyType(_upgrades.get(name, {}))


def _check_name(name: object) -> None:
    # Whatever a caller without a type checker gave.
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise MessageNameError(
            f"{name!r} is not a message name: 1 to 200 of letters, digits and _ . : / -, "
            'such as "shop.reserve"'
        )


def _claim(name: str, aliases: tuple[str, ...], kind: type) -> None:
    place = (kind.__module__, kind.__qualname__)
    for each in (name, *aliases):
        other = _readable.get(each)
        # A reloaded module defines its classes anew; the new one takes the names over.
        if other is not None and (other.__module__, other.__qualname__) != place:
            raise MessageNameError(f"the message name {each!r} belongs to {other!r} already")
    before = _types.get(name)
    if before is not None:
        for each in _aliases.pop(before, ()):
            _readable.pop(each, None)
        _names.pop(before, None)
        _versions.pop(before, None)
    _types[name] = _readable[name] = kind
    _names[kind] = name
    _aliases[kind] = tuple(each for each in aliases if each != name)
    for each in aliases:
        _readable[each] = kind


def _has_declared_fields(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or "__attrs_attrs__" in vars(kind)
        or hasattr(kind, "__struct_fields__")
        or is_model(kind)
    )


def is_model(kind: object) -> bool:
    """Whether it is a class derived from `pydantic.BaseModel`, which need not be installed.

    pydantic's own dataclasses are dataclasses.
    """
    return (
        isinstance(kind, type)
        and hasattr(kind, "__pydantic_fields__")
        and not dataclasses.is_dataclass(kind)
    )
