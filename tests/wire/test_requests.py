"""A message that names its answer (`Request[R]`) is at run time what it is without."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
import pytest

from actors import Request, message
from irismq_runtime.errors import EncodeError, ValidationError
from tests.wire.samples import serializer


@message("request.plain")
@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    name: str
    when: datetime | None = None


@message("request.frozen")
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen(Request[str]):
    name: str
    when: datetime | None = None


@message("request.attrs")
@attrs.frozen
class Attrs(Request["AsyncIterator[bytes]"]):
    name: str
    when: datetime | None = None


@message("request.struct")
class Struct(Request[int | None], msgspec.Struct, frozen=True):
    name: str
    when: datetime | None = None


@message("request.behind")
class Behind(msgspec.Struct, Request[int]):
    name: str
    when: datetime | None = None


@message("request.untyped")
@dataclasses.dataclass
class Untyped:
    name: Any


KINDS = [Frozen, Attrs, Struct, Behind]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
wire = serializer()


def _names(kind: Any) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    return [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_declared_fields_are_the_classes_own(kind: Any):
    assert _names(kind) == ["name", "when"]


@pytest.mark.parametrize("kind", KINDS)
def test_instances_have_no_more_than_their_slots(kind: Any):
    assert not hasattr(kind("Ada"), "__dict__")
    assert kind.__basicsize__ <= Plain.__basicsize__ + 16  # attrs adds a weak reference


def test_a_slotted_dataclass_is_as_large_as_without():
    assert Frozen.__basicsize__ == Plain.__basicsize__


@pytest.mark.parametrize("kind", KINDS)
def test_equality_is_that_of_the_fields(kind: Any):
    assert kind("Ada") == kind("Ada")
    assert kind("Ada") != kind("Bob")
    assert kind("Ada") != Plain("Ada")


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_travels_and_is_checked_on_arrival(kind: Any, codec: str):
    name, body, header = wire.dump(kind("Ada", NOON), codec)
    assert wire.load(name, body, header) == kind("Ada", NOON)
    _, wrong, header = wire.dump(Untyped(1), codec)
    with pytest.raises(ValidationError, match=r"\$\.name"):
        wire.load(name, wrong, header)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_its_bytes_are_those_of_the_class_without(codec: str):
    assert wire.dump(Frozen("Ada"), codec)[1] == wire.dump(Plain("Ada"), codec)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_datetime_without_a_zone_is_refused_as_in_any_message(kind: Any):
    with pytest.raises(EncodeError, match=r"\$\.when"):
        wire.dump(kind("Ada", NOON.replace(tzinfo=None)), "msgpack")
