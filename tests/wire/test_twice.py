"""A key that is there twice is refused: two readers might see two messages."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack
import pytest

from actors import message
from irismq_runtime.errors import DecodeError
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    Kind,
    decode_dead_untrusted,
    decode_envelope_untrusted,
    decode_fault_untrusted,
    decode_plain_json_untrusted,
    encode_envelope,
)
from tests.wire.samples import serializer

ID = bytes(range(16))
wire = serializer()
TWICE = bytes.fromhex("82 a176 01 a176 02")


@message("twice.pair")
@dataclass
class Pair:
    v: int
    w: int = 7


@message("twice.box")
@dataclass
class Box:
    inside: dict[str, int]
    pairs: list[Pair]


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


@pytest.mark.parametrize(
    "body",
    [
        TWICE,
        b"\xde\x00\x02" + TWICE[1:],
        b"\xdf\x00\x00\x00\x02" + TWICE[1:],
        b"\x82\x01\x02\x01\x03",
        b"\x82\x01\x02\xcc\x01\x03",
        b"\x82\x01\x02\xc3\x03",
        b"\x91" + TWICE,
        b"\x81\xa1a" + TWICE,
        b"\x92\xd4\x01t" + TWICE,
        b"\x82\xa1v\x01\xd9\x01v\x02",
        b"\x82\xa1p\xc4\x03abc\xa1q" + TWICE,
        b"\x82\xa1p\xd9\xff" + b"x" * 255 + b"\xa1q" + b"\x91" * 20 + TWICE,
        b"\x82\xa1p\xda\x10\x00" + b"x" * 4096 + b"\xa1p\x01",
        # The first byte of a long map is that of a short one and of 94 entries.
        b"\xde\x00\x5f" + b"".join(bytes([n, 0]) for n in (*range(94), 0)),
        # Written again, the short float takes as many bytes more as the lost entry had.
        b"\x92\xca\x3f\x80\x00\x00" + b"\x82\xa1v\x01\xa1v\x02",
    ],
    ids=lambda body: body[:12].hex(),
)
def test_in_a_plain_body(body: bytes):
    with pytest.raises(DecodeError, match="twice"):
        wire.load("", body)


@pytest.mark.parametrize(
    ("type_name", "body"),
    [
        ("twice.pair", TWICE),
        ("twice.pair", b"\x83" + TWICE[1:] + b"\xa1w\x01"),
        ("twice.pair", b"\x82\xa1v\x01\xa1v\x01"),
        ("twice.box", b"\x82" + packed("inside") + TWICE + packed("pairs") + b"\x90"),
        ("twice.box", b"\x82" + packed("inside") + b"\x80" + packed("pairs") + b"\x91" + TWICE),
    ],
)
def test_in_a_typed_body(type_name: str, body: bytes):
    with pytest.raises(DecodeError, match="twice"):
        wire.load(type_name, body)


@pytest.mark.parametrize(
    "text",
    [
        b'{"v":1,"v":2}',
        b'{"v":1,"\\u0076":2}',
        b'[[{"a":{"v":1,"v":2}}]]',
        b'{"a:b":1,"v":{"x":"{\\"y\\":1}"},"v":2}',
        b'{"a":1,"b":"::","a":1}',
        b'[{"a":1,"a":"\\u003a"}]',
        b'[{"a":1,"a":"\\u003A"}]',
        b'[{"a":"\\n:","a":1},9223372036854775808123]',
    ],
)
def test_in_json(text: bytes):
    with pytest.raises(DecodeError, match="twice"):
        wire.load("", text, "json")
    with pytest.raises(DecodeError, match="twice"):
        decode_plain_json_untrusted(text, DEFAULT_LIMITS)


def test_in_a_tagged_dict_of_json():
    with pytest.raises(DecodeError, match="twice"):
        wire.load("", b'{"$":"dict","v":[[1,2],[1,3]]}', "json")


@pytest.mark.parametrize(
    "text", [b'{"a:b":{"c":":"},"d":[{"e":1},{"e":1}]}', b'[{"a":"\\":"},{"a":1}]', b'":"', b"[]"]
)
def test_colons_in_texts_are_no_keys(text: bytes):
    assert decode_plain_json_untrusted(text, DEFAULT_LIMITS) is not None


def envelope(headers: bytes, kind: bytes = b"\x01", name: bytes = b"\xa0") -> bytes:
    return b"\xc1\x01\x95" + kind + b"\xc4\x10" + ID + name + b"\xc4\x01\xc0" + headers


@pytest.mark.parametrize("kind", [b"\x01", b"\xcc\x01"])
@pytest.mark.parametrize("name", [b"\xa0", b"\xa3abc", b"\xd9\x03abc", b"\xda\x00\x03abc"])
@pytest.mark.parametrize(
    "headers",
    [
        b"\x82\xa1q\x01\xa1q\x02",
        b"\x83\xa1n\xa1a\xa1q\x01\xa1q\x02",
        b"\xde\x00\x02\xa1q\x01\xa1q\x02",
        b"\x83\xa2zz\xda\x01\x00" + b"x" * 256 + b"\xa1q\x01\xa1q\x02",
    ],
)
def test_in_headers(headers: bytes, name: bytes, kind: bytes):
    with pytest.raises(DecodeError, match="twice"):
        decode_envelope_untrusted(envelope(headers, kind, name))
    once = headers.replace(b"\xa1q\x02", b"\xa1d\x02")
    assert decode_envelope_untrusted(envelope(once, kind, name))


NUMBERS = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53]
SIGNED = {"k": "k1", "w": 1_700_000_000_000, "m2": bytes(32)}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", [b"\xa0", b"\xa3abc", b"\xd9\x20" + 32 * b"n"])
@pytest.mark.parametrize("more", [{}, SIGNED], ids=["plain", "signed"])
def test_the_smallest_entry_that_is_lost_is_missed(more, name: bytes, number: int):
    """What is read by name and type alone must be all that was there."""
    headers = {"n": "node", "q": number, **more}
    entries = [packed(key) + packed(value) for key, value in headers.items()]
    for kind in (b"\x01", b"\x02"):
        once = envelope(bytes([0x80 | len(entries)]) + b"".join(entries), kind, name)
        assert decode_envelope_untrusted(once).headers == headers
        for key in headers:
            lost = [packed(key) + b"\x01", *entries]
            data = envelope(bytes([0x80 | len(lost)]) + b"".join(lost), kind, name)
            with pytest.raises(DecodeError, match="twice"):
                decode_envelope_untrusted(data)


@pytest.mark.parametrize("body", [b"\xc4\x00", b"\xc5\x00\x00", b"\xc6\x00\x00\x00\x00"])
@pytest.mark.parametrize("name", [b"\xa0", b"\xa4" + 2 * "\u00e9".encode()])
@pytest.mark.parametrize("headers", [{"": 0}, {"user": b"\x80"}, {"n": "node", "user": True}])
def test_a_header_that_is_not_of_the_protocol_is_read_as_it_came(headers, name, body):
    data = b"\xc1\x01\x95\x01\xc4\x10" + ID + name + body + packed(headers)
    assert decode_envelope_untrusted(data).headers == headers


def test_a_type_name_in_a_longer_form_hides_no_header():
    """The length of the name looks like the mark of a body, and the name like one header."""
    name = b"\xda\x00\xc4" + b"n\xc2\x81" + b"n" * 193
    once, twice = b"\x81\xa1q\x01", b"\x82\xa1q\x01\xa1q\x02"
    assert decode_envelope_untrusted(envelope(once, b"\x01", name)).headers == {"q": 1}
    with pytest.raises(DecodeError, match="twice"):
        decode_envelope_untrusted(envelope(twice, b"\x01", name))


def test_in_a_fault():
    with pytest.raises(DecodeError, match="twice"):
        decode_fault_untrusted(b"\x82" + (packed("kind") + packed("refused")) * 2)


def test_in_a_dead_letter():
    body = b"\x82" + (packed("body") + b"\xc4\x01x") * 2
    with pytest.raises(DecodeError, match="twice"):
        decode_dead_untrusted(
            encode_envelope(Envelope(Kind.DEAD, ID, "", body, {})), max_size=2**20
        )
