"""A field declared as a base class that holds a subclass: said at the sender (160)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pytest

from actors import message
from irismq_runtime.errors import EncodeError
from irismq_runtime.wire import Serializer

wire = Serializer()


@message("subclass.animal")
@dataclass(frozen=True)
class Animal:
    name: str


@message("subclass.dog")
@dataclass(frozen=True)
class Dog(Animal):
    tail: int = 1


@dataclass(frozen=True)
class Plant:
    """Not registered."""

    name: str


@message("subclass.tree")
@dataclass(frozen=True)
class Tree(Plant):
    height: int = 1


@message("subclass.shape")
class Shape(msgspec.Struct, frozen=True):
    name: str


@message("subclass.square")
class Square(Shape, frozen=True):
    side: int = 1


@message("subclass.car")
@attrs.define(frozen=True)
class Car:
    name: str


@message("subclass.truck")
@attrs.define(frozen=True)
class Truck(Car):
    load: int = 1


class Cat(msgspec.Struct, tag=True, frozen=True):
    name: str


class Lion(Cat, tag=True, frozen=True):
    mane: int = 1


@message("subclass.holder")
@dataclass
class Holder:
    animal: Animal | None = None
    plant: Plant | None = None
    shape: Shape | None = None
    car: Car | None = None
    some: list[Animal] | None = None
    by_name: dict[str, Animal] | None = None
    pair: tuple[Animal, int] | None = None
    any_number: tuple[Animal, ...] = ()
    several: frozenset[Animal] = frozenset()
    deep: dict[str, list[Animal | None]] | None = None
    cat: Cat | Lion | None = None
    anything: Any = None


def round_trip(value: object) -> object:
    type_name, body, codec = wire.dump(value)
    return wire.load(type_name, body, codec)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"animal": Dog("rex")}, "$.animal"),
        ({"plant": Tree("oak")}, "$.plant"),
        ({"shape": Square("s")}, "$.shape"),
        ({"car": Truck("t")}, "$.car"),
        ({"some": [Animal("a"), Dog("rex")]}, "$.some[1]"),
        ({"by_name": {"rex": Dog("rex")}}, "$.by_name.rex"),
        ({"pair": (Dog("rex"), 1)}, "$.pair[0]"),
        ({"any_number": (Animal("a"), Dog("rex"))}, "$.any_number[1]"),
        ({"several": frozenset({Dog("rex")})}, "$.several[0]"),
        ({"deep": {"x": [None, Dog("rex")]}}, "$.deep.x[1]"),
    ],
)
@pytest.mark.parametrize("codec", [None, "json"])
def test_it_is_refused_at_the_sender_with_its_path(fields, path, codec):
    with pytest.raises(EncodeError, match="subclass of what the field is declared as") as caught:
        wire.dump(Holder(**fields), codec)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "fields",
    [
        {"animal": Animal("a")},
        {"plant": Plant("p")},
        {"shape": Shape("s")},
        {"car": Car("c")},
        {"some": [Animal("a"), Animal("b")]},
        {"by_name": {"a": Animal("a")}},
        {"pair": (Animal("a"), 1), "any_number": (Animal("b"),)},
        {"several": frozenset({Animal("a"), Animal("b")})},
        {"cat": Cat("c")},
        {"cat": Lion("l")},
        {"anything": Dog("rex")},
        {"anything": [Dog("rex"), Animal("a"), Square("s"), Truck("t"), Tree("oak")]},
    ],
)
def test_what_is_as_declared_and_what_names_itself_anywhere_arrive_equal(fields):
    arrived = round_trip(Holder(**fields))
    assert arrived == Holder(**fields)
    for name, value in fields.items():
        assert type(getattr(arrived, name)) is type(value)
