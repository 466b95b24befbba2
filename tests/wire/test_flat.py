"""The short way for scalars and flat dicts writes and reads what the codec does, or declines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import message
from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.wire import Serializer, WireLimits
from irismq_runtime.wire.entries import may_have_long_map
from irismq_runtime.wire.flat import NOT_FLAT, decode_flat_untrusted, encode_flat
from tests.wire.samples import exact, serializer, values

wire = serializer()
LIMITS = wire.limits

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(["x" * 31, "x" * 32, "x" * 255, "x" * 256, b"x" * 256, 127, 128, -32, -33])
)


@message("flat.sample")
@dataclass
class Sample:
    """What its fields hold is not what they are declared as, as can happen."""

    first: Any
    second: int = 0


@given(value=scalars | st.dictionaries(scalars, scalars, max_size=40))
@settings(deadline=None)
def test_a_flat_value_has_the_bytes_that_the_codec_gives_it(value: object) -> None:
    data = encode_flat(value, LIMITS.items)
    assert data == wire._dump(value, None)[1]
    assert data is not None
    if len(data) <= 2048:
        found = decode_flat_untrusted(data, LIMITS.items)
        assert exact(found) == exact(value) or (found is NOT_FLAT and may_have_long_map(data))


@given(first=values | scalars, second=scalars)
@settings(deadline=None)
def test_a_message_has_the_bytes_that_the_codec_gives_it(first: object, second: Any) -> None:
    sample = Sample(first, second)
    wire.registry.plan(Sample)
    assert wire.dump(sample) == wire._dump(sample, None)


@given(value=values)
@settings(deadline=None)
def test_whatever_is_not_flat_is_left_to_the_codec(value: object) -> None:
    data = encode_flat(value, LIMITS.items)
    assert data is None or data == wire._dump(value, None)[1]


@given(data=st.binary(max_size=60) | values.map(lambda value: wire.dump(value)[1][:2048]))
@settings(deadline=None)
def test_what_is_read_here_is_what_the_codec_reads(data: bytes) -> None:
    value = decode_flat_untrusted(data, LIMITS.items)
    if value is not NOT_FLAT:
        assert exact(value) == exact(wire._load("", data, None))


@pytest.mark.parametrize(
    "value",
    [2**64, "\ud800", {"a": "\ud800"}, datetime.now(UTC), [1], {"a": [1]}, {(1,): 2}, {b"k": {}}],
)
def test_declined(value: object) -> None:
    assert encode_flat(value, LIMITS.items) is None


@pytest.mark.parametrize("data", [b"\xd6\xff\x00\x00\x00\x01", b"\xd4\x01s", b"\x90", b"\xc1", b""])
def test_extension_values_lists_and_garbage_are_not_read_here(data: bytes) -> None:
    assert decode_flat_untrusted(data, LIMITS.items) is NOT_FLAT


def test_limits_hold_on_the_short_way_too() -> None:
    small = Serializer(limits=WireLimits(items=2, size=1024))
    assert small.dump({"a": 1})[1] == msgpack.packb({"a": 1})
    with pytest.raises(EncodeError, match="more than 2 elements"):
        small.dump({"a": 1, "b": 2})
    small.registry.plan(Sample)
    with pytest.raises(EncodeError, match="more than 2 elements"):
        small.dump(Sample(1))
    with pytest.raises(DecodeError, match="more than 2 elements"):
        small.load("", msgpack.packb({"a": 1, "b": 2}) + b"")
    with pytest.raises(MessageTooLarge):
        small.dump(b"x" * 1024)


def test_a_field_that_was_never_set_is_named() -> None:
    @message("flat.slotted")
    @dataclass(slots=True)
    class Slotted:
        here: int

    hollow = Slotted.__new__(Slotted)
    wire.dump(Slotted(1))
    with pytest.raises(EncodeError, match="here"):
        wire.dump(hollow)


def test_another_codec_of_the_same_name_does_everything_itself() -> None:
    class Shout:
        name = "msgpack"

        def encode(self, value: object, lower: Any) -> bytes:
            return b"encoded"

        def decode_untrusted(self, data: bytes, lift: Any, limits: WireLimits) -> object:
            return "decoded"

        def may_exceed(self, data: bytes, limits: WireLimits) -> bool:
            return False

    own = Serializer(codecs=[Shout()])
    assert own.dump(b"x") == ("", b"encoded", None)
    assert own.load("", b"\xc0") == "decoded"
