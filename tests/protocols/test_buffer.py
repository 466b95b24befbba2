"""Gather: pieces are listed, not joined, until enough of them are there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.buffer import Gather


def test_enough_in_one_piece_is_passed_on_without_a_copy():
    gather, data = Gather(4), b"12345678"
    assert gather.push(data) is data
    assert len(gather) == 0


def test_pieces_wait_until_the_need_is_met():
    gather = Gather(4)
    assert gather.push(b"12") is None
    assert gather.push(b"") is None
    assert len(gather) == 2
    assert gather.push(b"345") == b"12345"


def test_what_is_kept_comes_before_what_follows():
    gather = Gather(1)
    assert gather.push(b"abc") == b"abc"
    gather.keep(b"c", 3)
    assert gather.push(b"d") is None
    assert gather.take() == b"cd"
    assert len(gather) == 0


@given(st.lists(st.binary(max_size=9)), st.integers(1, 20))
def test_nothing_is_lost_and_nothing_is_passed_on_early(pieces, need):
    gather, out = Gather(need), b""
    for piece in pieces:
        whole = gather.push(piece)
        if whole is not None:
            assert len(whole) >= need
            out += whole
            gather.keep(b"", need)
    assert out + gather.take() == b"".join(pieces)


def test_a_mutable_piece_is_copied():
    gather, piece = Gather(1), bytearray(b"abc")
    whole = gather.push(piece)
    piece[0] = 0
    assert whole == b"abc"
