"""The pure parts of the NATS back end: subjects, frames, and what waits to go out."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from irismq_runtime.embedded.relay.nats import frames
from irismq_runtime.embedded.relay.nats.broadcasts import broadcast_reader, event_reader
from irismq_runtime.embedded.relay.nats.frames import (
    FrameError,
    RemoteAnswer,
    Status,
    TunnelItem,
    TunnelItemKind,
)
from irismq_runtime.embedded.relay.nats.outgoing import portions
from irismq_runtime.embedded.relay.nats.subjects import (
    RELAY_ID_BYTES,
    Subjects,
    decode_name,
    encode_name,
)
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import Publish, RelayBroadcast

RELAY, OTHER = b"\x01" * RELAY_ID_BYTES, b"\xfe" * RELAY_ID_BYTES

#: Names as they come from the wire: any bytes, those that are no UTF-8 escaped.
names = st.one_of(
    st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.text("ab.=*>- \u2744", max_size=12),
)
ids = st.integers(0, 2**64 - 1)
bodies = st.binary(max_size=40)
long_names = st.builds(str.__mul__, st.text("a.", min_size=1, max_size=9), st.integers(900, 1_200))
relay_ids = st.binary(min_size=RELAY_ID_BYTES, max_size=RELAY_ID_BYTES)


# Subjects


@given(names, st.booleans())
@example("", True)
@example("=", True)
@example("..", True)
@example("a..b.", True)
def test_a_name_comes_back_from_its_subject(name, dots):
    encoded = encode_name(name, dots=dots)
    assert decode_name(encoded) == name
    assert dots or "." not in encoded
    assert re.fullmatch(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*", encoded)


@given(names, names, st.booleans())
def test_different_names_have_different_subjects(one, other, dots):
    assert (one == other) == (encode_name(one, dots=dots) == encode_name(other, dots=dots))


def test_readable_names_stay_readable():
    assert encode_name("shop.inventory-2_b") == "shop.inventory-2_b"
    assert encode_name("caf\u00e9 one") == "caf=C3=A9=20one"


@given(names, names, names, names)
def test_two_nets_share_no_subject(one, other, mine, theirs):
    here, there = Subjects(one, RELAY), Subjects(other, RELAY)
    kinds = ("requests", "broadcasts", "topic")
    mines = {getattr(here, kind)(mine) for kind in kinds} | {here.tunnel_end(1), here.batch(1, 1)}
    others = {getattr(there, kind)(theirs) for kind in kinds} | {
        there.tunnel_end(1),
        there.batch(1, 1),
    }
    assert len(mines) == 5
    assert bool(mines & others) == (one == other)


@given(long_names, long_names)
def test_a_long_name_has_a_short_subject_of_its_own(one, other):
    encoded = encode_name(one)
    assert len(encoded) <= 1_000
    assert (one == other) == (encoded == encode_name(other))
    assert decode_name(encoded) in {one, None}


@given(st.text(max_size=30))
def test_what_stands_for_no_name_is_none(text):
    name = decode_name(text)
    assert name is None or text in {encode_name(name), encode_name(name, dots=False)}


@given(names, st.integers(0, 2**64 - 1), st.integers(1, 10_000), relay_ids)
def test_a_relay_knows_its_own_subjects_and_other_relays(net, number, count, relay_id):
    mine, other = Subjects(net, RELAY), Subjects(net, relay_id)
    assert mine.batch_of_untrusted(mine.batch(number, count)) == (number, count)
    assert mine.tunnel_end_of_untrusted(mine.tunnel_end(number)) == number
    assert mine.answers_to_untrusted(other.batch(number, count)) == other.answers
    assert mine.is_tunnel_end_untrusted(other.tunnel_end(number))


@given(names, st.text(max_size=60))
def test_any_other_reply_subject_is_nobodys(net, text):
    subjects = Subjects(net, RELAY)
    stranger = Subjects(net + "x", OTHER)
    for reply in (
        text,
        stranger.batch(1, 1),
        stranger.tunnel_end(1),
        subjects.answers,
        subjects.tunnel_end(1) + "\n",
    ):
        assert subjects.answers_to_untrusted(reply) is None
        assert not subjects.is_tunnel_end_untrusted(reply)
    assert subjects.batch_of_untrusted(f"{subjects.answers}.r") is None
    assert subjects.tunnel_end_of_untrusted(f"{subjects.tunnel_end(1)}x") is None


# Frames


@given(
    st.integers(0, 2**63),
    st.lists(relay_ids, max_size=frames.MAX_AVOID),
    st.lists(st.tuples(st.integers(0, 2**40), bodies), max_size=20),
)
def test_requests_come_back(first, avoid, items):
    decoded = frames.decode_requests_untrusted(frames.requests_message(first, avoid, items))
    assert (decoded.first, decoded.avoid) == (first, avoid)
    assert decoded.items == [(min(timeout, 2**32 - 1), body) for timeout, body in items]


@given(names, bodies)
def test_a_direct_message_comes_back(name, rest):
    cluster = name.encode("utf-8", "surrogateescape")
    data = frames.direct_message(cluster, rest)
    assert frames.decode_direct_untrusted(data) == (cluster, rest)


@given(
    relay_ids, st.lists(st.builds(RemoteAnswer, ids, st.sampled_from(Status), bodies), max_size=20)
)
def test_answers_come_back(relay_id, answers):
    data = frames.answers_message(relay_id, [frames.answer_item(*answer) for answer in answers])
    assert frames.decode_answers_untrusted(data) == (relay_id, answers)


@given(relay_ids, st.lists(bodies, max_size=20))
def test_casts_come_back(relay_id, packets):
    data = frames.broadcasts_message(relay_id, map(frames.broadcast_item, packets))
    assert frames.decode_broadcasts_untrusted(data) == (relay_id, packets)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.builds(TunnelItem, st.sampled_from(TunnelItemKind), ids, bodies), max_size=20),
)
def test_steps_come_back(number, items):
    data = frames.tunnel_message(number, [frames.tunnel_item(*item) for item in items])
    assert frames.decode_tunnel_untrusted(data) == (number, items)


@given(st.integers(0, 2**40), st.integers(1, 2**32 - 1))
def test_an_opening_comes_back(timeout_ms, chunk_limit):
    data = frames.opening_message(timeout_ms, chunk_limit)
    assert frames.decode_opening_untrusted(data) == (min(timeout_ms, 2**32 - 1), chunk_limit)


DECODERS: list[Any] = [
    frames.decode_requests_untrusted,
    frames.decode_answers_untrusted,
    frames.decode_broadcasts_untrusted,
    frames.decode_opening_untrusted,
    frames.decode_tunnel_untrusted,
    frames.decode_direct_untrusted,
]
MESSAGES = [
    frames.requests_message(7, [RELAY], [(1, b"a"), (2, b"bc")]),
    frames.answers_message(RELAY, [frames.answer_item(3, Status.FAULT, b"no")]),
    frames.broadcasts_message(RELAY, [frames.broadcast_item(b"packet")]),
    frames.opening_message(5, 6),
    frames.tunnel_message(9, [frames.tunnel_item(TunnelItemKind.TRANSFER, 4, b"data")]),
    frames.direct_message(b"name", b"requests"),
]


@pytest.mark.parametrize("decode", DECODERS)
@given(
    data=st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda data: b"I1" + data))
)
def test_whatever_comes_is_read_or_is_a_frame_error(decode, data):
    with suppress(FrameError):
        decode(data)


@pytest.mark.parametrize(("decode", "message"), [*zip(DECODERS, MESSAGES, strict=True)])
@given(data=st.data())
def test_a_message_that_was_changed_is_read_or_is_a_frame_error(decode, message, data):
    at = data.draw(st.integers(0, len(message) - 1))
    changed = bytearray(message)
    changed[at] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        decode(bytes(changed))


@pytest.mark.parametrize(("decode", "message"), [*zip(DECODERS, MESSAGES, strict=True)])
def test_a_message_that_is_cut_off_is_a_frame_error(decode, message):
    whole = decode(message)
    for length in range(len(message)):
        with suppress(FrameError):
            assert decode(message[:length]) != whole


# Packets of others


@given(bodies, st.binary(min_size=1, max_size=40))
def test_only_one_whole_broadcast_passes(body, other):
    packet = encode_packet(RelayBroadcast(body))
    broadcast_reader(packet)
    for bad in (packet + other, packet[:-1], b"\x08" + packet[1:], b""):
        with pytest.raises(FrameError):
            broadcast_reader(bad)


@given(names, names, bodies)
def test_only_events_of_the_topic_pass(topic, other, body):
    read = event_reader(topic)
    read(encode_packet(Publish(topic, body)))
    if other != topic:
        with pytest.raises(FrameError):
            read(encode_packet(Publish(other, body)))
    with pytest.raises(FrameError):
        read(encode_packet(Publish(topic, body)) + b"\x08")


# What waits


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(10, 100))
def test_portions_are_all_items_in_order_and_not_too_full(sizes, full):
    items = [bytes(size) for size in sizes]
    cut = list(portions(items, full))
    assert [item for portion in cut for item in portion] == items
    for portion in cut:
        assert portion
        assert len(portion) == 1 or sum(map(len, portion)) <= full
