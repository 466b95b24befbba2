"""Frames: whole, byte by byte, with trailing data, as garbage, and wrong peers."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.nsq import (
    HEARTBEAT,
    ErrorFrame,
    Frame,
    FrameDecoder,
    Message,
    NsqProtocolError,
    Response,
    encode_error,
    encode_message,
    encode_response,
)

ids = st.binary(min_size=16, max_size=16)
messages = st.builds(
    Message,
    timestamp=st.integers(-(2**63), 2**63 - 1),
    attempts=st.integers(0, 65535),
    id=ids,
    body=st.binary(max_size=200),
)
responses = st.builds(Response, st.binary(max_size=60).filter(lambda data: data != b"_heartbeat_"))
errors = st.builds(
    ErrorFrame,
    code=st.sampled_from(["E_INVALID", "E_FIN_FAILED", "E_BAD_TOPIC"]),
    text=st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=30),
)
frames = st.lists(st.one_of(messages, responses, errors, st.just(HEARTBEAT)), max_size=30)


def encoded(frame: Frame) -> bytes:
    match frame:
        case Message(timestamp, attempts, message_id, body):
            return encode_message(timestamp, attempts, message_id, body)
        case Response(data):
            return encode_response(data)
        case ErrorFrame(code, text):
            return encode_error(code, text)
    return encode_response(b"_heartbeat_")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(frames, st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(sent, places):
    data = b"".join(map(encoded, sent))
    decoder = FrameDecoder()
    got = [frame for piece in cut(data, places) for frame in decoder.feed(piece)]
    assert got == sent
    assert decoder.pending == 0


@given(frames, frames)
def test_whole_byte_by_byte_and_with_trailing_data(sent, after):
    data, trailing = b"".join(map(encoded, sent)), b"".join(map(encoded, after))
    assert FrameDecoder().feed(data) == sent
    single = FrameDecoder()
    assert [f for byte in data for f in single.feed(bytes([byte]))] == sent
    both = FrameDecoder()
    assert both.feed(data + trailing[:-1]) == sent + after[:-1]
    assert both.feed(trailing[-1:]) == after[-1:]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_raises_the_one_error_or_waits_within_the_cap(data, places):
    decoder = FrameDecoder(max_frame=1024)
    broken = False
    for piece in cut(data, places):
        if broken:
            with pytest.raises(NsqProtocolError, match="not an NSQ stream"):
                decoder.feed(piece)
            continue
        try:
            decoder.feed(piece)
        except NsqProtocolError:
            broken = True
    assert broken or decoder.pending <= 1024 + 4


@pytest.mark.parametrize("size", [-1, 0, 3, 1025, 2**31 - 1])
def test_an_impossible_size_is_refused_when_its_bytes_are_there(size):
    with pytest.raises(NsqProtocolError, match=f"frame of {size} bytes"):
        FrameDecoder(max_frame=1024).feed(struct.pack(">ii", size, 2))


@pytest.mark.parametrize(("size", "kind"), [(100, 3), (100, -1), (29, 2), (4, 2)])
def test_an_impossible_type_is_refused_before_its_body(size, kind):
    with pytest.raises(NsqProtocolError, match=r"frame type|message frame"):
        FrameDecoder().feed(struct.pack(">ii", size, kind))


def test_frames_before_the_fault_are_not_lost_with_it():
    good = Message(1, 1, b"0123456789abcdef", b"body")
    with pytest.raises(NsqProtocolError) as caught:
        FrameDecoder().feed(encoded(good) + b"\xff" * 8)
    assert caught.value.records == [good]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain", "HTTP port"),
        (b"\x00\x10iris-relay-magic\x0bv1.0-draft2", "Iris relay"),
        (b"\x01\x10iris-relay-magic\x0bwrong magic", "Iris relay"),
        (b'INFO {"server_id":"x"}', "NATS"),
        (b"SSH-2.0-OpenSSH_9.2", "SSH"),
        (b"-ERR unknown command", "Redis"),
        (b"\x15\x03\x01\x00\x02\x02\x0a\x00", "TLS"),
    ],
)
def test_the_wrong_port_is_named(answer, hint):
    with pytest.raises(NsqProtocolError, match=hint):
        FrameDecoder().feed(answer)


def test_rest_is_handed_over_for_an_upgrade():
    decoder = FrameDecoder()
    assert decoder.feed(encode_response(b"{}") + b"\x16\x03\x01") == [Response(b"{}")]
    assert decoder.take_rest() == b"\x16\x03\x01"
    assert decoder.feed(encode_response(b"OK")) == [Response(b"OK")]


def test_one_frame_at_a_time_leaves_the_rest_alone():
    decoder = FrameDecoder()
    data = encode_response(b"{}") + encode_response(b"OK") + b"\x16\x03\x01\x02\x00\x01\x00\x01"
    assert decoder.feed(data, 1) == [Response(b"{}")]
    assert decoder.feed(b"", 1) == [Response(b"OK")]
    assert decoder.take_rest() == b"\x16\x03\x01\x02\x00\x01\x00\x01"


def test_which_errors_close_the_connection():
    assert not ErrorFrame("E_FIN_FAILED", "").fatal
    assert not ErrorFrame("E_REQ_FAILED", "").fatal
    assert not ErrorFrame("E_TOUCH_FAILED", "").fatal
    assert ErrorFrame("E_INVALID", "").fatal
    assert ErrorFrame("E_SOMETHING_NEW", "").fatal


def test_attempts_stay_at_the_largest_that_the_field_holds():
    frame = FrameDecoder().feed(encode_message(0, 70_000, b"0" * 16, b"x"))[0]
    assert isinstance(frame, Message)
    assert frame.attempts == 65535
