from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.iris import (
    ConnectionState,
    IrisProtocol,
    IrisProtocolError,
    encode_packet,
    version_refusal,
)
from irismq_runtime.protocols.iris.packets import (
    RELAY_MAGIC,
    ClientClose,
    ClientInit,
    ClientReply,
    Deny,
    Packet,
    Publish,
    RelayClose,
    RelayInit,
    RelayRequest,
    Role,
    Subscribe,
)
from tests.protocols.iris_strategies import HELLO, WELCOME, talk_of


class ConnectionPair:
    """Both roles in one place: what one encodes the other is fed, whole or in pieces."""

    def __init__(self, piece: int = 1 << 20) -> None:
        self.ends = {role: IrisProtocol(role) for role in Role}
        self.piece = piece

    def send(self, role: Role, packet: Packet) -> list[Packet]:
        data = self.ends[role].encode(packet)
        peer = self.ends[role.peer]
        seen: list[Packet] = []
        for at in range(0, len(data), self.piece):
            seen += peer.feed_untrusted(data[at : at + self.piece])
        return seen

    def states(self) -> set[ConnectionState]:
        return {end.state for end in self.ends.values()}

    @classmethod
    def open(cls, piece: int = 1 << 20) -> ConnectionPair:
        pair = cls(piece)
        pair.send(Role.CLIENT, HELLO)
        pair.send(Role.RELAY, WELCOME)
        return pair


def test_both_ends_agree_on_the_state_through_a_whole_life():
    pair = ConnectionPair(piece=1)
    steps = [
        (Role.CLIENT, HELLO, ConnectionState.OFFERED),
        (Role.RELAY, WELCOME, ConnectionState.OPEN),
        (Role.CLIENT, Subscribe("t"), ConnectionState.OPEN),
        (Role.RELAY, Publish("t", b"e"), ConnectionState.OPEN),
        (Role.CLIENT, ClientClose(), ConnectionState.DRAINING),
        (Role.RELAY, RelayRequest(1, b"late", 10), ConnectionState.DRAINING),
        (Role.CLIENT, ClientReply(1, b"still here", None), ConnectionState.DRAINING),
        (Role.RELAY, RelayClose(""), ConnectionState.CLOSED),
    ]
    assert pair.states() == {ConnectionState.NEW}
    for role, packet, after in steps:
        assert pair.send(role, packet) == [packet]
        assert pair.states() == {after}


def test_a_denied_client_is_closed_on_both_ends():
    pair = ConnectionPair()
    pair.send(Role.CLIENT, ClientInit("iris-client-magic", "v0.9", ""))
    reason = version_refusal("v0.9")
    assert reason is not None
    assert "v0.9" in reason
    assert "v1.0-draft2" in reason
    assert pair.send(Role.RELAY, Deny(RELAY_MAGIC, reason)) == [Deny(RELAY_MAGIC, reason)]
    assert pair.states() == {ConnectionState.CLOSED}


def test_the_version_of_this_protocol_is_not_refused():
    assert version_refusal("v1.0-draft2") is None


@given(data=st.data(), role=st.sampled_from(Role), piece=st.integers(1, 64))
def test_in_an_open_connection_each_side_reads_what_the_other_says(data, role, piece):
    packets = data.draw(st.lists(talk_of(role), max_size=4))
    pair = ConnectionPair.open(piece)
    for packet in packets:
        assert pair.send(role, packet) == [packet]
    assert pair.states() == {ConnectionState.OPEN}


@pytest.mark.parametrize("packet", [WELCOME, RelayClose(""), Publish("t", b"x")])
def test_what_may_not_be_sent_now_is_our_error_and_changes_nothing(packet: Packet):
    relay = IrisProtocol(Role.RELAY)
    with pytest.raises(IrisProtocolError, match="may not come in state new") as caught:
        relay.encode(packet)
    assert caught.value.ours
    assert relay.state is ConnectionState.NEW


def test_a_client_of_ours_says_nothing_between_init_and_the_answer():
    client = IrisProtocol(Role.CLIENT)
    client.encode(HELLO)
    with pytest.raises(IrisProtocolError, match="offered"):
        client.encode(Subscribe("t"))


