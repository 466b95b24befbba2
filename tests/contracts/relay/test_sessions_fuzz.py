"""Any packets from any clients in any order, without sockets: no surprise, nothing left over.

Several sessions of one relay talk on fake connections under a manual clock. Whatever
they send, only a violation ends a session, every packet written can be read by
a client, and when all are gone the relay holds nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.testing import ManualClock
from irismq_runtime.embedded.relay import Faults, RelayOptions
from irismq_runtime.embedded.relay.calls import Timeouts
from irismq_runtime.embedded.relay.context import RelayContext
from irismq_runtime.embedded.relay.faults import FaultInjector
from irismq_runtime.embedded.relay.router import InMemoryBackEnd
from irismq_runtime.embedded.relay.session import Session
from irismq_runtime.embedded.relay.stats import RelayTotals
from irismq_runtime.protocols.iris import PacketDecoder, encode_packet
from irismq_runtime.protocols.iris.last_will import TOKEN_BYTES, WILL_ID, LastWill, last_will_packet
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Packet,
    Publish,
    RelayClose,
    RelayReply,
    Role,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
    Unsubscribe,
)

if TYPE_CHECKING:
    from irismq_runtime.embedded.relay.write_queue import Traffic


class FakeConnection:
    """A connection that keeps what is written and can be told to be congested."""

    def __init__(self) -> None:
        self.congested = False
        self.waiting = 0
        self.written = bytearray()
        self.ended: str | None = None

    def push(self, lane: Traffic, data: bytes) -> None:
        assert self.ended is None or self.ended == "doomed"
        self.written += data

    def schedule_drop(self, why: str) -> None:
        self.ended = "doomed"

    def finish(self) -> None:
        self.ended = "finished"

    def hold(self, why: str) -> None:
        pass

    def release(self, why: str) -> None:
        pass


small = st.integers(0, 3)
names = st.sampled_from(["a", "b"])
packets = st.one_of(
    st.builds(ClientBroadcast, names, st.just(b"x")),
    st.builds(ClientRequest, small, names, st.just(b"x"), st.integers(0, 20)),
    st.builds(ClientReply, small, st.just(b"x"), st.none()),
    st.builds(ClientReply, small, st.none(), st.sampled_from(["", "fault"])),
    st.builds(
        lambda token, cluster, message: last_will_packet(LastWill(token, cluster, message)),
        st.sampled_from([bytes(TOKEN_BYTES), bytes(range(TOKEN_BYTES))]),
        names,
        st.sampled_from([b"", b"gone"]),
    ),
    st.just(ClientReply(WILL_ID, b"no will", None)),
    st.builds(Subscribe, names),
    st.builds(Unsubscribe, names),
    st.builds(Publish, names, st.just(b"x")),
    st.builds(ClientTunnelInit, small, names, st.integers(0, 20)),
    st.builds(ClientTunnelConfirm, small, st.integers(4, 7)),
    st.builds(TunnelAllow, st.integers(0, 7), st.sampled_from([0, 1, 5, 2**61])),
    st.builds(TunnelTransfer, st.integers(0, 7), st.sampled_from([0, 3]), st.just(b"xyz")),
    st.builds(ClientTunnelClose, st.integers(0, 7)),
    st.just(ClientClose()),
)
steps = st.one_of(
    st.tuples(st.just("say"), small, packets),
    st.tuples(st.just("bytes"), small, st.binary(min_size=1, max_size=5)),
    st.tuples(st.just("pass"), st.sampled_from([1, 5, 4000]), st.none()),
    st.tuples(st.just("congest"), small, st.none()),
    st.tuples(st.just("drain"), small, st.none()),
    st.tuples(st.just("lose"), small, st.none()),
)


class RelaySessions:
    """One relay without sockets, and as many clients as have come so far."""

    def __init__(self, faults: Faults) -> None:
        self.clock = ManualClock()
        self.back_end = InMemoryBackEnd()
        self.context = RelayContext(
            options=RelayOptions(max_tunnels=6),
            clock=self.clock,
            back_end=self.back_end,
            counters=RelayTotals(),
            timeouts=Timeouts(self.clock, lambda: None),
            faults=faults,
            injector=FaultInjector(faults) if faults.names else None,
            end_turn=lambda: None,
            overrun=lambda: None,
        )
        self.clients = [self.come(name) for name in ("a", "a", "b", "")]
        self.gone: list[FakeConnection] = []

    def come(self, cluster: str) -> tuple[Session, FakeConnection]:
        connection = FakeConnection()
        session = Session(self.context, connection)  # type: ignore[arg-type]  # a connection without a socket
        session.feed_untrusted(encode_packet(ClientInit(CLIENT_MAGIC, VERSION, cluster)))
        return session, connection

    def lose(self, index: int) -> None:
        session, connection = self.clients[index]
        session.lost(None)
        self.gone.append(connection)
        self.clients[index] = self.come(session.cluster)

    def step(self, what: str, which: int, packet: Packet | bytes | None) -> None:
        if what == "pass":
            self.clock.advance(which / 1000)
            return
        session, connection = self.clients[which]
        if what == "lose" or connection.ended is not None:
            self.lose(which)
        elif what == "congest":
            connection.congested = True
        elif what == "drain":
            connection.congested = False
            session.drained()
        elif isinstance(packet, bytes):
            session.feed_untrusted(packet)
        elif packet is not None:
            session.feed_untrusted(encode_packet(packet))


@settings(max_examples=200, deadline=None)
@given(
    script=st.lists(steps, max_size=60),
    faults=st.sampled_from([Faults(), Faults.like_real(), Faults(silent_when_unknown=False)]),
)
def test_whatever_clients_do_the_relay_keeps_its_books(script, faults):
    world = RelaySessions(faults)
    for what, which, packet in script:
        world.step(what, which, packet)
    for session, connection in world.clients:
        session.lost(None)
        world.gone.append(connection)
    assert world.back_end.members() == world.back_end.topics() == {}
    assert len(world.context.timeouts) == 0
    world.clock.advance(1.0)
    assert len(world.context.wills) == 0
    assert all(session.pending == session.tunnel_ends == 0 for session, _ in world.clients)
    for connection in world.gone:
        decoder = PacketDecoder(Role.RELAY)
        decoder.decode_untrusted(bytes(connection.written))
        assert decoder.buffered == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["answer", "fault", "die", "mute"]))),
    st.randoms(use_true_random=False),
)
def test_every_request_gets_exactly_one_answer(plan, rng):
    """However members behave, each of a caller's ids comes back once, by its deadline."""
    world = RelaySessions(Faults())
    caller, connection = world.clients[3]
    asked = itertools.count()
    for timeout_ms, fate in plan:
        caller.feed_untrusted(encode_packet(ClientRequest(next(asked), "b", b"x", timeout_ms)))
        if fate == "die":
            world.lose(2)
        elif fate in {"answer", "fault"}:
            fault = "no" if fate == "fault" else None
            body = b"yes" if fate == "answer" else None
            reply = ClientReply(rng.randrange(len(plan)), body, fault)
            world.clients[2][0].feed_untrusted(encode_packet(reply))
        world.clock.advance(rng.choice([0.0, 0.001, 0.01]))
    world.clock.advance(1.0)
    written = PacketDecoder(Role.RELAY).decode_untrusted(bytes(connection.written))
    ids = [packet.id for packet in written if isinstance(packet, RelayReply)]
    assert sorted(ids) == list(range(len(plan)))
    assert caller.pending == 0


def test_a_leaving_members_own_request_is_answered_before_the_close():
    """The end of its last request closes it; the answer must be read before that."""
    world = RelaySessions(Faults())
    member, connection = world.clients[2]
    member.feed_untrusted(encode_packet(ClientRequest(7, "b", b"x", 50)))
    member.feed_untrusted(encode_packet(ClientClose()))
    world.clock.advance(0.05)
    written = PacketDecoder(Role.RELAY).decode_untrusted(bytes(connection.written))
    assert [type(packet) for packet in written][2:] == [RelayReply, RelayClose]
    assert connection.ended == "finished"
