"""How objects with declared fields become maps, directed by their type hints.

A plan is made once for a registered class. Where a field's hint names a plain
dataclass, an attrs class, a Struct, a NamedTuple or an enum, the value goes out
as its fields or its value, because the hint tells the receiver what to make of
it. Where the hint is open (`Any`, a bare `dict`), or a value is not what its
hint says, the value stays as it is, and only what names itself on the wire
passes the codec. The hints are read by msgspec, as on arrival.
"""

from __future__ import annotations

from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec.inspect as ms

from actors.texts import line_of
from irismq_runtime.pydantic_models import ModelRefused, declared, model_of
from irismq_runtime.wire.flat import fields_encoder
from irismq_runtime.wire.shape import step
from irismq_runtime.wire.values import NotEncodable

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable

    from irismq_runtime.wire.limits import WireLimits

__all__ = ["Budget", "TypePlan", "make_plan"]

_Record: TypeAlias = "ms.DataclassType | ms.StructType"


class Budget:
    """What one lowering may still produce; keeps shared and circular data finite."""

    __slots__ = ("depth", "items")

    def __init__(self, limits: WireLimits) -> None:
        self.depth = limits.depth
        self.items = limits.items

    def enter(self, size: int) -> None:
        """Go into a container of `size` elements; `leave` comes after."""
        self.depth -= 1
        self.items -= size
        if self.depth < 0:
            raise NotEncodable("nested too deep, or containing itself")
        if self.items < 0:
            raise NotEncodable("too many elements")

    def leave(self) -> None:
        """Come back out of a container."""
        self.depth += 1


#: Turns a value of a declared type into what goes on the wire.
_Lower: TypeAlias = "Callable[[Any, Budget], Any]"


class TypePlan:
    """How instances of one class are laid out.

    `kind`: the class. `name`: what it is registered as, "" for those that are
    laid out only inside others. `array`: fields go out as a list, without names.
    `encode`: the body of a `plain` class when its fields are scalars; it gives None
    for others, and `lower` tells.
    """

    __slots__ = ("_constant", "_get", "_lowers", "_names", "array", "encode", "kind", "name")

    def __init__(self, kind: type, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.array = False
        self._names: tuple[str, ...] = ()
        self._lowers: tuple[tuple[str, _Lower], ...] = ()
        self._constant: dict[str, Any] = {}
        self._get: Callable[[Any], tuple[Any, ...]] = lambda _: ()
        self.encode: Callable[[Any], bytes | None] = lambda _: None

    def fill(self, record: _Record, compiler: _Compiler) -> None:
        """Read the fields; apart from the constructor, as classes refer to each other."""
        fields = record.fields
        if isinstance(record, ms.StructType):
            self.array = record.array_like
            if record.tag_field is not None:
                self._constant = {record.tag_field: record.tag}
        self._names = tuple(field.encode_name for field in fields)
        self._get = _getter([field.name for field in fields])
        lowers = ((field.encode_name, compiler.lower_of(field.type)) for field in fields)
        self._lowers = tuple((name, lower) for name, lower in lowers if lower is not None)
        if self.plain:
            self.encode = fields_encoder([(field.name, field.encode_name) for field in fields])

    @property
    def plain(self) -> bool:
        """Whether the fields go out as they are."""
        return not self._lowers and not self._constant and not self.array

    @property
    def size(self) -> int:
        """How many fields there are."""
        return len(self._names)

    def lower(self, value: Any, limits: WireLimits) -> dict[str, Any] | list[Any]:
        """The fields of `value`: a dict by wire name, or a list (`array_like`)."""
        if self.plain:
            return dict(zip(self._names, self._get(value), strict=True))
        return self.lower_within(value, Budget(limits))

    def lower_within(self, value: Any, budget: Budget) -> dict[str, Any] | list[Any]:
        """As `lower`, inside of something that is being lowered."""
        fields = dict(zip(self._names, self._get(value), strict=True))
        budget.enter(len(fields))
        for name, lower in self._lowers:
            try:
                fields[name] = lower(fields[name], budget)
            except NotEncodable as refusal:
                refusal.trail.append(f".{name}")
                raise
        budget.leave()
        if self._constant:
            fields = {**self._constant, **fields}
        return list(fields.values()) if self.array else fields


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) == 1:
        get = attrgetter(names[0])
        return lambda value: (get(value),)
    return attrgetter(*names)


