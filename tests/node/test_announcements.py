"""Announcements are read from their bytes as they are from the plain value, or not at all."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, private_cluster
from irismq_runtime.node.membership.announcements import (
    Announcement,
    announcement_fields,
    announcement_in_bytes_untrusted,
    announcement_untrusted,
)
from irismq_runtime.wire import Serializer

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
name = text.filter(bool)
pairs = st.lists(st.tuples(text, text.filter(lambda urn: urn != NODE_TARGET)), max_size=4).map(
    tuple
)
number = st.integers(0, 2**63 - 1)
announcements = st.builds(
    Announcement,
    node=name,
    name=name,
    state=st.sampled_from(["up", "bye", "lost"]),
    version=number,
    period=st.floats(0.001, 3600.0),
    serves=st.none() | pairs,
    since=st.none() | number,
    add=pairs,
    drop=pairs,
    has=pairs,
    away=pairs,
    seek=st.lists(text, max_size=3).map(tuple),
    want=text,
    why=text,
    last=number,
    nodes=number,
    cut=st.booleans(),
    format=st.integers(1, 9),
)


@given(announcements)
def test_what_a_node_writes_is_read_from_its_bytes(said):
    _, body, _ = Serializer().dump(announcement_fields(said))
    read = announcement_in_bytes_untrusted(body)
    plain = announcement_untrusted(Serializer().load("", body))
    assert plain == said
    assert read == said or (read is None and len(announcement_fields(said)) > 15)


WRITTEN = announcement_fields(Announcement("n", "name", "up", 1, 1.0, format=2))
BODY = msgspec.msgpack.encode(WRITTEN)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        BODY[:-1],
        BODY + b"\xc0",
        bytes([BODY[0] + 1]) + BODY[1:] + b"\xa1v\x02",  # a key twice
        bytes([BODY[0] + 1]) + BODY[1:] + b"\xa1x\x02",  # one that a newer node writes
        BODY.replace(b"\xa1v\x01", b"\xa1v\xcc\x01"),  # a number in more bytes than it needs
        msgspec.msgpack.encode(dict(reversed(WRITTEN.items()))),
        msgspec.msgpack.encode({**WRITTEN, "period": 0.0}),
        bytes([BODY[0] + 1]) + BODY[1:] + b"\xa3add\xdd\xff\xff\xff\xff",  # more than is there
        bytes([BODY[0] + 1]) + BODY[1:] + b"\xa1x" + b"\x91" * 100_000 + b"\xc0",
    ],
)
def test_what_is_written_otherwise_is_left_to_the_careful_way(body):
    assert announcement_in_bytes_untrusted(BODY) is not None
    assert announcement_in_bytes_untrusted(body) is None


@given(st.binary(max_size=200) | announcements.map(announcement_fields).map(msgspec.msgpack.encode))
def test_bytes_give_an_announcement_none_or_a_decode_error(body):
    try:
        read = announcement_in_bytes_untrusted(body)
    except DecodeError:
        return
    assert read is None or read == announcement_untrusted(msgspec.msgpack.decode(body))


@pytest.mark.parametrize("key", ["serves", "add", "drop", "has", "away"])
def test_a_node_is_itself_in_its_own_cluster_alone(key):
    def body(cluster):
        pair = [[cluster, NODE_TARGET]]
        said = msgspec.convert({**WRITTEN, key: pair}, Announcement)
        return Serializer().dump(announcement_fields(said))[1]

    assert announcement_in_bytes_untrusted(body(private_cluster("n"))) is not None
    with pytest.raises(DecodeError):
        announcement_in_bytes_untrusted(body(private_cluster("other")))
