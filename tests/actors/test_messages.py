"""Stable names of message classes."""

from __future__ import annotations

from dataclasses import dataclass

import attrs
import msgspec
import pytest

from actors import MessageNameError, message, message_name, message_types
from actors.messages import message_aliases, readable_types


@message("test.messages.plain")
@dataclass(frozen=True)
class Plain:
    sku: str


@message("test.messages.attrs")
@attrs.frozen
class WithAttrs:
    sku: str


@message("test.messages.struct")
class Structured(msgspec.Struct, frozen=True):
    sku: str


def test_dataclasses_attrs_and_structs_have_names() -> None:
    assert message_types()["test.messages.plain"] is Plain
    assert message_name(WithAttrs) == "test.messages.attrs"
    assert message_name(Structured) == "test.messages.struct"
    assert message_name(int) is None


def test_a_subclass_does_not_inherit_the_name() -> None:
    class Sub(Plain):
        pass

    assert message_name(Sub) is None


def test_a_second_class_under_a_name_is_an_error() -> None:
    with pytest.raises(MessageNameError, match="belongs to"):

        @message("test.messages.plain")
        @dataclass
        class Again:
            pass


def test_a_class_without_declared_fields_is_an_error() -> None:
    with pytest.raises(MessageNameError, match="no declared fields"):

        @message("test.messages.bare")
        class Bare:
            pass


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 201, ".x", "a\n", None, 3])
def test_a_malformed_name_is_an_error_that_shows_it(name: object) -> None:
    with pytest.raises(MessageNameError, match="is not a message name"):
        message(name)  # type: ignore[arg-type]  # the mistake under test


def test_the_registry_cannot_be_written_through_its_view() -> None:
    with pytest.raises(TypeError):
        message_types()["x"] = int  # type: ignore[index]  # the mistake under test


def test_what_bears_an_alias_is_read_as_its_class_and_written_by_its_name() -> None:
    kind = message("test.messages.now", aliases=["test.messages.then", "test.messages.now"])(
        attrs.make_class("Renamed", ["sku"])
    )
    assert readable_types()["test.messages.then"] is readable_types()["test.messages.now"] is kind
    assert message_name(kind) == "test.messages.now"
    assert message_aliases(kind) == ("test.messages.then",)
    assert "test.messages.then" not in message_types()


def test_an_alias_that_is_taken_or_malformed_is_an_error_and_leaves_nothing_behind() -> None:
    @message("test.messages.aliased", aliases=("test.messages.alias",))
    @dataclass
    class Aliased:
        pass

    before = dict(readable_types())
    for name, aliases, said in (
        ("test.messages.alias", (), "belongs to"),
        ("test.messages.second", ("test.messages.alias",), "belongs to"),
        ("test.messages.second", ("test.messages.plain",), "belongs to"),
        ("test.messages.second", ("no spaces",), "not a message name"),
        ("test.messages.second", "test.messages.text", "write"),
    ):
        with pytest.raises(MessageNameError, match=said):
            message(name, aliases=aliases)(attrs.make_class("Second", ["sku"]))
    assert readable_types() == before


def test_a_module_that_is_loaded_again_may_have_other_aliases() -> None:
    def loaded(*aliases: str) -> type:
        return message("test.messages.again", aliases=aliases)(attrs.make_class("Loaded", ["a"]))

    loaded("test.messages.first", "test.messages.both")
    again = loaded("test.messages.both")
    assert "test.messages.first" not in readable_types()
    assert readable_types()["test.messages.both"] is again
