"""ByteBuffer: pieces are listed, not joined, until enough of them are there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.buffer import ByteBuffer


def test_enough_in_one_piece_is_passed_on_without_a_copy():
    buffer, data = ByteBuffer(4), b"12345678"
    assert buffer.push(data) is data
    assert len(buffer) == 0


def test_pieces_wait_until_the_need_is_met():
    buffer = ByteBuffer(4)
    assert buffer.push(b"12") is None
    assert buffer.push(b"") is None
    assert len(buffer) == 2
    assert buffer.push(b"345") == b"12345"


def test_what_is_kept_comes_before_what_follows():
    buffer = ByteBuffer(1)
    assert buffer.push(b"abc") == b"abc"
    buffer.keep(b"c", 3)
    assert buffer.push(b"d") is None
    assert buffer.take() == b"cd"
    assert len(buffer) == 0


@given(st.lists(st.binary(max_size=9)), st.integers(1, 20))
def test_nothing_is_lost_and_nothing_is_passed_on_early(pieces, need):
    buffer, out = ByteBuffer(need), b""
    for piece in pieces:
        whole = buffer.push(piece)
        if whole is not None:
            assert len(whole) >= need
            out += whole
            buffer.keep(b"", need)
    assert out + buffer.take() == b"".join(pieces)


def test_a_mutable_piece_is_copied():
    buffer, piece = ByteBuffer(1), bytearray(b"abc")
    whole = buffer.push(piece)
    piece[0] = 0
    assert whole == b"abc"
