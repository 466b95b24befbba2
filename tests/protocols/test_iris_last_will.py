"""The last will: its bytes, both ways, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.iris import IrisProtocolError, encode_packet
from irismq_runtime.protocols.iris.last_will import (
    TOKEN_BYTES,
    WILL_ID,
    LastWill,
    last_will_packet,
    last_will_untrusted,
)
from irismq_runtime.protocols.iris.packets import ClientReply

TOKEN = bytes(range(TOKEN_BYTES))


@given(
    st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=100),
    st.binary(max_size=300),
)
def test_what_is_left_is_read_as_it_was(token, cluster, message):
    will = LastWill(token, cluster, message)
    assert last_will_untrusted(last_will_packet(will)) == will


def test_the_bytes_are_those_of_the_document():
    packet = encode_packet(last_will_packet(LastWill(TOKEN, "c", b"gone")))
    assert packet.hex() == (
        "05ffffffffffffffffff010117000102030405060708090a0b0c0d0e0f016304676f6e65"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        will = last_will_untrusted(ClientReply(WILL_ID, data, None))
    except IrisProtocolError:
        return
    assert last_will_packet(will).body is not None
    assert will.cluster


@pytest.mark.parametrize(
    "body",
    [
        b"",
        TOKEN,
        TOKEN + b"\x01",
        TOKEN + b"\x01c",
        TOKEN + b"\x01c\x05gone",
        TOKEN + b"\x01c\x04gone.",
        TOKEN + b"\x00\x04gone",
        TOKEN + b"\x01c\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        TOKEN + b"\x01c\xff\xff\x01" + bytes(32_767),
    ],
)
def test_what_is_cut_or_too_long_is_refused(body):
    with pytest.raises(IrisProtocolError):
        last_will_untrusted(ClientReply(WILL_ID, body, None))


def test_a_fault_is_no_will():
    with pytest.raises(IrisProtocolError):
        last_will_untrusted(ClientReply(WILL_ID, None, "gone"))


@pytest.mark.parametrize(
    "will",
    [
        LastWill(TOKEN[1:], "c", b"gone"),
        LastWill(TOKEN, "", b"gone"),
        LastWill(TOKEN, "c", bytes(20_000)),
    ],
)
def test_a_will_that_no_relay_would_take_is_not_sent(will):
    with pytest.raises(IrisProtocolError) as caught:
        last_will_packet(will)
    assert caught.value.ours
