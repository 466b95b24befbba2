"""docs/protocol.md says what the code does, byte for byte."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re

import msgpack
import pytest

from irismq_runtime.errors import BadSignature, DecodeError
from irismq_runtime.messaging import mailbox_topic
from irismq_runtime.namespace import Namespace
from irismq_runtime.wire import (
    DeadRecord,
    Envelope,
    Key,
    KeyRing,
    Kind,
    decode_dead_untrusted,
    decode_envelope_untrusted,
    decode_fault_untrusted,
    encode_dead,
    encode_envelope,
    encode_fault,
    encode_sealed,
    verify_sealed_untrusted,
)
from irismq_runtime.wire.codecs import MsgpackCodec
from irismq_runtime.wire.json_codec import JsonCodec
from irismq_runtime.wire.limits import DEFAULT_LIMITS
from tests.wire.samples import Line, exact, serializer
from tests.wire.vectors import DOCUMENT, ID, SECRET, Row, Vector, rows, vectors

VECTORS = vectors()
ROWS = rows()

wire = serializer()


def as_fields(value: object) -> object:
    """Registered objects as their fields: the document does not know the classes."""
    if isinstance(value, list):
        return [as_fields(item) for item in value]
    if isinstance(value, dict):
        return {key: as_fields(item) for key, item in value.items()}
    return vars(value) if isinstance(value, Line) else value


def from_json(text: bytes) -> object:
    return JsonCodec().decode_untrusted(text, wire.registry.lift, DEFAULT_LIMITS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_vector_decodes_to_what_it_says(vector: Vector) -> None:
    envelope = decode_envelope_untrusted(vector.data)
    assert isinstance(envelope, Envelope)
    assert envelope.id == ID
    expected = from_json(json.dumps(vector.gives).encode())
    assert isinstance(expected, dict)
    codec = envelope.headers.get("c")
    plain = wire.load("", envelope.body, codec)
    assert {
        "kind": envelope.kind.name,
        "type": envelope.type,
        "headers": envelope.headers,
        "message": as_fields(plain),
    } == expected


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_vector_is_what_we_encode(vector: Vector) -> None:
    envelope = decode_envelope_untrusted(vector.data)
    assert isinstance(envelope, Envelope)
    signer = Key("k1", SECRET) if "m" in envelope.headers else None
    message = wire.load(envelope.type, envelope.body, envelope.headers.get("c"))
    if envelope.kind is Kind.ERROR:
        body, type_name = encode_fault(decode_fault_untrusted(envelope.body)), ""
    elif envelope.kind is Kind.DEAD:
        record = decode_dead_untrusted(vector.data, max_size=1 << 20)
        assert encode_dead(record, max_size=1 << 20) == vector.data
        return
    else:
        type_name, body, _ = wire.dump(message, envelope.headers.get("c"))
    again = Envelope(envelope.kind, envelope.id, type_name, body, envelope.headers)
    if "m2" in envelope.headers:
        keys = KeyRing.of({"k1": SECRET}, namespace=namespace_of(vector))
        now = (envelope.headers["w"] + 0.5) / 1000
        made = encode_sealed(again, DEFAULT_LIMITS, keys, ("store", "shop.cart"), now)
        assert made == vector.data
    else:
        assert encode_envelope(again, signer=signer) == vector.data


def namespace_of(vector: Vector) -> Namespace:
    return Namespace("staging" if vector.name.endswith("-in-namespace") else "")


def test_what_is_signed_in_a_namespace_is_authentic_there_alone() -> None:
    inside = next(vector for vector in VECTORS if vector.name == "signed-in-namespace")
    outside = next(vector for vector in VECTORS if vector.name == "signed-2")
    for vector, good in ((inside, "staging"), (outside, "")):
        headers, seal = vector.gives["headers"], vector.data[-32:]
        found = {"k": headers["k"], "w": headers["w"], "m2": seal}
        for name in ("", "staging", "other"):
            keys = KeyRing.of({"k1": SECRET}, namespace=Namespace(name))
            authentic = contextlib.nullcontext() if name == good else pytest.raises(BadSignature)
            with authentic:
                place = ("store", "shop.cart")
                verify_sealed_untrusted(vector.data, found, keys, place, lambda: 0.0)


def test_the_names_in_a_namespace_are_those_of_the_document() -> None:
    part = DOCUMENT.read_text("utf-8").split("### Namespaces")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.*?)` \| (.*?) ?\| (.*?) ?\|$", part, re.MULTILINE)
    names = Namespace("staging")
    for name, cluster, topic in rows:
        assert cluster in {"", f"`{names.cluster(name)}`"}
        assert topic in {"", f"`{names.topic(mailbox_topic(name))}`"}
    assert len(rows) == 4


def test_signed_vector_is_authentic() -> None:
    signed = next(vector for vector in VECTORS if vector.name == "signed")
    assert decode_envelope_untrusted(signed.data, keys=KeyRing.of({"k1": SECRET}))


def test_signed_vector_is_authentic_at_its_place() -> None:
    signed = next(vector for vector in VECTORS if vector.name == "signed-2")
    headers = signed.gives["headers"]
    seal, keys = signed.data[-32:], KeyRing.of({"k1": SECRET})
    found = {"k": headers["k"], "w": headers["w"], "m2": seal}
    place = ("store", "shop.cart")
    assert verify_sealed_untrusted(signed.data, found, keys, place, lambda: 0.0) == seal
    with pytest.raises(BadSignature):
        verify_sealed_untrusted(signed.data, found, keys, ("store", "shop.desk"), lambda: 0.0)


def test_there_are_vectors_of_every_kind_with_a_body_of_its_own() -> None:
    kinds = {vector.gives["kind"] for vector in VECTORS}
    assert kinds == {kind.name for kind in Kind} - {"EVENT", "STREAM"}
    document = DOCUMENT.read_text("utf-8")
    assert all(f"| {int(kind)} | {kind.name} |" in document for kind in Kind)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.json.decode())
def test_table_of_values(row: Row) -> None:
    from_text = wire.load("", row.json, "json")
    from_bytes = wire.load("", row.msgpack)
    assert exact(from_text) == exact(from_bytes)
    assert MsgpackCodec().encode(from_text, wire.registry.lower) == row.msgpack
    assert JsonCodec().encode(from_bytes, wire.registry.lower) == row.json


def test_table_of_values_is_read() -> None:
    assert len(ROWS) >= 25


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_every_truncation_and_extension_is_one_error(vector: Vector) -> None:
    for cut in range(1, len(vector.data)):
        with pytest.raises(DecodeError):
            decode_envelope_untrusted(vector.data[:cut])
    with pytest.raises(DecodeError):
        decode_envelope_untrusted(vector.data + b"\x00")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_every_flipped_byte_is_read_or_is_one_error(vector: Vector) -> None:
    for position in range(len(vector.data)):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(vector.data)
            data[position] ^= flip
            read_all(bytes(data))


def test_garbage_behind_the_magic_is_one_error() -> None:
    rng = random.Random(20130101)
    for _ in range(3000):
        data = b"\xc1\x01" + rng.randbytes(rng.randrange(60))
        with pytest.raises(DecodeError):
            decode_envelope_untrusted(data)
        read_all(b"\xc1\x01\x95\x01\xc4\x10" + ID + b"\xa0\xc4\x20" + rng.randbytes(32) + b"\x80")


def read_all(data: bytes) -> None:
    """Read everything there is; nothing but `DecodeError` may come of it."""
    try:
        envelope = decode_envelope_untrusted(data)
        if not isinstance(envelope, Envelope):
            return
        if envelope.kind is Kind.ERROR:
            decode_fault_untrusted(envelope.body).to_exception("a")
        elif envelope.kind is Kind.DEAD:
            assert isinstance(decode_dead_untrusted(data, max_size=1 << 20), DeadRecord)
        wire.load(envelope.type, envelope.body, envelope.headers.get("c"))
    except DecodeError:
        return


def test_the_build_of_msgpack_under_test() -> None:
    expected = "msgpack.fallback" if os.environ.get("MSGPACK_PUREPYTHON") else "msgpack._cmsgpack"
    assert msgpack.Packer.__module__ == expected
