"""How a stored message is shown, whatever is in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from irismq_runtime.cli.message_format import (
    as_frame,
    as_json,
    as_raw,
    as_text,
    escaped,
    escaped_json,
)
from irismq_runtime.wire import Envelope, Kind, Serializer, encode_envelope


@dataclass
class Stored:
    body: bytes
    id: str = "0123456789abcdef"
    attempts: int = 1
    timestamp: float = 1_700_000_000.25
    lease_lost: bool = False
    headers: dict[str, object] = field(default_factory=dict)


def envelope(value: object, *, type_name: str = "shop.put", **headers: object) -> bytes:
    _, body, _ = Serializer().dump(value)
    return encode_envelope(Envelope(Kind.TELL, bytes(range(16)), type_name, body, headers))


def text(body: bytes, **facts: object) -> str:
    return as_text(Stored(body, **facts)).decode()


def test_an_envelope_is_its_time_its_id_its_type_and_its_fields() -> None:
    line = text(envelope({"sku": "tea", "count": 3}))
    message = 'shop.put {"sku": "tea", "count": 3}'
    assert line == f"2023-11-14T22:13:20.250Z 000102030405060708090a0b0c0d0e0f {message}\n"


def test_a_second_delivery_is_said() -> None:
    assert "shop.put (delivery 2) {}" in text(envelope({}), attempts=2)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"two\nlines\0", r"- - two\nlines\x00"),
        (b"\x1b[2Jgone", r"- - \x1b[2Jgone"),
        ("\u202eabc \x9b31m é".encode(), "- - \\u202eabc \\x9b31m é"),
        (rb"C:\new", r"- - C:\\new"),
        (b"\xff\x00", "- - base64:/wA="),
        (b"", "- -"),
    ],
)
def test_foreign_bytes_are_one_line_that_no_terminal_obeys(body: bytes, shown: str) -> None:
    assert text(body).rstrip().split(" ", 1)[1] == shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"a\nb\\", b"a\\nb\\\\\n"),
        (b"\xff\xc3\xa9\0", "\\xffé\\x00\n".encode()),
        (b"\xc1\x01rest", b"\\xc1\\x01rest\n"),
    ],
)
def test_raw_is_the_body_escaped(body: bytes, shown: bytes) -> None:
    assert as_raw(Stored(body)) == shown


def test_json_has_the_delivery_the_headers_and_the_fields() -> None:
    assert json.loads(as_json(Stored(envelope({"a": [1]}, q=7), attempts=3))) == {
        "time": "2023-11-14T22:13:20.250Z",
        "nsqd_id": "0123456789abcdef",
        "attempts": 3,
        "id": bytes(range(16)).hex(),
        "kind": "tell",
        "type": "shop.put",
        "headers": {"q": 7},
        "body": {"a": [1]},
    }


def test_what_cannot_be_read_says_why_and_is_all_there() -> None:
    broken = encode_envelope(Envelope(Kind.TELL, bytes(16), "shop.put", b"\xc1", {"c": "martian"}))
    shown = json.loads(as_json(Stored(broken)))
    assert "martian" in shown["unreadable"]
    assert shown["base64"] == "wQ=="
    cut = json.loads(as_json(Stored(broken[:9])))
    assert "malformed" in cut["unreadable"]
    assert "unreadable: malformed" in text(broken[:9])


def test_numbers_that_json_has_not_are_text() -> None:
    assert json.loads(escaped_json({"a": [float("nan"), float("-inf"), 1.5]})) == {
        "a": ["nan", "-inf", 1.5]
    }


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(plain)
def test_escaped_json_is_the_value_in_one_printable_line(value: object) -> None:
    line = escaped_json(value)
    assert line.isprintable()
    assert json.loads(line) == value


@given(st.text())
def test_escaped_text_is_one_printable_line_and_says_what_it_was(value: str) -> None:
    line = escaped(value)
    assert line.isprintable()
    assert "\\" in value or line == value or not value.isprintable()


@given(st.binary(max_size=64) | plain.map(envelope) | plain.map(msgspec.msgpack.encode))
@example(b"\xc1")
@example(b"\xc1\x01\x95")
def test_any_body_is_one_line_in_every_form_and_whole_in_a_frame(body: bytes) -> None:
    for form in (as_text, as_json, as_raw):
        line = form(Stored(body))
        assert line.endswith(b"\n")
        assert line[:-1].decode().isprintable()
    assert json.loads(as_json(Stored(body)))
    frame = as_frame(Stored(body))
    assert (int.from_bytes(frame[:4], "big"), frame[4:]) == (len(body), body)