def make_plan(kind: type, name: str, is_named: Callable[[type], bool]) -> TypePlan:
    """The plan of `kind`, registered as `name`.

    `is_named` tells the classes that name themselves on the wire.

    Raises `NotEncodable` when the fields of the class cannot be resolved, are of
    types that msgspec cannot check, or are those of a model that the wire cannot keep.
    """
    try:
        record = ms.type_info(declared(kind))
    except ModelRefused as refusal:
        raise NotEncodable(f"{refusal}") from refusal
    except Exception as error:  # a NameError in a hint, or whatever a hint raises
        raise NotEncodable(
            f"the fields of {kind.__qualname__} cannot be resolved ({type(error).__name__}: "
            f"{error}); their types must be importable at run time, outside TYPE_CHECKING"
        ) from error
    if not isinstance(record, (ms.DataclassType, ms.StructType)):
        raise NotEncodable(f"{kind.__qualname__} has no declared fields")
    plan = TypePlan(kind, name)
    plan.fill(record, _Compiler(is_named, {kind: plan}))
    return plan


def _origin(kind: Any) -> type:
    origin: type = model_of(getattr(kind, "__origin__", kind))  # Page of Page[int]
    return origin


class _Compiler:
    """Makes a lowering of each hint, or None where values go out as they are."""

    def __init__(self, is_named: Callable[[type], bool], plans: dict[type, TypePlan]) -> None:
        self._is_named = is_named
        self._plans = plans

    def lower_of(self, hint: ms.Type) -> _Lower | None:
        """How a value declared as `hint` is lowered; None: as it is."""
        lower: _Lower | None
        match hint:
            case ms.Metadata():
                lower = _by_pydantic(hint) or self.lower_of(hint.type)
            case ms.UnionType():
                kinds = frozenset(
                    _origin(member.cls)
                    for member in hint.types
                    if isinstance(member, (ms.DataclassType, ms.StructType))
                )
                lower = _union([self.lower_of(member) for member in hint.types], kinds)
            case ms.EnumType():
                lower = _enum(hint.cls)
            case ms.DataclassType() | ms.StructType():
                cls = _origin(hint.cls)
                lower = _named(cls) if self._names_itself(hint.cls) else self._record(hint)
            case ms.NamedTupleType():
                lower = self._named_tuple(hint)
            case _:
                lower = self._collection(hint)
        return lower

    def _only(self, hint: ms.Type) -> frozenset[type]:
        """The class whose objects go out as they are, where `hint` is one that names itself."""
        if isinstance(hint, ms.Metadata):
            return self._only(hint.type)
        if isinstance(hint, (ms.DataclassType, ms.StructType)):
            return frozenset({_origin(hint.cls)} if self._names_itself(hint.cls) else ())
        return frozenset()

    def _names_itself(self, kind: Any) -> bool:
        """Whether objects of it go out with their name: models inside of others have none."""
        return model_of(kind) is kind and self._is_named(_origin(kind))

    def _collection(self, hint: ms.Type) -> _Lower | None:
        match hint:
            case ms.TypedDictType():
                return self._typed_dict(hint)
            case ms.ListType() | ms.VarTupleType() | ms.SetType() | ms.FrozenSetType():
                kind = _BUILT[type(hint)]
                return _elements(kind, self.lower_of(hint.item_type), self._only(hint.item_type))
            case ms.TupleType():
                return _positions(tuple, [self.lower_of(item) for item in hint.item_types])
            case ms.DictType():
                return _mapping(self.lower_of(hint.key_type), self.lower_of(hint.value_type))
            case _:
                return None

    def _record(self, record: _Record) -> _Lower:
        cls = _origin(record.cls)
        plan = self._plans.get(record.cls)
        if plan is None:
            plan = self._plans[record.cls] = TypePlan(cls)
            plan.fill(record, self)
        kind, lower = plan.kind, plan.lower_within

        def lower_record(value: Any, budget: Budget) -> Any:
            if type(value) is not kind:
                return _not_a_subclass(value, kind)
            return lower(value, budget)

        return lower_record

    def _named_tuple(self, hint: ms.NamedTupleType) -> _Lower:
        kind: Any = hint.cls
        lower = _positions(kind, [self.lower_of(field.type) for field in hint.fields])

        def lower_named_tuple(value: Any, budget: Budget) -> Any:
            if type(value) is not kind:
                return value
            return list(value) if lower is None else list(lower(value, budget))

        return lower_named_tuple

    def _typed_dict(self, hint: ms.TypedDictType) -> _Lower | None:
        pairs = ((field.encode_name, self.lower_of(field.type)) for field in hint.fields)
        lowers = [(name, lower) for name, lower in pairs if lower is not None]
        if not lowers:
            return None

        def lower_typed_dict(value: Any, budget: Budget) -> Any:
            if type(value) is not dict:
                return value
            budget.enter(len(value))
            lowered = dict(value)
            for name, lower in lowers:
                if name in lowered:
                    lowered[name] = lower(lowered[name], budget)
            budget.leave()
            return lowered

        return lower_typed_dict


_BUILT: dict[type, type] = {
    ms.ListType: list,
    ms.VarTupleType: tuple,
    ms.SetType: set,
    ms.FrozenSetType: frozenset,
}


