"""The short cut for flat messages reads what the long way reads, and nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import attrs
import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import message
from irismq_runtime.errors import DecodeError
from irismq_runtime.wire import JsonCodec, MsgpackCodec, Serializer
from irismq_runtime.wire.direct import direct_reading
from tests.wire.samples import exact


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@message("direct.flat")
@dataclass(frozen=True, slots=True)
class Flat:
    number: int
    ratio: float
    name: str
    data: bytes
    on: bool


@message("direct.choice")
@attrs.frozen
class Choice:
    value: int | str | None
    level: Level
    word: Literal["a", "b"] = "a"


@message("direct.renamed")
class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    small: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0


@message("direct.nested")
@dataclass
class Nested:
    items: list[int]


@message("direct.tagged")
class TaggedStruct(msgspec.Struct, tag=True):
    x: int


@message("direct.array")
class ArrayStruct(msgspec.Struct, array_like=True):
    x: int


@message("direct.guarded")
@dataclass
class Guarded:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")


FIELDS = {
    "direct.flat": ["number", "ratio", "name", "data", "on"],
    "direct.choice": ["value", "level", "word"],
    "direct.renamed": ["firstName", "small"],
}

ATTRIBUTES = FIELDS | {"direct.renamed": ["first_name", "small"]}

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["a", "b", 1, 2, 3.0]),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    st.builds(msgpack.Timestamp, st.integers(0, 2**33), st.integers(0, 10**9 - 1)),
    st.lists(st.integers(0, 9), max_size=3),
)

wire = Serializer()


def outcome(load: Any, name: str, body: bytes) -> Any:
    try:
        found = load(name, body, None)
        return {field: getattr(found, field) for field in ATTRIBUTES[name]}
    except DecodeError as error:
        return type(error), str(error)


@st.composite
def bodies(draw: Any) -> tuple[str, bytes]:
    """A map of about the right keys to anything, perhaps cut short, or with a byte changed."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    keys = draw(st.permutations([*FIELDS[name], "other"]))
    size = draw(st.integers(0, len(keys)))
    body = msgpack.packb({key: draw(leaves) for key in keys[:size]})
    place = draw(st.integers(0, len(body) - 1))
    match draw(st.sampled_from(["whole", "whole", "cut", "changed", "longer"])):
        case "cut":
            body = body[:place]
        case "changed":
            body = body[:place] + draw(st.binary(min_size=1, max_size=1)) + body[place + 1 :]
        case "longer":
            body += b"\x00"
    return name, body


@given(bodies())
@example(("direct.flat", b""))
def test_both_ways_come_to_the_same(case: tuple[str, bytes]):
    name, body = case
    short, long = outcome(wire.load, name, body), outcome(wire._load, name, body)
    if isinstance(long, tuple) and isinstance(short, dict):
        # An entry that is no field stands for one with a default: it is skipped, not read.
        assert name != "direct.flat"
        return
    assert exact(short) == exact(long)


@given(
    st.builds(
        Flat,
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(),
        st.binary(max_size=300),
        st.booleans(),
    )
)
def test_what_is_dumped_takes_the_short_cut(value: Flat):
    name, body, codec = wire.dump(value)
    direct = wire.registry.reading(name)
    assert direct is not None
    assert codec is None
    assert body[0] == direct.header
    assert exact(direct.decode(body)) == exact(value)


@pytest.mark.parametrize("kind", [Nested, TaggedStruct, ArrayStruct])
def test_classes_of_another_shape_have_none(kind: type):
    assert direct_reading(kind) is None


def test_what_the_class_refuses_is_said_by_the_long_way():
    _, body, _ = wire.dump(Guarded(1))
    assert wire.registry.reading("direct.guarded") is not None
    with pytest.raises(DecodeError, match="negative"):
        wire.load("direct.guarded", body.replace(b"\x01", b"\xff"))


def test_a_codec_of_ones_own_under_our_name_is_asked():
    class Mine(MsgpackCodec):
        def decode_untrusted(self, data: bytes, lift: Any, limits: Any) -> object:
            return {"x": 7}

    own = Serializer(codecs=[Mine()])
    _, body, _ = wire.dump(Guarded(1))
    assert own.load("direct.guarded", body) == Guarded(7)
    assert wire.load("direct.guarded", JsonCodec().encode({"x": 2}, print), "json") == Guarded(2)
