"""JSON of programs that know nothing of us: strict, and nothing more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.errors import DecodeError, EncodeError
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    WireLimits,
    decode_plain_json_untrusted,
    encode_plain_json,
)
from tests.wire.samples import exact

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def decode(data: bytes) -> object:
    return decode_plain_json_untrusted(data, DEFAULT_LIMITS)


@given(value=plain)
@settings(deadline=None)
def test_plain_values_round_trip_and_others_read_them(value: object) -> None:
    data = encode_plain_json(value)
    assert exact(decode(data)) == exact(value)
    assert exact(json.loads(data)) == exact(value)


@given(value=plain)
@settings(deadline=None)
def test_what_others_write_is_read(value: object) -> None:
    for options in ({"ensure_ascii": True}, {"indent": 2, "ensure_ascii": False}):
        assert exact(decode(json.dumps(value, **options).encode())) == exact(value)


def test_a_dollar_means_nothing_here() -> None:
    tagged = {"$": "tuple", "v": [1]}
    assert decode(encode_plain_json(tagged)) == tagged


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, (2,)]}, "$.a[1]"),
        ({"a": {1: 2}}, "$.a"),
        ([float("nan")], "$[0]"),
        ({"b": float("-inf")}, "$.b"),
        ({"a b": b"x"}, "$['a b']"),
        (["\ud800"], "$[0]"),
        (object(), "$"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_has_no_form_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_plain_json(value)
    assert caught.value.path == path


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EncodeError, match="deeper than 128"):
        encode_plain_json(circle)
    shared: Any = {}
    for _ in range(60):
        shared = {"left": shared, "right": shared}
    with pytest.raises(EncodeError, match="elements"):
        encode_plain_json(shared)


def nested(depth: int, left: bytes = b"[", right: bytes = b"]") -> bytes:
    return left * depth + b"1" + right * depth


@pytest.mark.parametrize("ends", [(b"[", b"]"), (b'{"a":', b"}"), (b"[[],", b"]"), (b"[{},", b"]")])
def test_depth_is_limited_to_the_level(ends: tuple[bytes, bytes]) -> None:
    assert decode(nested(127, *ends))
    assert isinstance(decode(nested(100, *ends) + b" "), list | dict)
    with pytest.raises(DecodeError, match="deeper than 128"):
        decode(nested(129, *ends))


@pytest.mark.parametrize("depth", [128, 129, 1000, 100_000])
def test_deep_garbage_is_one_error(depth: int) -> None:
    for garbage in (b"[" * depth, b"]" * depth, b"[}" * depth, b'["' * depth, b"[]" * depth):
        with pytest.raises(DecodeError):
            decode(garbage)


def test_a_long_flat_document_is_not_deep() -> None:
    rows = [{"n": [n], "text": '[[[[{{{{"]]}\\\\'} for n in range(1000)]
    assert decode(json.dumps(rows).encode()) == rows
    assert decode_plain_json_untrusted(b"[[1]]", WireLimits(depth=2)) == [[1]]
    with pytest.raises(DecodeError):
        decode_plain_json_untrusted(b"[[[1]]]", WireLimits(depth=2))
