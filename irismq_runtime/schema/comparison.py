"""What breaks when the types change: two descriptions in, a list of breaks out. Pure.

Two versions of a program run at once while it is deployed, and what the old one stored
is read by the new one. So:

    a field that is new has a default        for what was made before it: new reader
    a field that goes has had one            for who still expects it: old reader
    a type becomes wider, or stays           for what was made before: new reader
    a default does not go                    as the first
    a registered type does not go            while something of it may be stored
    a name changes by way of an alias        known to all before it is written: old reader

Of a type that is kept in a store, the new reader is whoever loads it: *stored state*.
What an upgrade leads on from may change in any way. Such a type needs a higher version
for a new field: old code, which would write it back without the field, then leaves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from irismq_runtime.schema.description import FieldSchema, Schema, TypeSchema

__all__ = ["Break", "accepts", "breaks_between"]

Side = Literal["old reader", "new reader", "stored state"]

#: What may be read as something else, because every value of it is one.
_WIDER: Final = {("int", "float")}
_INNER: Final = ("list", "set", "tuple of")
_VALUES: Final = ("enum", "literal")


class Break(NamedTuple):
    """One thing that breaks. `where`: the type and the field; `side`: who cannot go on."""

    where: str
    side: Side
    problem: str

    @property
    def line(self) -> str:
        """As it is printed."""
        return f"{self.where}: {self.side}: {self.problem}"


def breaks_between(old: Schema, new: Schema) -> list[Break]:
    """What breaks from `old` to `new`, by the names of types and fields."""
    found: list[Break] = []
    names = {alias: name for name, each in new.types.items() for alias in each.aliases}
    for name, kept in sorted(old.types.items()):
        now = name if name in new.types else names.get(name, name)
        before, after = _renamed(kept, names), new.types.get(now)
        reader: Side = "stored state" if before.kind == "state" else "new reader"
        if after is None:
            problem = "the type is gone; keep it until nothing of it is stored any more"
            found.append(Break(name, reader, problem))
        elif after.version < before.version:
            problem = f"it had version {before.version}, and has {after.version}"
            found.append(Break(name, reader, problem))
        else:
            found += _names_lost(name, now, before, after)
            found += [
                each
                for each in _fields(name, before, after, reader)
                if each.side != "stored state" or not _is_upgraded(before, after)
            ]
            found += _lost_by_old_code(name, before, after)
    return found


def _renamed(kept: TypeSchema, names: Mapping[str, str]) -> TypeSchema:
    """What was kept, with the other types in it by their names of now."""
    return msgspec.convert(_with_names(msgspec.to_builtins(kept), names), type(kept))


def _with_names(part: Any, names: Mapping[str, str]) -> Any:
    if isinstance(part, list | tuple):
        return [_with_names(each, names) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: names.get(value, value)
        if key == "object" and isinstance(value, str)
        else _with_names(value, names)
        for key, value in part.items()
    }


def _names_lost(name: str, now: str, before: TypeSchema, after: TypeSchema) -> Iterator[Break]:
    """What bears a name that nobody reads."""
    reader: Side = "stored state" if before.kind == "state" else "new reader"
    if now != name and now not in before.aliases:
        problem = f"it is written as {now}, which old code does not read; deploy that as an alias"
        yield Break(name, "old reader", f"{problem} first")
    for alias in sorted({*before.aliases} - {now, *after.aliases}):
        yield Break(name, reader, f"its alias {alias} is gone, and something may bear it still")


def _is_upgraded(before: TypeSchema, after: TypeSchema) -> bool:
    """Whether what was kept goes through a function before it is read."""
    return any(before.version <= each < after.version for each in after.upgrades)


def _lost_by_old_code(name: str, before: TypeSchema, after: TypeSchema) -> Iterator[Break]:
    if after.kind == "state" and after.version == before.version:
        for field in sorted(after.fields.keys() - before.fields.keys()):
            problem = "the field is new, and old code would lose it; raise the version of the type"
            yield Break(f"{name}.{field}", "old reader", problem)


def _fields(name: str, before: TypeSchema, after: TypeSchema, reader: Side) -> Iterator[Break]:
    for field in sorted(before.fields.keys() | after.fields.keys()):
        where = f"{name}.{field}"
        old, new = before.fields.get(field), after.fields.get(field)
        if old is None:
            if new is not None and not _has_default(new):
                yield Break(where, reader, "the field is new and has no default; give it one")
        elif new is None:
            if not _has_default(old):
                problem = "the field is gone and had no default; give it one, deploy, then remove"
                yield Break(where, "old reader", problem)
        else:
            if _has_default(old) and not _has_default(new):
                problem = "its default is gone, and what was made before the field has none"
                yield Break(where, reader, problem)
            if not accepts(new.type, old.type):
                yield Break(where, reader, f"{_text(old.type)} is not read as {_text(new.type)}")


def _has_default(field: FieldSchema) -> bool:
    return field.default is not msgspec.UNSET


def accepts(new: Any, old: Any) -> bool:
    """Whether every value of the type `old` is one of the type `new`."""
    if new in (old, "any"):
        return True
    if (parts := _parts(old, "union")) is not None:
        return all(accepts(new, part) for part in parts)
    if (parts := _parts(new, "union")) is not None:
        return any(accepts(part, old) for part in parts)
    return any(rule(new, old) for rule in _RULES)


def _accepts_inner(new: Any, old: Any) -> bool:
    """A container of one type, in the same kind of container."""
    found = ((_parts(new, kind), _parts(old, kind)) for kind in _INNER)
    return any(accepts(*pair) for pair in found if None not in pair)


def _accepts_dict(new: Any, old: Any) -> bool:
    found, before = _parts(new, "dict"), _parts(old, "dict")
    return found is not None and before is not None and all(map(accepts, found, before))


def _accepts_record(new: Any, old: Any) -> bool:
    """A class inside: each of its fields is read, or was not there and has a default."""
    fields, before = _parts(new, "record"), _parts(old, "record")
    return (
        fields is not None
        and before is not None
        and all(
            accepts(field["type"], before[name]["type"]) if name in before else "default" in field
            for name, field in fields.items()
        )
    )


def _accepts_tuple(new: Any, old: Any) -> bool:
    parts = _parts(old, "tuple")
    if parts is None:
        return False
    if (inner := _parts(new, "tuple of")) is not None:
        return all(accepts(inner, part) for part in parts)
    others = _parts(new, "tuple")
    return others is not None and len(others) == len(parts) and all(map(accepts, others, parts))


def _accepts_values(new: Any, old: Any) -> bool:
    """An enum or a literal: among more values, or among all texts or all integers."""
    for kind in _VALUES:
        if (values := _parts(old, kind)) is not None:
            wider = [found for each in _VALUES if (found := _parts(new, each)) is not None]
            if wider:
                return all(value in wider[0] for value in values)
            return {type(value).__name__ for value in values} == {new}
    return False


def _accepts_scalar(new: Any, old: Any) -> bool:
    """A limit that goes makes a type wider; one that comes or changes does not."""
    name = old if isinstance(old, str) else next(iter(old), "")
    return isinstance(new, str) and (new == name or (name, new) in _WIDER)


_RULES: Final = (
    _accepts_inner,
    _accepts_dict,
    _accepts_record,
    _accepts_tuple,
    _accepts_values,
    _accepts_scalar,
)


def _parts(shape: Any, kind: str) -> Any:
    """What stands behind the one key of a shape; None where it has another."""
    return shape.get(kind) if isinstance(shape, dict) else None


def _text(shape: Any) -> str:
    """A type as a person writes it."""
    if not isinstance(shape, dict) or len(shape) != 1:
        return str(shape)
    [(kind, inside)] = shape.items()
    if kind in _WRITTEN:
        return _WRITTEN[kind](inside)
    limits = ", ".join(f"{name}={value}" for name, value in inside.items())
    return f"{kind}({limits})"


def _written(shapes: Any) -> str:
    return ", ".join(map(_text, shapes))


def _values(values: Any) -> str:
    return f"one of {', '.join(map(repr, values))}"


_WRITTEN: Final[dict[str, Callable[[Any], str]]] = {
    "union": lambda shapes: " | ".join(map(_text, shapes)),
    "dict": lambda shapes: f"dict[{_written(shapes)}]",
    "tuple": lambda shapes: f"tuple[{_written(shapes)}]",
    "list": lambda shape: f"list[{_text(shape)}]",
    "set": lambda shape: f"set[{_text(shape)}]",
    "tuple of": lambda shape: f"tuple[{_text(shape)}, ...]",
    "object": str,
    "class": str,
    "record": lambda fields: f"a record of {', '.join(fields)}",
    "enum": _values,
    "literal": _values,
}
