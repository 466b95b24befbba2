"""Pydantic models as messages: how they are declared to the wire, and made of what arrived.

A model has a *mirror*: a Struct with the same fields and hints, in which models are their mirrors.
What is known of a class by its hints (plans, guards against crafted keys, datetimes without a
zone, descriptions) is found out about the mirror, and what arrives becomes a mirror first: checked
as strictly as a dataclass, and only then given to pydantic, whose validators run once. Fields
travel under their own names, whatever their aliases.

A field of a type that is pydantic's own (an URL, an e-mail address) or that is ambiguous on the
wire (a choice of two models) travels as pydantic writes it in JSON, and pydantic alone reads it.
What holds elsewhere is seen to here: that no keys and members of sets are of such a type, as
their hashes could be chosen; that no model in it has a form of its own or a secret; and that no
datetime is without a zone. pydantic is imported where a program has a model, and never by this
module before.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import sys
import types
from datetime import datetime
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import msgspec.inspect as ms

from actors.messages import is_model
from actors.texts import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Absent", "Make", "ModelRefused", "declared", "model_maker", "model_of", "problem_of"]

#: Makes a model of its mirror. Raises whatever its validators do.
Make: TypeAlias = "Callable[[Any], Any]"

#: The first version that makes a model by the names of its fields, whatever its aliases.
_LEAST: Final = (2, 11)
#: Types whose values pydantic writes as stars.
_SECRETS: Final = ("SecretStr", "SecretBytes", "Secret")
#: Types in a key or a set whose hashes nobody outside can choose.
_SALTED: Final = (str, bytes, bool, type(None))


class Absent:
    """Stands in a mirror for a field that did not arrive; the model has its default.

    Attributes:
        default: The default, where it is a value.
        factory: What makes it otherwise.
    """

    __slots__ = ("default", "factory")

    def __init__(self, default: Any, factory: Any) -> None:
        self.default = default
        self.factory = factory


class ModelRefused(TypeError):
    """A model says of its form what the wire cannot keep; the text says what to do."""


def declared(kind: type) -> type:
    """What declares the fields of a class to the wire: a model's mirror, any other class itself.

    Raises `ModelRefused` for a model that says of its form what the wire cannot keep.
    """
    return _mirror(kind) if is_model(kind) else kind


def model_of(kind: Any) -> Any:
    """The model that `kind` is the mirror of; any other class itself."""
    return getattr(kind, "__model__", kind)


@lru_cache(maxsize=4096)
def _mirror(model: Any) -> type:
    return _Mirrors().of(model)


class _Mirrors:
    """The mirrors of a model and of those in it, which may hold each other."""

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}

    def of(self, model: Any) -> type:
        """The mirror of `model`, complete but for those that are being made."""
        made = self._made.get(model)
        if made is not None:
            return made  # type: ignore[no-any-return]  # a class
        _check(model)
        if model.__pydantic_root_model__:
            raise ModelRefused(
                f"{model.__qualname__} has a root and no fields; make it a field of a model"
            )
        fields = {name: f for name, f in model.__pydantic_fields__.items() if not f.exclude}
        mirror: Any = msgspec.defstruct(
            model.__name__,
            [_with_default(name, field) for name, field in fields.items()],
            kw_only=True,
            module=model.__module__,
            namespace={"__model__": model},
            forbid_unknown_fields=model.model_config.get("extra") == "forbid",
        )
        self._made[model] = mirror
        # msgspec reads them when the first message comes.
        mirror.__annotations__.update(
            {name: self._hint(model, name, field) for name, field in fields.items()}
        )
        return mirror  # type: ignore[no-any-return]  # a class

    def _hint(self, model: Any, name: str, field: Any) -> Any:
        hint = field.annotation
        keys = list(_hash_keys(hint, set()))
        if _is_known(hint) and not any(is_model(each) for key in keys for each in _parts(key)):
            return self._mirrored(hint)
        where = f"{model.__qualname__}.{name}"
        if keys:
            raise ModelRefused(
                f"{where} has keys or members of a set ({keys[0]!r:.80}) that the wire does not "
                "know; make them texts"
            )
        parts = list(_parts_within(hint, set()))
        for each in filter(is_model, parts):
            _check(each)
        _check_secret(where, parts)
        timed = any(isinstance(each, type) and issubclass(each, datetime) for each in parts)
        adapter = sys.modules["pydantic"].TypeAdapter(field.rebuild_annotation())
        # What is said of the field beside its type is looked at once, by the model.
        bare = sys.modules["pydantic"].TypeAdapter(hint)

        def lower(value: Any) -> Any:
            return adapter.dump_python(value, mode="json", by_alias=False)

        def read(value: Any) -> Any:
            try:
                text = sys.modules["pydantic_core"].to_json(value, inf_nan_mode="constants")
                made = bare.validate_json(text, strict=True, by_name=True, by_alias=False)
            except Exception as error:
                path, problem = problem_of(error)
                raise _FieldRefused(f"{where}{path[1:]}: {problem}") from error
            if timed and _has_naive(made):
                raise _FieldRefused(f"{where}: a datetime without a zone; give it an offset")
            return made

        schema = adapter.json_schema(mode="serialization")
        if "$defs" in schema:  # they have no place in that of the message
            schema = {"description": f"{hint}"}
        told = msgspec.Meta(
            extra_json_schema=schema, extra={"lower": lower, "read": read, "of": f"{hint}"}
        )
        return Annotated[Any, told]

    def _mirrored(self, hint: Any) -> Any:
        """`hint` with mirrors in the place of models, and without what pydantic alone reads."""
        if is_model(hint):
            return self.of(hint)
        origin, parts = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._mirrored(parts[0])
        if not parts or origin is Literal:
            return hint
        return _of_parts(origin, tuple(map(self._mirrored, parts)))


class _FieldRefused(ValueError):
    """What pydantic says of a field that it alone reads."""


def _check(model: Any) -> None:
    """Raise `ModelRefused` for what the fields alone do not say."""
    version = sys.modules["pydantic"].VERSION
    if tuple(map(int, version.split(".")[:2])) < _LEAST:
        raise ModelRefused(f"pydantic {version} is installed, and models as messages need 2.11")
    asked = model.__pydantic_decorators__
    if asked.field_serializers or asked.model_serializers:
        raise ModelRefused(
            f"{model.__qualname__} has serializers of its own, which the wire does not ask; "
            "declare fields that travel as they are"
        )
    if model.model_config.get("extra") == "allow":
        raise ModelRefused(
            f"{model.__qualname__} takes fields that it does not declare (extra='allow'), which "
            "would not travel; declare them, or a dict"
        )
    for name, field in model.__pydantic_fields__.items():
        if field.exclude and field.is_required():
            raise ModelRefused(
                f"{model.__qualname__}.{name} does not travel (exclude=True) and has no default; "
                "give it one"
            )


def _check_secret(where: str, parts: list[Any]) -> None:
    if secret := next(filter(_is_secret, parts), None):
        raise ModelRefused(f"{where} has a {secret.__name__}, which travels as stars; send a text")


def _with_default(name: str, field: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.is_required():
        return name, Any
    return name, Any, Absent(field.default, field.default_factory)


def _of_parts(origin: Any, parts: tuple[Any, ...]) -> Any:
    if origin in {Union, types.UnionType}:
        return Union[parts]  # noqa: UP007  # a tuple of them
    return origin[parts if len(parts) > 1 else parts[0]]


def _is_known(hint: Any) -> bool:
    """Whether the wire checks values of `hint`, models in it apart, and tells them from others."""
    try:
        tried = _tried(hint)
        msgspec.json.Decoder(tried)
        return not _mentions_custom(ms.type_info(tried), set())
    except Exception:  # a choice that is ambiguous; hints that msgspec has no form for
        return False


def _tried(hint: Any) -> Any:
    """`hint` with a class of its own in the place of each model."""
    if is_model(hint):
        if hint.__pydantic_root_model__:
            raise TypeError("a model without fields is pydantic's to read")
        return msgspec.defstruct(hint.__name__, [])
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _tried(parts[0])
    if not parts or origin is Literal:
        return hint
    return _of_parts(origin, tuple(map(_tried, parts)))


def _mentions_custom(info: Any, seen: set[int]) -> bool:
    if isinstance(info, ms.CustomType):
        # An actor's ref, or what another class registered as a message stands for.
        return info.cls.__module__.partition(".")[0] in {"pydantic", "pydantic_core", "ipaddress"}
    if isinstance(info, tuple | list):
        return any(_mentions_custom(each, seen) for each in info)
    if not isinstance(info, ms.Type | ms.Field) or id(info) in seen:
        return False
    seen.add(id(info))
    return any(_mentions_custom(getattr(info, name), seen) for name in info.__struct_fields__)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _parts_within(hint: Any, seen: set[Any]) -> Iterator[Any]:
    """The parts of `hint`, and of what is declared in the classes that it names."""
    for part in _parts(hint):
        yield part
        if not isinstance(part, type) or part in seen:
            continue
        seen.add(part)
        if is_model(part):
            hints = [each.annotation for each in part.__pydantic_fields__.values()]  # type: ignore[attr-defined]  # a model
        elif (
            dataclasses.is_dataclass(part) or hasattr(part, "__total__") or hasattr(part, "_fields")
        ):
            hints = list(get_type_hints(part).values())
        else:
            continue
        for each in hints:
            yield from _parts_within(each, seen)


def _has_naive(value: Any) -> bool:
    """Whether a datetime in what pydantic has read is without a zone."""
    if isinstance(value, datetime):
        return value.utcoffset() is None
    if isinstance(value, dict):
        return any(_has_naive(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_naive, value))
    if is_model(type(value)) or dataclasses.is_dataclass(value):
        return any(map(_has_naive, vars(value).values()))
    return False


def _is_secret(part: Any) -> bool:
    return isinstance(part, type) and any(each.__name__ in _SECRETS for each in part.__mro__)


def _hash_keys(hint: Any, seen: set[Any]) -> Iterator[Any]:
    """The types of keys and members of sets in `hint`, and in models in it, that can be chosen."""
    if is_model(hint) and hint not in seen:
        seen.add(hint)
        for field in hint.__pydantic_fields__.values():
            yield from _hash_keys(field.annotation, seen)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in {set, frozenset, collections.abc.Set, collections.abc.MutableSet}:
        yield from (part for part in parts if part not in _SALTED)
    elif isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        yield from (part for part in parts[:1] if part not in _SALTED)
    for part in parts:
        yield from _hash_keys(part, seen)


# What arrived ------------------------------------------------------------------


def model_maker(kind: type) -> Make | None:
    """What makes objects of the class of its mirrors; None: it is no model."""
    if not is_model(kind):
        return None
    model: Any = kind
    fields_of = _Fields().record(ms.type_info(_mirror(model)))

    def make(mirror: Any) -> Any:
        return model.model_validate(fields_of(mirror), by_name=True, by_alias=False)

    return make


def problem_of(error: BaseException) -> tuple[str, str]:
    """Where, and what, is wrong with the fields of a message, as its class has said.

    Raises nothing: an exception of a user's, and what a validator of his raised, may do anything
    when they are looked at.
    """
    kind = type(error)
    try:
        if kind is _FieldRefused:
            return "$", f"{error}"[:500]
        core = sys.modules.get("pydantic_core")
        if core is not None and kind is core.ValidationError:
            return _as_pydantic_says(error)
    except BaseException:  # noqa: S110  # a text of a user's; what is said below is safe
        pass
    return "$", line_of(error)[:500]


def _as_pydantic_says(error: Any) -> tuple[str, str]:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
    return f"${path}"[:200], f"{first['msg']} ({error.error_count()} in all)"[:500]


class _Fields:
    """Makes dicts of mirrors, wherever hints say that there are some; all else stays as it is."""

    def __init__(self) -> None:
        self._records: dict[int, Make] = {}

    def record(self, hint: Any) -> Make:
        """The fields of a mirror that arrived, by name."""
        made = self._records.get(id(hint))
        if made is not None:
            return made
        fields: list[tuple[str, Make | None]] = []

        def fields_of(mirror: Any) -> dict[str, Any]:
            found = {}
            for name, make in fields:
                value = getattr(mirror, name)
                if type(value) is not Absent:
                    found[name] = value if make is None else make(value)
            return found

        self._records[id(hint)] = fields_of
        fields += [(field.name, self._of(field.type)) for field in hint.fields]
        return fields_of

    def _of(self, hint: Any) -> Make | None:
        """What values declared as `hint` become; None: they stay as they are."""
        make: Make | None = None
        match hint:
            case ms.Metadata():
                make = (hint.extra or {}).get("read") or self._of(hint.type)
            case ms.StructType():
                make = self.record(hint) if model_of(hint.cls) is not hint.cls else None
            case ms.UnionType():
                make = self._union(hint)
            case ms.ListType() | ms.VarTupleType():
                kind = list if isinstance(hint, ms.ListType) else tuple
                make = _elements(kind, self._of(hint.item_type))
            case ms.TupleType():
                make = _positions([self._of(each) for each in hint.item_types])
            case ms.DictType():
                make = _values(self._of(hint.value_type))
        return make

    def _union(self, hint: ms.UnionType) -> Make | None:
        """At most one member holds models: a choice of two is pydantic's to read."""
        makes = [(member, make) for member in hint.types if (make := self._of(member)) is not None]
        if not makes:
            return None
        ((member, make),) = makes
        kinds = _kinds(member)

        def of_union(value: Any) -> Any:
            return make(value) if isinstance(value, kinds) else value

        return of_union


def _elements(kind: Any, make: Make | None) -> Make | None:
    return None if make is None else lambda value: kind(map(make, value))


def _values(make: Make | None) -> Make | None:
    return None if make is None else lambda value: {key: make(v) for key, v in value.items()}


def _positions(makes: list[Make | None]) -> Make | None:
    if all(make is None for make in makes):
        return None

    def of_tuple(value: Any) -> Any:
        return tuple(
            part if make is None else make(part) for part, make in zip(value, makes, strict=True)
        )

    return of_tuple


def _kinds(member: Any) -> Any:
    if isinstance(member, ms.Metadata):
        return _kinds(member.type)
    if isinstance(member, ms.StructType):
        return member.cls
    return dict if isinstance(member, ms.DictType) else (list, tuple)
