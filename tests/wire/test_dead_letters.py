"""Dead letters: the message whole, the record as small as need be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.errors import DecodeError, NotSigned
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    DeadRecord,
    Envelope,
    Foreign,
    Key,
    KeyRing,
    Kind,
    decode_dead_untrusted,
    decode_envelope_untrusted,
    encode_dead,
    encode_envelope,
)

NSQ = 1024 * 1024
ID = bytes(range(16))

records = st.builds(
    DeadRecord,
    body=st.binary(max_size=100),
    address=st.text(max_size=20),
    id=st.just(b"") | st.just(ID),
    attempts=st.integers(0, 2**16),
    reason=st.text(max_size=50),
    error=st.text(max_size=20),
    traceback=st.text(max_size=50),
    time=st.floats(0, 2e9),
    node=st.text(max_size=20),
)


@given(record=records)
def test_round_trip(record: DeadRecord) -> None:
    assert decode_dead_untrusted(encode_dead(record, max_size=NSQ), max_size=NSQ) == record


def test_the_message_is_there_whole_with_id_and_headers() -> None:
    told = Envelope(Kind.TELL, ID, "shop.line", b"\xc0", {"q": 7, "tenant": "a"})
    record = DeadRecord(body=encode_envelope(told), id=ID, address="shop.cart", attempts=5)
    stored = encode_dead(record, max_size=NSQ)
    assert decode_envelope_untrusted(stored).id == ID  # type: ignore[union-attr]  # an envelope
    assert decode_dead_untrusted(stored, max_size=NSQ).message() == told
    foreign = DeadRecord(body=b'{"a":1}')
    again = decode_dead_untrusted(encode_dead(foreign, max_size=NSQ), max_size=NSQ)
    assert again.message() == Foreign(b'{"a":1}')


def test_a_record_of_the_largest_envelope_fits_what_nsqd_takes() -> None:
    told = Envelope(Kind.TELL, ID, "", b"x" * (DEFAULT_LIMITS.size - 60), {})
    record = DeadRecord(
        body=encode_envelope(told),
        address="a" * 64,
        reason="r" * 2000,
        error="e" * 200,
        node="n" * 64,
        time=1e9,
        attempts=5,
    )
    stored = encode_dead(record, max_size=NSQ)
    assert len(stored) <= NSQ
    assert decode_dead_untrusted(stored, max_size=NSQ) == record


def test_what_does_not_fit_goes_in_steps_and_the_message_never() -> None:
    body = b"x" * 5000
    record = DeadRecord(body=body, reason="r" * 3000, traceback="t" * 9000, address="shop.cart")
    sizes = (30_000, 9000, 6000, 5000)
    read = [decode_dead_untrusted(encode_dead(record, max_size=n), max_size=n) for n in sizes]
    assert [len(one.traceback) for one in read] == [9000, 0, 0, 0]
    assert [len(one.reason) for one in read] == [3000, 3000, 200, 0]
    assert [one.address for one in read] == ["shop.cart"] * 3 + [""]
    assert {one.body for one in read} == {body}
    assert all(len(encode_dead(record, max_size=n)) <= n for n in sizes)


@pytest.mark.parametrize("data", [b"foreign", b"\xc1\x07", b"\xc1\x01\x95"])
def test_what_is_no_record_is_the_message_itself(data: bytes) -> None:
    assert decode_dead_untrusted(data, max_size=NSQ) == DeadRecord(body=data)


def test_another_envelope_in_its_place_is_the_message_itself() -> None:
    told = encode_envelope(Envelope(Kind.TELL, ID, "", b"\xc0", {}))
    assert decode_dead_untrusted(told, max_size=NSQ) == DeadRecord(body=told, id=ID)


def test_a_malformed_record_is_one_error() -> None:
    for body in (b"", b"\x80", b"\x81\xa4body\x01", b"\xc1"):
        stored = encode_envelope(Envelope(Kind.DEAD, ID, "", body, {}))
        with pytest.raises(DecodeError):
            decode_dead_untrusted(stored, max_size=NSQ)


def test_texts_that_are_no_text_are_escaped() -> None:
    record = DeadRecord(body=b"x", reason="a\ud800", traceback="\udfff", node="n\ud800")
    read = decode_dead_untrusted(encode_dead(record, max_size=NSQ), max_size=NSQ)
    assert (read.reason, read.traceback, read.node) == ("a\\ud800", "\\udfff", "n\\ud800")


def test_records_are_signed_by_nodes_with_keys() -> None:
    key = Key("k", b"s" * 32)
    stored = encode_dead(DeadRecord(body=b"x"), max_size=NSQ, signer=key)
    assert decode_envelope_untrusted(stored, keys=KeyRing([key]))
    with pytest.raises(NotSigned):
        decode_envelope_untrusted(
            encode_dead(DeadRecord(body=b"x"), max_size=NSQ), keys=KeyRing([key])
        )
