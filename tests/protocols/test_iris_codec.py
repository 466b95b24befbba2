from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from irismq_runtime.protocols.iris import (
    DEFAULT_LIMITS,
    IrisProtocolError,
    PacketDecoder,
    PacketLimits,
    encode_packet,
)
from irismq_runtime.protocols.iris.encoders import WRITERS
from irismq_runtime.protocols.iris.packets import (
    PACKETS,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelInit,
    Deny,
    Field,
    Op,
    Packet,
    Publish,
    RelayClose,
    RelayReply,
    RelayTunnelConfirm,
    RelayTunnelInit,
    Role,
    Subscribe,
    TunnelTransfer,
)
from irismq_runtime.protocols.iris.primitives import (
    encode_string,
    encode_varint,
    read_varint_untrusted,
)
from tests.protocols.iris_strategies import packets_from

roles = st.sampled_from(Role)

#: Bytes captured from a real relay and its Go binding, and what they mean.
CAPTURED: list[tuple[Role, bytes, Packet]] = [
    (
        Role.CLIENT,
        b"\x00\x11iris-client-magic\x0bv1.0-draft2\x00",
        ClientInit("iris-client-magic", "v1.0-draft2", ""),
    ),
    (
        Role.RELAY,
        b"\x01\x10iris-relay-magic4Unsupported protocol. Client: v0. Iris: v1.0-draft2.",
        Deny("iris-relay-magic", "Unsupported protocol. Client: v0. Iris: v1.0-draft2."),
    ),
    (Role.CLIENT, b"\x02", ClientClose()),
    (Role.RELAY, b"\x02\x00", RelayClose("")),
    (Role.CLIENT, b"\x04\x07\x06nobody\x01x\xac\x02", ClientRequest(7, "nobody", b"x", 300)),
    (Role.RELAY, b"\x05\x07\x01", RelayReply(7, True, None, None)),
    (Role.RELAY, b"\x05\x02\x00\x01\x00", RelayReply(2, False, b"", None)),
    (Role.CLIENT, b"\x05\x00\x00\x04oops", ClientReply(0, None, "oops")),
    (Role.RELAY, b"\x08\x02\xff\xfe\x02ev", Publish("\udcff\udcfe", b"ev")),
    (Role.RELAY, b"\x09\x00\x80\x80\x04", RelayTunnelInit(0, 65536)),
    (Role.RELAY, b"\x0a\x09\x00\x80\x80\x04", RelayTunnelConfirm(9, False, 65536)),
    (Role.RELAY, b"\x0a\x01\x01", RelayTunnelConfirm(1, True, None)),
    (Role.RELAY, b"\x0cM\x05\x05hello", TunnelTransfer(77, 5, b"hello")),
]


@pytest.mark.parametrize(("role", "data", "packet"), CAPTURED)
def test_captured_bytes_mean_what_they_mean(role: Role, data: bytes, packet: Packet):
    assert PacketDecoder(role).decode_untrusted(data) == [packet]
    assert encode_packet(packet) == data


def test_the_table_has_every_opcode_of_the_specification_and_no_other():
    never = {(Role.CLIENT, Op.DENY), (Role.RELAY, Op.SUBSCRIBE), (Role.RELAY, Op.UNSUBSCRIBE)}
    listed = {(role, op) for role, table in PACKETS.items() for op in table}
    assert listed == {(role, op) for role in Role for op in Op} - never
    assert [op.value for op in Op] == list(range(0x0E))


@given(data=st.data(), role=roles)
def test_a_packet_read_whole_is_the_packet_written(data, role):
    packet = data.draw(packets_from(role))
    decoder = PacketDecoder(role)
    assert decoder.decode_untrusted(encode_packet(packet)) == [packet]
    assert decoder.buffered == 0
    assert WRITERS[type(packet)](*astuple(packet)) == encode_packet(packet)


@given(data=st.data(), role=roles)
def test_packets_cut_anywhere_come_out_once_and_in_order(data, role):
    packets = data.draw(st.lists(packets_from(role), min_size=1, max_size=5))
    stream = b"".join(map(encode_packet, packets))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    decoder = PacketDecoder(role)
    seen: list[Packet] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += decoder.decode_untrusted(stream[start:stop])
    assert seen == packets
    assert decoder.buffered == 0


@given(data=st.data(), role=roles)
def test_byte_by_byte_a_packet_comes_with_its_last_byte_and_not_before(data, role):
    stream = encode_packet(data.draw(packets_from(role)))
    decoder = PacketDecoder(role)
    for at in range(len(stream) - 1):
        assert decoder.decode_untrusted(stream[at : at + 1]) == []
        assert decoder.buffered == at + 1
    assert len(decoder.decode_untrusted(stream[-1:])) == 1


