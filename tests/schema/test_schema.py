"""What the types look like, and what breaks when they change."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003  # hints are read when it runs
import enum
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest

from actors import message
from irismq_runtime.errors import ConfigError
from irismq_runtime.schema import FORMAT, Schema, breaks_between, describe, read_schema_untrusted
from irismq_runtime.schema.comparison import accepts


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    sku: str
    count: int = 1
    after: Line | None = None


@message("test-schema.order")
@dataclasses.dataclass
class Order:
    id: int
    lines: list[Line] = dataclasses.field(default_factory=list)
    notes: dict[str, str | None] = dataclasses.field(default_factory=dict)
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    pair: tuple[int, str] = (1, "a")
    many: tuple[int, ...] = ()
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    at: dt.datetime | None = None
    anything: Any = None


@message("test-schema.nested")
class Nested(msgspec.Struct, rename="camel"):
    first_order: Order
    tags: frozenset[str] = frozenset()


@message("test-schema.attrs")
@attrs.define
class WithAttrs:
    name: str = "x"


def types(**changed: type) -> dict[str, type]:
    return {"order": Order, "nested": Nested, "attrs": WithAttrs, **changed}


def test_a_description_has_every_field_with_its_type_and_default():
    found = describe(types(), {Order}).types
    assert (found["order"].kind, found["nested"].kind) == ("state", "message")
    fields = {name: field.type for name, field in found["order"].fields.items()}
    line = "tests.schema.test_schema.Line"
    assert fields.pop("lines")["list"]["record"] == {
        "sku": {"type": "str"},
        "count": {"type": "int", "default": 1},
        "after": {"type": {"union": ["none", {"class": line}]}, "default": None},
    }
    assert fields == {
        "id": "int",
        "notes": {"dict": ["str", {"union": ["none", "str"]}]},
        "colour": {"enum": ["blue", "red"]},
        "size": {"literal": ["m", "s"]},
        "pair": {"tuple": ["int", "str"]},
        "many": {"tuple of": "int"},
        "share": {"float": {"ge": 0, "le": 1}},
        "at": {"union": ["datetime", "none"]},
        "anything": "any",
    }
    defaults = {name: field.default for name, field in found["order"].fields.items()}
    assert defaults["id"] is msgspec.UNSET
    assert (defaults["lines"], defaults["colour"]) == ({"made by": "list"}, "red")
    nested = found["nested"].fields
    assert nested["firstOrder"].type == {"object": "test-schema.order"}
    assert nested["tags"].type == {"set": "str"}
    assert found["attrs"].fields["name"].type == "str"


def test_what_is_written_is_read_again_and_breaks_nothing():
    schema = describe(types(), {Order})
    text = schema.to_json()
    again = read_schema_untrusted(text.encode(), "messages.lock.json")
    assert breaks_between(again, schema) == []
    assert again.to_json() == text
    assert describe(dict(reversed(types().items())), {Order}).to_json() == text


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"format":1,"types":{"x":{"kind":"other","fields":{}}}}'],
)
def test_a_file_that_is_no_description_is_one_clear_error(data: bytes):
    with pytest.raises(ConfigError, match=r"old\.json is no description"):
        read_schema_untrusted(data, "old.json")


def test_a_description_of_another_format_is_refused():
    with pytest.raises(ConfigError, match=f"format {FORMAT + 1}"):
        read_schema_untrusted(b'{"format":%d,"types":{}}' % (FORMAT + 1), "old.json")


def test_a_class_whose_hints_have_no_meaning_is_named():
    broken = dataclasses.make_dataclass("Broken", [("x", "NoSuchType")])
    with pytest.raises(ConfigError, match=r"^MODULES: .*\([\w.]+\.Broken\) cannot be read"):
        describe({"broken": broken}, ())


def changed(*fields: Any) -> type:
    return dataclasses.make_dataclass("Changed", fields)


REMOVE = "give it one, deploy, then remove"
BEFORE = changed(("id", int), ("note", str, dataclasses.field(default="")))


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (BEFORE, []),
        (changed(("id", int | None), ("note", str, dataclasses.field(default="x"))), []),
        (changed(("id", int)), []),
        (changed(("id", float), ("note", str, ""), ("new", int, 0)), []),
        (
            changed(("id", int), ("new", int), ("note", str, "")),
            ["t.new: READER: the field is new and has no default; give it one"],
        ),
        (
            changed(("note", str, "")),
            [f"t.id: old reader: the field is gone and had no default; {REMOVE}"],
        ),
        (
            changed(("id", str), ("note", str, "")),
            ["t.id: READER: int is not read as str"],
        ),
        (
            changed(("id", int), ("note", str)),
            ["t.note: READER: its default is gone, and what was made before the field has none"],
        ),
    ],
)
@pytest.mark.parametrize("state", [False, True])
def test_each_break_says_who_cannot_go_on(after: type, lines: list[str], state: bool):
    old = describe({"t": BEFORE}, [BEFORE] if state else [])
    found = breaks_between(old, describe({"t": after}, [after] if state else []))
    reader = "stored state" if state else "new reader"
    told = [each.line for each in found if "raise the version" not in each.problem]
    assert told == [line.replace("READER", reader) for line in lines]


def test_a_new_field_of_a_state_needs_a_higher_version():
    after = changed(("id", int), ("note", str, ""), ("new", int, 0))
    old, new = describe({"t": BEFORE}, [BEFORE]), describe({"t": after}, [after])
    [found] = breaks_between(old, new)
    assert (found.where, found.side) == ("t.new", "old reader")
    assert breaks_between(old, with_version(new, 2)) == []


def test_what_an_upgrade_leads_on_from_may_change_in_any_way():
    after = changed(("id", str), ("new", int))
    old, new = describe({"t": BEFORE}, [BEFORE]), describe({"t": after}, [after])
    assert {each.side for each in breaks_between(old, with_version(new, 2))} == {"stored state"}
    assert breaks_between(old, with_version(new, 2, 1)) == []
    assert breaks_between(old, with_version(new, 3, 2)) == []
    assert breaks_between(with_version(old, 2), with_version(new, 3, 1)) != []


def test_a_version_that_goes_back_is_a_break():
    old = with_version(describe({"t": BEFORE}, [BEFORE]), 3)
    [found] = breaks_between(old, with_version(old, 2))
    assert found.line == "t: stored state: it had version 3, and has 2"


def with_version(schema: Schema, version: int, *upgrades: int) -> Schema:
    changed = msgspec.structs.replace(schema.types["t"], version=version, upgrades=upgrades)
    return msgspec.structs.replace(schema, types={"t": changed})


def renamed(schema: Schema, name: str, *aliases: str) -> Schema:
    [kept] = schema.types.values()
    return Schema(FORMAT, {name: msgspec.structs.replace(kept, aliases=aliases)})


@pytest.mark.parametrize("state", [False, True])
def test_a_type_is_renamed_by_an_alias_that_old_code_knows(state: bool):
    one = describe({"t": BEFORE}, [BEFORE] if state else [])
    ready = renamed(one, "t", "u")
    assert breaks_between(one, ready) == []
    assert breaks_between(ready, renamed(one, "u", "t")) == []
    [early] = breaks_between(one, renamed(one, "u", "t"))
    assert (early.where, early.side) == ("t", "old reader")
    assert "deploy that as an alias first" in early.problem
    [gone] = breaks_between(renamed(one, "u", "t"), renamed(one, "u"))
    assert gone.line.startswith(f"u: {'stored state' if state else 'new reader'}: its alias t is")


def test_a_field_of_a_type_that_was_renamed_is_the_same_field():
    held = describe(types(), ())
    text = held.to_json().replace('"test-schema.order"', '"test-schema.order-2"')
    new = read_schema_untrusted(text.encode(), "new")
    assert [each.where for each in breaks_between(held, new)] == ["nested.firstOrder"]
    aliased = msgspec.structs.replace(new.types["order"], aliases=("test-schema.order",))
    names = {**new.types, "test-schema.order-2": aliased}
    assert breaks_between(held, msgspec.structs.replace(new, types=names)) == []


def test_a_type_that_is_gone_breaks_who_still_gets_it_and_a_new_one_nobody():
    one, two = describe({"t": BEFORE}, ()), describe({"u": BEFORE}, ())
    [lost] = breaks_between(one, two)
    assert (lost.where, lost.side) == ("t", "new reader")


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("any", {"list": "int"}),
        ("float", "int"),
        ("int", {"int": {"ge": 0}}),
        ({"union": ["int", "none"]}, "int"),
        ({"union": ["float", "none"]}, {"union": ["int", "none"]}),
        ({"list": "float"}, {"list": "int"}),
        ({"dict": ["str", "any"]}, {"dict": ["str", "int"]}),
        ({"tuple of": "int"}, {"tuple": ["int", "int"]}),
        ({"tuple": ["float", "str"]}, {"tuple": ["int", "str"]}),
        ({"enum": ["a", "b", "c"]}, {"enum": ["a", "b"]}),
        ({"literal": ["a", "b"]}, {"enum": ["a"]}),
        ("str", {"literal": ["a", "b"]}),
        ({"object": "shop.line"}, {"object": "shop.line"}),
        (
            {"record": {"a": {"type": "float"}, "b": {"type": "int", "default": 1}}},
            {"record": {"a": {"type": "int"}}},
        ),
    ],
)
def test_a_type_may_become_wider_and_not_narrower(new: Any, old: Any):
    assert accepts(new, old)
    assert not accepts(old, new) or new == old


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("str", "int"),
        ({"int": {"ge": 1}}, {"int": {"ge": 0}}),
        ({"list": "int"}, {"set": "int"}),
        ({"tuple": ["int"]}, {"tuple": ["int", "int"]}),
        ({"object": "shop.line"}, {"object": "shop.order"}),
        ("int", {"literal": ["a", 1]}),
        ({"record": {}}, {"dict": ["str", "int"]}),
        ({"record": {"a": {"type": "int"}}}, {"record": {"b": {"type": "int"}}}),
    ],
)
def test_what_is_neither_is_a_break_both_ways(new: Any, old: Any):
    assert not accepts(new, old)
    assert not accepts(old, new)
