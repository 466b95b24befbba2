"""Describes registered message and state types: names, fields, types, defaults.

A type is a text where it is simple ("int", "str", "datetime"), else an object with one
key: {"list": T}, {"dict": [K, V]}, {"union": [T, ...]}, {"object": NAME} for another
registered type, {"record": FIELDS} for a class inside that has no name of its own,
{"enum": VALUES}, {"literal": VALUES}, {"tuple": [T, ...]}, {"class": NAME} for what the
wire carries whole. What limits a value (`msgspec.Meta`) stands beside, as {"int": {"ge": 0}}.

A description is the same on every machine and for every order of imports.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import inspect

from actors.messages import message_aliases, message_name, message_version, upgrade_steps
from actors.texts import line_of
from irismq_runtime.errors import ConfigError
from irismq_runtime.pydantic_models import Absent, declared, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["FORMAT", "FieldSchema", "Schema", "TypeSchema", "describe", "read_schema_untrusted"]

#: Of the file.
FORMAT: Final = 1
Shape: TypeAlias = "str | dict[str, Any]"
#: Characters of a default that are kept.
_LONGEST: Final = 200


class FieldSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field; `default`: as JSON or in words, absent where the field has none."""

    type: Any
    default: Any = msgspec.UNSET


class TypeSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """One registered type; a *state* is kept in a store, and read back from it.

    `upgrades`: the versions from which a function of `actors.upgrades` leads on.
    `aliases`: other names that are read as this type.
    """

    kind: Literal["message", "state"]
    fields: dict[str, FieldSchema]
    version: int = 1
    upgrades: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()


class Schema(msgspec.Struct, frozen=True):
    """All registered types by name."""

    format: int
    types: dict[str, TypeSchema]

    def to_json(self) -> str:
        """The file: sorted, a field a line or so, so that a change of it reads well."""
        text = msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2)
        return f"{text.decode()}\n"


def read_schema_untrusted(data: bytes, where: str) -> Schema:
    """Read what `Schema.to_json` wrote. Raises `ConfigError` that names `where`."""
    try:
        schema = msgspec.json.decode(data, type=Schema)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"{where} is no description of types: {line_of(error)}"
        raise ConfigError("--against", problem, "write it with irismq schema lock") from error
    if schema.format != FORMAT:
        problem = f"{where} has format {schema.format}, and this version reads {FORMAT}"
        raise ConfigError("--against", problem, "use the version that wrote it")
    return schema


def describe(types: Mapping[str, type], states: Collection[type]) -> Schema:
    """Describe `types`, by their registered names; `states`: those that are kept in a store.

    Raises `ConfigError` for a class whose fields have no meaning.
    """
    found = {}
    for name in sorted(types):
        kind = types[name]
        try:
            info: Any = inspect.type_info(declared(kind))
            fields = _fields(info.fields, (kind,))
        except Exception as error:  # hints are the user's, and evaluate to anything
            where = f"{kind.__module__}.{kind.__qualname__}"
            problem = f"the fields of {name!r} ({where}) cannot be read: {line_of(error)}"
            raise ConfigError("MODULES", problem, "mend the hints of its class") from error
        found[name] = TypeSchema(
            "state" if kind in states else "message",
            fields,
            message_version(kind),
            tuple(sorted(upgrade_steps(name))),
            tuple(sorted(message_aliases(kind))),
        )
    return Schema(FORMAT, found)


def _fields(fields: Iterable[Any], inside: tuple[type, ...]) -> dict[str, FieldSchema]:
    """By the names that they have on the wire; `inside`: the classes round them."""
    return {
        field.encode_name: FieldSchema(_shape(field.type, inside), _default(field))
        for field in fields
    }


def _default(field: Any) -> Any:
    if field.required:
        return msgspec.UNSET
    if field.default is msgspec.NODEFAULT:
        name = getattr(field.default_factory, "__qualname__", "a factory")
        return {"made by": str(name)[:_LONGEST]}
    default = field.default
    if isinstance(default, Absent):
        if default.factory is not None:
            return {
                "made by": str(getattr(default.factory, "__qualname__", "a factory"))[:_LONGEST]
            }
        default = default.default
    value = default.value if isinstance(default, enum.Enum) else default
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"a": type(value).__qualname__}


def _shape(info: Any, inside: tuple[type, ...]) -> Shape:
    kind = type(info).__name__.removesuffix("Type")
    if kind == "Metadata" and info.extra and "lower" in info.extra:  # what pydantic alone reads
        return {"class": info.extra["of"]}
    if kind in _CONTAINERS:
        return {_CONTAINERS[kind]: _shape(info.item_type, inside)}
    if kind in _SEVERAL:
        shapes = [_shape(each, inside) for each in _SEVERAL[kind](info)]
        return {kind.lower(): sorted(shapes, key=_order) if kind == "Union" else shapes}
    if kind in _VALUES:
        return {kind.lower(): sorted(_VALUES[kind](info), key=repr)}
    if kind in _CLASSES:
        return _class(info, inside)
    return _simple(info, kind.lower())


_CONTAINERS: Final = {
    "List": "list",
    "Set": "set",
    "FrozenSet": "set",
    "VarTuple": "tuple of",
    "Collection": "list",
}
#: What a type is made of, where that is several.
_SEVERAL: Final[dict[str, Callable[[Any], Iterable[Any]]]] = {
    "Union": lambda info: info.types,
    "Tuple": lambda info: info.item_types,
    "Dict": lambda info: (info.key_type, info.value_type),
}
_VALUES: Final[dict[str, Callable[[Any], Iterable[Any]]]] = {
    "Enum": lambda info: [each.value for each in info.cls],
    "Literal": lambda info: info.values,
}
_CLASSES: Final = {"Dataclass", "Struct", "TypedDict", "NamedTuple", "Custom"}


def _class(info: Any, inside: tuple[type, ...]) -> Shape:
    """Another registered type by its name; a class without one by what it has."""
    if (name := message_name(model_of(info.cls))) is not None:
        return {"object": name}
    if info.cls in inside or not hasattr(info, "fields"):
        return {"class": f"{info.cls.__module__}.{info.cls.__qualname__}"}
    return {"record": msgspec.to_builtins(_fields(info.fields, (*inside, info.cls)))}


def _simple(info: Any, name: str) -> Shape:
    """A scalar, with what limits it."""
    limits = {
        limit: value
        for limit in info.__struct_fields__
        if (value := getattr(info, limit)) is not None
    }
    return {name: msgspec.to_builtins(limits)} if limits else name


def _order(shape: Shape) -> str:
    return msgspec.json.encode(shape, order="sorted").decode()