@given(data=st.data(), role=roles)
def test_trailing_data_waits_for_the_rest_of_its_packet(data, role):
    first, second = data.draw(packets_from(role)), data.draw(packets_from(role))
    tail = encode_packet(second)
    cut = data.draw(st.integers(0, len(tail) - 1))
    decoder = PacketDecoder(role)
    assert decoder.decode_untrusted(encode_packet(first) + tail[:cut]) == [first]
    assert decoder.decode_untrusted(tail[cut:]) == [second]


@given(garbage=st.binary(max_size=200), role=roles)
def test_garbage_raises_the_one_error_or_waits_for_more(garbage, role):
    decoder = PacketDecoder(role)
    ours = False
    try:
        packets = decoder.decode_untrusted(garbage)
    except IrisProtocolError as error:
        packets, ours = list(error.decoded), error.ours
    assert not ours
    assert decoder.buffered <= len(garbage)
    for packet in packets:
        assert PacketDecoder(role).decode_untrusted(encode_packet(packet)) == [packet]


@given(garbage=st.binary(max_size=80), role=roles)
def test_garbage_means_the_same_byte_by_byte_as_whole(garbage, role):
    def outcome(pieces: list[bytes]) -> tuple[list[Packet], str]:
        decoder, seen = PacketDecoder(role), []
        try:
            for piece in pieces:
                seen += decoder.decode_untrusted(piece)
        except IrisProtocolError as error:
            return seen + list(error.decoded), error.reason
        return seen, ""

    assert outcome([garbage]) == outcome([garbage[at : at + 1] for at in range(len(garbage))])


@given(data=st.data(), role=roles, garbage=st.binary(min_size=1, max_size=10))
def test_what_came_whole_before_a_violation_is_handed_over_with_it(data, role, garbage):
    good = data.draw(st.lists(packets_from(role), max_size=3))
    decoder = PacketDecoder(role)
    with pytest.raises(IrisProtocolError) as caught:
        decoder.decode_untrusted(b"".join(map(encode_packet, good)) + b"\x7f" + garbage)
    assert list(caught.value.decoded) == good
    assert "0x7f" in str(caught.value)


@pytest.mark.parametrize(
    ("role", "data", "word"),
    [
        (Role.CLIENT, b"\x01\x00\x00", "client never sends DENY"),
        (Role.RELAY, b"\x06\x00", "relay never sends SUBSCRIBE"),
        (Role.CLIENT, b"\x05\x01\x02", "a bool is 0 or 1, not 2"),
        (Role.RELAY, b"\x05\x01\x02", "a bool is 0 or 1, not 2"),
        (Role.RELAY, b"\x05\x01\x00\xff", "a bool is 0 or 1, not 255"),
        (Role.RELAY, b"\x0a\x01\x07", "a bool is 0 or 1, not 7"),
        (Role.CLIENT, b"\x04" + b"\xff" * 11, "longer than 10 bytes"),
        (Role.CLIENT, b"\x04" + b"\xff" * 9 + b"\x7f", "64 bits"),
        (Role.CLIENT, b"\x03\x80\x80\x80\x80\x01", "over the limit"),
    ],
)
def test_each_violation_says_what_it_is(role: Role, data: bytes, word: str):
    with pytest.raises(IrisProtocolError, match=word):
        PacketDecoder(role).decode_untrusted(data)


@pytest.mark.parametrize(
    ("packet", "cap"),
    [
        (ClientBroadcast("c", b"x" * 100), "binary"),
        (TunnelTransfer(1, 100, b"x" * 100), "chunk"),
        (Subscribe("x" * 100), "name"),
        (ClientReply(1, None, "x" * 100), "text"),
    ],
)
def test_a_length_over_its_limit_is_refused_from_its_own_bytes(packet: Packet, cap: str):
    """At the cap it is taken; one over it is refused before a byte of it has come."""
    data = encode_packet(packet)
    limits = {"binary": 200, "chunk": 200, "name": 200, "text": 200}
    exact = PacketDecoder(Role.CLIENT, PacketLimits(**{**limits, cap: 100}))
    assert exact.decode_untrusted(data) == [packet]
    under = PacketDecoder(Role.CLIENT, PacketLimits(**{**limits, cap: 99}))
    with pytest.raises(IrisProtocolError, match="over the limit of 99"):
        under.decode_untrusted(data[:-100])


def test_the_flag_wins_over_what_follows_case_56():
    """Case 56: after the timeout flag nothing of the result is read, whatever comes."""
    decoder = PacketDecoder(Role.RELAY)
    timed_out = RelayReply(3, True, None, None)
    assert decoder.decode_untrusted(b"\x05\x03\x01") == [timed_out]
    assert decoder.decode_untrusted(b"\x0a\x03\x01") == [RelayTunnelConfirm(3, True, None)]
    for tail in (b"\x01\x00", b"\x01\x01x", b"\x00\x00"):
        assert PacketDecoder(Role.RELAY).decode_untrusted(b"\x05\x03\x01" + tail) == [timed_out]


