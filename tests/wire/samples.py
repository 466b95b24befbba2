"""Message classes, exact comparison and strategies for the tests of the wire."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import attrs
import msgspec
from hypothesis import strategies as st

from actors import message
from irismq_runtime.wire import Serializer


class Status(enum.IntEnum):
    OPEN = 1
    PAID = 2


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


class Extra(TypedDict, total=False):
    colour: Colour
    note: str


@message("shop.line")
@dataclass(frozen=True)
class Line:
    sku: str
    qty: int


@message("shop.reserve")
@dataclass
class Reserve:
    order: str
    lines: list[Line]


@dataclass
class Address:
    """Not registered: only fields declared as it may hold it."""

    street: str
    zip_code: str
    tags: tuple[str, ...] = ()


@attrs.define
class Customer:
    name: str
    address: Address | None = None


@message("shop.order")
@dataclass
class Order:
    status: Status
    customer: Customer
    lines: list[Line] = field(default_factory=list)
    path: list[Point] = field(default_factory=list)
    by_colour: dict[Colour, list[Address]] = field(default_factory=dict)
    seen: set[Colour] = field(default_factory=set)
    extra: Extra = field(default_factory=Extra)
    anything: Any = None


@message("shop.tree")
@dataclass
class Tree:
    name: str
    kids: list[Tree] = field(default_factory=list)


@dataclass
class Branch:
    kids: list[Branch] = field(default_factory=list)


@message("shop.trunk")
@dataclass
class Trunk:
    branch: Branch


@message("shop.tick")
class Tick(msgspec.Struct, frozen=True, tag="tick", rename="camel"):
    at_second: int
    labels: tuple[str, ...] = ()


@message("shop.pair")
class Pair(msgspec.Struct, array_like=True):
    left: int
    right: Status


class Ref:
    """Stands for a ref of the node."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def pack_ref(value: object) -> str | None:
    return value.text if isinstance(value, Ref) else None


def unpack_ref(text: str) -> Ref:
    if "/" not in text:
        raise ValueError("no ref")
    return Ref(text)


def serializer(**options: Any) -> Serializer:
    made = Serializer(**options)
    made.registry.register_ref(pack_ref, unpack_ref)
    return made


def exact(value: Any) -> Any:
    """Equal for values that are equal in value and type all the way down."""
    match value:
        case dict():
            form: Any = [(exact(key), exact(item)) for key, item in value.items()]
        case list() | tuple():
            form = [exact(item) for item in value]
        case set() | frozenset():
            form = sorted((exact(item) for item in value), key=repr)
        case float():
            form = struct.pack(">d", value)
        case Decimal():
            form = str(value)
        case _ if hasattr(value, "utcoffset"):
            form = value.isoformat()
        case _ if hasattr(value, "__match_args__"):
            form = [exact(getattr(value, name)) for name in value.__match_args__]
        case _:
            form = value
    return type(value), form


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**300), 2**300)
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.timedeltas()
    | st.uuids()
    | st.decimals()
)

keys = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)

values = st.recursive(
    scalars | st.sets(keys, max_size=4) | st.frozensets(keys, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.just("$"), inner, max_size=5)
        | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=20,
)