def test_a_relay_takes_what_an_eager_client_sends_with_its_init():
    """The real relay does; what was sent early is handled after the answer."""
    relay = IrisProtocol(Role.RELAY)
    eager = encode_packet(HELLO) + encode_packet(Subscribe("t"))
    assert relay.feed_untrusted(eager) == [HELLO, Subscribe("t")]
    relay.encode(WELCOME)
    assert relay.state is ConnectionState.OPEN


@pytest.mark.parametrize("early", [Publish("t", b"x"), RelayClose("")])
def test_a_client_takes_nothing_but_the_answer_to_its_init(early: Packet):
    client = IrisProtocol(Role.CLIENT)
    client.encode(HELLO)
    with pytest.raises(IrisProtocolError):
        client.feed_untrusted(encode_packet(early))
    assert client.state is ConnectionState.CLOSED


@pytest.mark.parametrize("again", [HELLO, ClientClose()])
def test_init_or_close_a_second_time_is_a_violation(again: Packet):
    pair = ConnectionPair.open()
    pair.send(Role.CLIENT, ClientClose())
    with pytest.raises(IrisProtocolError) as caught:
        pair.ends[Role.RELAY].feed_untrusted(encode_packet(again))
    assert not caught.value.ours


@pytest.mark.parametrize("role", Role)
def test_a_wrong_magic_is_a_violation_that_shows_it(role: Role):
    end = IrisProtocol(role)
    if role is Role.CLIENT:
        end.encode(HELLO)
    wrong = {Role.CLIENT: RelayInit("magic?", "v1"), Role.RELAY: ClientInit("magic?", "v1", "")}
    with pytest.raises(IrisProtocolError, match="'magic\\?' instead of"):
        end.feed_untrusted(encode_packet(wrong[role]))


@pytest.mark.parametrize(
    ("role", "first", "hint"),
    [
        (Role.CLIENT, b"HTTP/1.1 400 Bad Request\r\n", "HTTP server"),
        (Role.CLIENT, b"\x00\x00\x00\x12\x00\x00\x00\x01E_BAD_PROTOCOL", "nsqd"),
        (Role.CLIENT, b"\x15\x03\x01\x00\x02\x02\x16", "TLS"),
        (Role.RELAY, b"GET / HTTP/1.1\r\n", "HTTP client"),
        (Role.RELAY, b"  V2\x00\x00", "NSQ client"),
        (Role.RELAY, b"\x16\x03\x01\x02\x00", "TLS client"),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_a_stranger_on_the_port_is_named(role: Role, first: bytes, hint: str, piece: int):
    end = IrisProtocol(role)
    if role is Role.CLIENT:
        end.encode(HELLO)

    def read_all() -> None:
        for at in range(0, len(first), piece):
            end.feed_untrusted(first[at : at + piece])

    with pytest.raises(IrisProtocolError, match=hint):
        read_all()


def test_no_hint_once_the_peer_has_shown_that_it_speaks_iris():
    pair = ConnectionPair.open()
    with pytest.raises(IrisProtocolError) as caught:
        pair.ends[Role.CLIENT].feed_untrusted(b"HTTP/1.1")
    assert not caught.value.hint


def test_packets_before_a_wrong_one_are_handed_over():
    pair = ConnectionPair.open()
    good = [Subscribe("a"), Subscribe("b")]
    with pytest.raises(IrisProtocolError) as caught:
        pair.ends[Role.RELAY].feed_untrusted(b"".join(map(encode_packet, [*good, HELLO])))
    assert list(caught.value.decoded) == good


def test_what_was_under_way_when_the_connection_closed_is_passed_over():
    pair = ConnectionPair.open()
    relay = pair.ends[Role.RELAY]
    relay.encode(RelayClose("going down"))
    assert relay.feed_untrusted(encode_packet(Subscribe("t"))) == []
    client = pair.ends[Role.CLIENT]
    late = encode_packet(RelayClose("bye")) + encode_packet(Publish("t", b"x"))
    assert client.feed_untrusted(late) == [RelayClose("bye")]
    assert client.state is ConnectionState.CLOSED


@given(garbage=st.binary(max_size=100), role=st.sampled_from(Role))
def test_garbage_at_any_time_raises_the_one_error(garbage, role):
    for end in (ConnectionPair().ends[role], ConnectionPair.open().ends[role]):
        violation = None
        try:
            end.feed_untrusted(garbage)
        except IrisProtocolError as error:
            violation = error
        if violation is not None:
            assert end.state is ConnectionState.CLOSED
            assert not violation.ours
