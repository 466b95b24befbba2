from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.iris import IrisProtocolError
from irismq_runtime.protocols.iris.tunnel import TunnelReceiver, TunnelSender, chunks_of

messages = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


@given(st.binary(min_size=1, max_size=500), st.integers(1, 64))
def test_chunks_join_to_the_message_and_only_the_first_carries_its_size(message, limit):
    pairs = chunks_of(message, limit)
    assert b"".join(chunk for _, chunk in pairs) == message
    assert [size for size, _ in pairs] == [len(message)] + [0] * (len(pairs) - 1)
    assert all(1 <= len(chunk) <= limit for _, chunk in pairs)


@given(messages=messages, limit=st.integers(1, 100), window=st.integers(1, 120), data=st.data())
def test_both_ends_agree_on_messages_and_on_every_byte_of_allowance(messages, limit, window, data):
    """A sender and a receiver, with consumption at whatever moments, end where they began."""
    sender, receiver = TunnelSender(limit), TunnelReceiver(window, max_message=1000)
    sender.grant_untrusted(window)
    for message in messages:
        sender.offer(message)
    seen: list[bytes] = []
    unread = 0
    while sender.pending or unread:
        pulled = sender.pull()
        if pulled is None or data.draw(st.booleans(), label="read now"):
            sender.grant_untrusted(receiver.consumed(unread))
            unread = 0
        if pulled is not None:
            size, chunk = pulled
            assert len(chunk) <= limit
            message, discarded = receiver.take_untrusted(size, chunk)
            assert discarded == 0
            unread += len(chunk)
            if message is not None:
                seen.append(message)
        assert sender.allowance == receiver.allowance
        assert 0 <= sender.allowance <= window
    assert seen == messages
    assert sender.allowance == receiver.allowance == window


def test_nothing_goes_out_without_allowance():
    sender = TunnelSender(10)
    sender.offer(b"x" * 15)
    assert sender.pull() is None
    sender.grant_untrusted(12)
    assert sender.pull() == (15, b"x" * 10)
    assert sender.pull() is None
    assert sender.pending == 5
    sender.grant_untrusted(3)
    assert sender.pull() == (0, b"x" * 5)
    assert sender.pull() is None


def test_a_peer_whose_window_is_smaller_than_a_chunk_still_gets_the_message():
    sender = TunnelSender(65_536)
    sender.offer(b"abcdef")
    sender.grant_untrusted(4)
    assert sender.pull() == (6, b"abcd")
    sender.grant_untrusted(4)
    assert sender.pull() == (0, b"ef")


def test_a_new_first_chunk_discards_the_incomplete_message_and_grants_it_back():
    receiver = TunnelReceiver(100, max_message=100)
    assert receiver.take_untrusted(50, b"a" * 20) == (None, 0)
    assert receiver.partial == 20
    assert receiver.allowance == 80
    message, discarded = receiver.take_untrusted(3, b"new")
    assert (message, discarded) == (b"new", 20)
    assert receiver.partial == 0
    assert receiver.allowance == 97


@pytest.mark.parametrize(
    ("chunks", "word"),
    [
        ([(0, b"x")], "not begun"),
        ([(5, b"abc"), (0, b"def")], "where 2 complete"),
        ([(500, b"a")], "over the limit of 200"),
        ([(150, b"a" * 101)], "over the allowance of 100"),
        ([(3, b"abc"), (0, b"d")], "not begun"),
        ([(2**64 - 1, b"a")], "over the limit"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_named_for_it(chunks, word):
    receiver = TunnelReceiver(100, max_message=200)
    *before, last = chunks
    for size, chunk in before:
        receiver.take_untrusted(size, chunk)
    with pytest.raises(IrisProtocolError, match=word) as caught:
        receiver.take_untrusted(*last)
    assert not caught.value.ours


def test_an_absurd_allowance_is_refused():
    sender = TunnelSender()
    sender.grant_untrusted(2**62)
    with pytest.raises(IrisProtocolError, match="absurd"):
        sender.grant_untrusted(2**63)


def test_a_chunk_limit_of_nothing_is_refused():
    with pytest.raises(IrisProtocolError, match="lets nothing through"):
        TunnelSender(0)


def test_empty_messages_cannot_be_said():
    with pytest.raises(IrisProtocolError) as caught:
        TunnelSender().offer(b"")
    assert caught.value.ours
    with pytest.raises(IrisProtocolError):
        chunks_of(b"", 10)