def _enum(kind: type[enum.Enum]) -> _Lower:
    single = frozenset(kind)  # a combination of flags is none of them

    def lower_enum(member: Any, _: Budget) -> Any:
        if type(member) is not kind:
            return member
        if type(member.value) not in (int, str) or member not in single:
            raise NotEncodable(f"{member!r} is not a single member with an int or str value")
        return member.value

    return lower_enum


def _by_pydantic(hint: ms.Metadata) -> _Lower | None:
    """The lowering that a mirror has for a type of pydantic's own."""
    lower = (hint.extra or {}).get("lower")
    if lower is None:
        return None

    def lower_by_pydantic(value: Any, _: Budget) -> Any:
        try:
            return lower(value)
        except UnicodeDecodeError as error:
            raise NotEncodable(
                f"bytes that are no text in UTF-8 (at {error.start}) where pydantic writes the "
                "value, as of a choice; declare a field of its own for them"
            ) from error
        except Exception as error:  # of pydantic, or a serializer of a type
            raise NotEncodable(line_of(error)[:500]) from error

    return lower_by_pydantic


def _named(kind: type) -> _Lower:
    """Objects that name themselves go out as they are."""

    def lower_named(value: Any, _: Budget) -> Any:
        return value if type(value) is kind else _not_a_subclass(value, kind)

    return lower_named


def _not_a_subclass(value: Any, kind: type) -> Any:
    """`value`, which is not of the class `kind`; the receiver would refuse one of a subclass."""
    if isinstance(value, kind):
        name = type(value).__qualname__
        raise NotEncodable(
            f"{name}, a subclass of what the field is declared as ({kind.__qualname__}), which "
            f"the receiver would refuse; declare the field as {name}, or as Any"
        )
    return value


def _union(members: list[_Lower | None], kinds: frozenset[type]) -> _Lower | None:
    lowers = [member for member in members if member is not None]
    if not lowers:
        return None

    def lower_union(value: Any, budget: Budget) -> Any:
        for lower in lowers:
            try:
                lowered = lower(value, budget)
            except NotEncodable as refusal:
                if type(value) not in kinds or refusal.trail:
                    raise
                continue  # a subclass of one member of the union is another member of it
            if lowered is not value:
                return lowered
        return value

    return lower_union


def _elements(kind: Any, lower: _Lower | None, as_they_are: frozenset[type]) -> _Lower | None:
    if lower is None:
        return None

    def lower_elements(value: Any, budget: Budget) -> Any:
        if type(value) is not kind or as_they_are.issuperset(map(type, value)):
            return value
        budget.enter(len(value))
        lowered: list[Any] = []
        try:
            for element in value:
                lowered.append(lower(element, budget))  # noqa: PERF401  # its length is the index
        except NotEncodable as refusal:
            refusal.trail.append(f"[{len(lowered)}]")
            raise
        budget.leave()
        if all(map(is_, lowered, value)):
            return value
        # The fields of an object cannot be hashed, so sets travel as lists: the
        # hint makes a set of them again. What may be a key must stay hashable.
        return tuple(lowered) if kind in (tuple, frozenset) else lowered

    return lower_elements


def _positions(kind: Any, lowers: list[_Lower | None]) -> _Lower | None:
    if all(lower is None for lower in lowers):
        return None

    def lower_positions(value: Any, budget: Budget) -> Any:
        if type(value) is not kind or len(value) != len(lowers):
            return value
        budget.enter(len(value))
        lowered: list[Any] = []
        try:
            for part, lower in zip(value, lowers, strict=True):
                lowered.append(part if lower is None else lower(part, budget))
        except NotEncodable as refusal:
            refusal.trail.append(f"[{len(lowered)}]")
            raise
        budget.leave()
        return tuple(lowered)

    return lower_positions


def _mapping(key_lower: _Lower | None, value_lower: _Lower | None) -> _Lower | None:
    if key_lower is None and value_lower is None:
        return None

    def lower_mapping(value: Any, budget: Budget) -> Any:
        if type(value) is not dict:
            return value
        budget.enter(2 * len(value))
        lowered: dict[Any, Any] = {}
        for key, part in value.items():
            try:
                name = key if key_lower is None else _hashable(key_lower(key, budget))
                lowered[name] = part if value_lower is None else value_lower(part, budget)
            except NotEncodable as refusal:
                refusal.trail.append(step(key))
                raise
        budget.leave()
        return lowered

    return lower_mapping


def _hashable(key: Any) -> Any:
    if type(key) is list:  # a NamedTuple; lists cannot be keys
        key = tuple(key)
    try:
        hash(key)
    except TypeError:
        raise NotEncodable(
            "an object with fields as a key; give its class @message, or use a value of it"
        ) from None
    return key