def test_a_large_body_in_small_pieces_is_joined_once():
    """Time must grow with the bytes, not with their square: each piece is touched a few times."""
    body = b"z" * (4 * 1024 * 1024)
    data = encode_packet(ClientBroadcast("cluster", body))
    decoder = PacketDecoder(Role.CLIENT)
    seen: list[Packet] = []
    joins = 0
    for at in range(0, len(data), 1024):
        before = len(decoder._parts)
        seen += decoder.decode_untrusted(data[at : at + 1024])
        joins += len(decoder._parts) <= before and before > 0
    assert seen == [ClientBroadcast("cluster", body)]
    assert joins <= 3


@given(st.integers(0, 2**64 - 1))
def test_varints_are_minimal_and_read_back(value):
    data = encode_varint(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert read_varint_untrusted(data + b"\xff", 0) == (value, len(data))


def test_a_varint_with_leading_zero_groups_is_taken():
    assert read_varint_untrusted(b"\x80\x80\x00", 0) == (0, 3)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_number_out_of_range_is_our_own_error(value):
    with pytest.raises(IrisProtocolError) as caught:
        encode_packet(ClientTunnelInit(value, "c", 1))
    assert caught.value.ours


def test_bytes_that_are_no_text_go_out_as_they_came():
    name = b"\xff\x00\xfe"
    (packet,) = PacketDecoder(Role.CLIENT).decode_untrusted(b"\x06\x03" + name)
    assert encode_packet(packet) == b"\x06\x03" + name
    with pytest.raises(IrisProtocolError) as caught:
        encode_string("\ud800")
    assert caught.value.ours


def test_the_default_limits_let_a_tunnel_chunk_and_a_go_bindings_buffer_through():
    assert DEFAULT_LIMITS.chunk >= 65_536
    assert DEFAULT_LIMITS.binary >= 64 * 1024 * 1024
    assert all(
        isinstance(field, Field)
        for table in PACKETS.values()
        for _, fields in table.values()
        for field in fields
    )


class Walk:
    """The table read plainly, field by field: what every decoder function must equal."""

    def __init__(self, data: bytes) -> None:
        self.data, self.pos = data, 0

    def byte(self) -> int:
        self.pos += 1
        return self.data[self.pos - 1]

    def number(self) -> int:
        value, self.pos = read_varint_untrusted(self.data, self.pos)
        return value

    def flag(self) -> bool:
        byte = self.byte()
        if byte > 1:
            raise IrisProtocolError(f"a bool is 0 or 1, not {byte}")
        return byte == 1

    def field(self, field: Field) -> tuple[object, ...]:
        match field:
            case Field.VARINT:
                return (self.number(),)
            case Field.RESULT if self.flag():
                return (*self.field(Field.BINARY), None)
            case Field.RESULT:
                return (None, *self.field(Field.TEXT))
            case Field.TIMED_RESULT:
                return (True, None, None) if self.flag() else (False, *self.field(Field.RESULT))
            case Field.TIMED_VARINT:
                return (True, None) if self.flag() else (False, self.number())
        size = self.number()
        if self.pos + size > len(self.data):
            raise IndexError
        self.pos += size
        value = self.data[self.pos - size : self.pos]
        text = field in {Field.NAME, Field.TEXT}
        return (value.decode("utf-8", "surrogateescape") if text else value,)


def walked(role: Role, data: bytes) -> tuple[list[tuple[object, ...]], str]:
    """The packets of `data`, and what was wrong behind them."""
    walk, seen = Walk(data), []
    try:
        while walk.pos < len(data):
            op = walk.byte()
            if op not in PACKETS[role]:
                return seen, "opcode"
            record, fields = PACKETS[role][Op(op)]
            values = tuple(value for field in fields for value in walk.field(field))
            seen.append((record, *values))
    except IndexError:
        return seen, ""
    except IrisProtocolError as error:
        return seen, error.reason
    return seen, ""


@given(data=st.data(), role=roles)
def test_every_decoder_function_equals_a_walk_through_the_table(data, role):
    good = data.draw(st.lists(packets_from(role), max_size=4))
    stream = bytearray(b"".join(map(encode_packet, good)) + data.draw(st.binary(max_size=3)))
    if stream and data.draw(st.booleans()):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    decoder, reason = PacketDecoder(role, PacketLimits(2**64, 2**64, 2**64, 2**64)), ""
    try:
        packets = decoder.decode_untrusted(bytes(stream))
    except IrisProtocolError as error:
        packets, reason = list(error.decoded), error.reason
    expected, wrong = walked(role, bytes(stream))
    assert [(type(packet), *astuple(packet)) for packet in packets] == expected
    assert ("opcode" if "opcode" in reason or "never sends" in reason else reason) == wrong
