"""Envelopes: strict, bounded, foreign or ours, authentic or refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.errors import (
    BadSignature,
    ConfigError,
    DecodeError,
    EncodeError,
    MessageTooLarge,
    NotSigned,
    SignatureError,
    UnknownKey,
)
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    Foreign,
    Key,
    KeyRing,
    Kind,
    WireLimits,
    decode_envelope_untrusted,
    encode_checked,
    encode_envelope,
    new_id,
)

ID = bytes(range(16))
OLD, NEW, OTHER = Key("old", b"o" * 32), Key("new", b"n" * 32), Key("old", b"x" * 32)

milliseconds = st.integers(0, 2**53)
headers = st.fixed_dictionaries(
    {},
    optional={
        "c": st.text(),
        "s": st.text(),
        "q": milliseconds,
        "d": milliseconds,
        "t": milliseconds,
        "x": milliseconds,
        "a": st.lists(st.text(), max_size=5),
        "tp": st.text(),
        "n": st.text(),
        "to": st.text(),
        "tenant": st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(),
        "weight": st.floats(allow_nan=False) | st.text(),
    },
)
envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(Kind),
    id=st.binary(min_size=16, max_size=16),
    type=st.text(max_size=200),
    body=st.binary(max_size=300),
    headers=headers,
)


def tell(**fields: Any) -> Envelope:
    given_fields: dict[str, Any] = {"kind": Kind.TELL, "id": ID, "body": b"\xc0", **fields}
    return Envelope(**given_fields)


def raw(*elements: object) -> bytes:
    return b"\xc1\x01" + msgpack.packb(list(elements))


@given(envelope=envelopes)
@settings(deadline=None)
def test_round_trip(envelope: Envelope) -> None:
    data = encode_envelope(envelope)
    assert decode_envelope_untrusted(data) == envelope
    assert type(decode_envelope_untrusted(data).kind) is Kind
    elements = [int(envelope.kind), envelope.id, envelope.type, envelope.body, envelope.headers]
    assert data == raw(*elements)


@given(envelope=envelopes, data=st.data())
@settings(deadline=None)
def test_signed_round_trip_and_every_change_is_noticed(
    envelope: Envelope, data: st.DataObject
) -> None:
    signed = encode_envelope(envelope, signer=NEW)
    arrived = decode_envelope_untrusted(signed, keys=KeyRing([OLD, NEW]))
    assert isinstance(arrived, Envelope)
    assert arrived.body == envelope.body
    assert {k: v for k, v in arrived.headers.items() if k not in "km"} == envelope.headers
    changed = bytearray(signed)
    position = data.draw(st.integers(0, len(signed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        decode_envelope_untrusted(bytes(changed), keys=KeyRing([OLD, NEW]))


# What is no envelope ---------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b'{"a":1}', b"hello", b"\xc0", b"\x00\xc1\x01", b"\xc2"])
def test_what_does_not_begin_as_an_envelope_is_foreign(data: bytes) -> None:
    assert decode_envelope_untrusted(data) == Foreign(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1", "cut short"),
        (b"\xc1\x02\x95", "version 2"),
        (b"\xc1\x00", "version 0"),
        (b"\xc1\x01", "malformed"),
        (raw(1, ID, "", b""), "malformed"),
        (raw(1, ID, "", b"", {}, 0), "malformed"),
        (raw(1, ID, "", "text", {}), "malformed"),
        (raw(1, ID.decode("latin-1"), "", b"", {}), "malformed"),
        (raw(1, ID, b"", b"", {}), "malformed"),
        (raw(1.0, ID, "", b"", {}), "malformed"),
        (raw(True, ID, "", b"", {}), "malformed"),
        (raw(1, ID, "", b"", []), "malformed"),
        (raw(1, ID, "", b"", {1: 2}), "malformed"),
        (raw(1, ID, "", b"", {}) + b"\x00", "malformed"),
        (b"\xc1\x01" + msgpack.packb({"kind": 1}), "malformed"),
        (raw(0, ID, "", b"", {}), "unknown kind 0"),
        (raw(11, ID, "", b"", {}), "unknown kind 11"),
        (raw(2**70 % 2**64, ID, "", b"", {}), "unknown kind"),
        (raw(1, ID[:15], "", b"", {}), "length"),
        (raw(1, ID + b"x", "", b"", {}), "length"),
        (raw(1, ID, "x" * 201, b"", {}), "length"),
    ],
    ids=lambda v: v.hex()[:24] if isinstance(v, bytes) else v,
)
def test_what_is_malformed_is_one_error_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_envelope_untrusted(data)


BAD_HEADERS: list[dict[str, Any]] = [
    {"c": 1},
    {"s": b"n/1"},
    {"q": -1},
    {"d": 1.0},
    {"d": "5"},
    {"t": True},
    {"x": 2**53 + 1},
    {"a": "one"},
    {"a": [1]},
    {"a": ["x"] * 257},
    {"n": None},
    {"to": 5},
    {"tenant": [1]},
    {"tenant": {"a": 1}},
    {"m": "text"},
    {f"header-{index}": index for index in range(65)},
]


@pytest.mark.parametrize("bad", BAD_HEADERS, ids=lambda h: str(h)[:30])
def test_headers_are_checked_alike_in_both_directions(bad: dict[str, Any]) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_envelope(tell(headers=bad))
    assert caught.value.path.startswith("$.headers.")
    with pytest.raises(DecodeError):
        decode_envelope_untrusted(raw(1, ID, "", b"", bad))


def test_headers_of_later_versions_are_ignored() -> None:
    arrived = decode_envelope_untrusted(raw(1, ID, "", b"", {"zz": 1, "d": 5}))
    assert isinstance(arrived, Envelope)
    assert arrived.headers == {"zz": 1, "d": 5}


def test_deeply_nested_headers_are_one_error() -> None:
    head = b"\xc1\x01\x95\x01\xc4\x10" + ID + b"\xa0\xc4\x00\x81\xa1z"
    for depth in (1, 200, 100_000):
        with pytest.raises(DecodeError):
            decode_envelope_untrusted(head + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": b"short"}, "$.id"),
        ({"type": "x" * 201}, "$.type"),
        ({"headers": {"tenant": "\ud800"}}, "$.headers"),
        ({"headers": {"tenant": 2**64}}, "$.headers"),
        ({"headers": {5: 1}}, "$.headers.5"),
    ],
)
def test_what_an_envelope_cannot_hold_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_envelope(tell(**fields))
    assert caught.value.path == path


def test_the_size_is_limited_alike_in_both_directions() -> None:
    limits = WireLimits(size=1024)
    overhead = len(encode_envelope(tell(body=b"x" * 300))) - 300
    largest = tell(body=b"x" * (1024 - overhead))
    data = encode_envelope(largest, limits=limits)
    assert len(data) == 1024
    assert decode_envelope_untrusted(data, limits=limits) == largest
    over = tell(body=b"x" * (1025 - overhead))
    with pytest.raises(MessageTooLarge) as caught:
        encode_envelope(over, limits=limits)
    assert (caught.value.size, caught.value.limit) == (1025, 1024)
    with pytest.raises(DecodeError, match="1,025 bytes"):
        decode_envelope_untrusted(encode_envelope(over), limits=limits)


@pytest.mark.parametrize("bad", [{"depth": 129}, {"depth": 0}, {"size": 10}, {"items": 0}])
def test_limits_that_cannot_be_kept_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        WireLimits(**bad)
    assert DEFAULT_LIMITS.size < 1024 * 1024


# Signatures ------------------------------------------------------------------


def test_keys_can_be_changed_one_node_at_a_time() -> None:
    for signer in (OLD, NEW):
        for ring in (KeyRing([OLD, NEW]), KeyRing([NEW, OLD])):
            assert decode_envelope_untrusted(encode_envelope(tell(), signer=signer), keys=ring)
    assert KeyRing([NEW, OLD]).signer is NEW


def test_what_is_not_authentic_is_refused_with_an_error_of_its_own() -> None:
    ring = KeyRing([OLD])
    cases: list[tuple[bytes, type[SignatureError]]] = [
        (encode_envelope(tell()), NotSigned),
        (b'{"foreign": 1}', NotSigned),
        (encode_envelope(tell(), signer=NEW), UnknownKey),
        (encode_envelope(tell(), signer=OTHER), BadSignature),
        (encode_envelope(tell(headers={"k": "old"})), NotSigned),
        (encode_envelope(tell(headers={"k": "old", "m": b"x" * 32})), BadSignature),
        (encode_envelope(tell(headers={"k": "old", "m": b""})), BadSignature),
    ]
    for data, error in cases:
        with pytest.raises(error) as caught:
            decode_envelope_untrusted(data, keys=ring)
        assert type(caught.value) is error


def test_a_signature_must_be_the_end_of_the_envelope() -> None:
    unsigned = encode_envelope(tell(headers={"k": "old", "m": bytes(32)}))[:-32]
    signature = OLD.mac(unsigned)
    assert decode_envelope_untrusted(unsigned + signature, keys=KeyRing([OLD]))
    moved = raw(1, ID, "", b"\xc0", {"m": signature, "k": "old"})
    with pytest.raises(BadSignature):
        decode_envelope_untrusted(moved, keys=KeyRing([OLD]))


def test_a_forwarded_signature_is_replaced() -> None:
    once = decode_envelope_untrusted(encode_envelope(tell(headers={"q": 1}), signer=OLD))
    assert isinstance(once, Envelope)
    again = decode_envelope_untrusted(encode_envelope(once, signer=NEW), keys=KeyRing([NEW]))
    assert isinstance(again, Envelope)
    assert (again.headers["k"], again.headers["q"]) == ("new", 1)
    mixed = tell(headers={"m": b"x" * 32, "k": "old", "q": 1})
    assert decode_envelope_untrusted(encode_envelope(mixed, signer=NEW), keys=KeyRing([NEW]))


def test_signed_envelopes_are_read_by_nodes_without_keys() -> None:
    assert isinstance(decode_envelope_untrusted(encode_envelope(tell(), signer=OLD)), Envelope)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Key("", b"x" * 32),
        lambda: Key("é", b"x" * 32),
        lambda: Key("k" * 33, b"x" * 32),
        lambda: Key("k", b"x" * 15),
        lambda: Key("k", b"x" * 65),
        lambda: KeyRing([]),
        lambda: KeyRing([OLD, OTHER]),
    ],
)
def test_keys_that_cannot_work_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert "x" * 15 not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    assert "oooo" not in repr(OLD) + repr(KeyRing([OLD]))


# Ids -------------------------------------------------------------------------


def test_ids_are_unique_among_threads() -> None:
    made: list[list[bytes]] = [[] for _ in range(8)]

    def make(into: list[bytes]) -> None:
        into.extend(new_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [one for into in made for one in into]
    assert len(set(ids)) == len(ids) == 16_000
    assert {len(one) for one in ids} == {16}


FORK = """
import os
from irismq_runtime.wire import new_id
first = new_id()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, new_id() + new_id())
    os._exit(0)
os.wait()
theirs = os.read(read, 64)
ours = new_id()
assert len(theirs) == 32, theirs
assert ours[:10] == first[:10]
assert theirs[:10] != first[:10] and theirs[:10] == theirs[16:26]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True)


@given(envelope=envelopes)
@settings(deadline=None)
def test_what_is_known_to_be_right_is_encoded_the_same_without_checks(envelope: Envelope) -> None:
    assert encode_checked(envelope, DEFAULT_LIMITS, None) == encode_envelope(envelope)
    assert encode_checked(envelope, DEFAULT_LIMITS, NEW) == encode_envelope(envelope, signer=NEW)
