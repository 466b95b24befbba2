"""Anything fed to the embedded relay without its sockets: what must hold is checked.

Two parts. The decoder: cut or whole, a stream means the same, what it decodes
encodes to what decodes the same, and only the protocol's one error comes out.
The relay: sessions on connections without sockets under a clock that is moved, with
the faults of a real node or none. Whatever they send, only a violation ends a
session, what was written reads as packets, bounds hold, and in the end the
relay holds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.testing import ManualClock
from irismq_runtime.embedded.relay import Faults, RelayOptions
from irismq_runtime.embedded.relay.calls import Timeouts
from irismq_runtime.embedded.relay.context import RelayContext
from irismq_runtime.embedded.relay.faults import FaultInjector
from irismq_runtime.embedded.relay.router import InMemoryBackEnd
from irismq_runtime.embedded.relay.session import Session
from irismq_runtime.embedded.relay.stats import RelayTotals
from irismq_runtime.protocols.iris import (
    ConnectionState,
    IrisProtocolError,
    PacketDecoder,
    encode_packet,
)
from irismq_runtime.protocols.iris.last_will import WILL_ID, LastWill, last_will_packet
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
    Role,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
    Unsubscribe,
)
from tests.fuzz.script import Script, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.embedded.relay.write_queue import Traffic

FAULTS: Final = (
    Faults(),
    Faults.like_real(),
    Faults(silent_when_unknown=False, member_window=2),
    Faults(lose_replies=0.3, lose_requests=0.3, drops_double_subscribers=False),
)
OPTIONS: Final = RelayOptions(max_tunnels=6, max_calls=8, max_subscriptions=3)


# -- decoder -----------------------------------------------------------------------------


def hear(role: Role, pieces: Sequence[bytes]) -> tuple[list[Packet], bool]:
    """The packets of a stream given in pieces, and whether it broke the protocol."""
    decoder, got = PacketDecoder(role), []
    try:
        for piece in pieces:
            got.extend(decoder.decode_untrusted(piece))
    except IrisProtocolError as fault:
        return got + list(fault.decoded), True
    return got, False


def decoders(script: Script) -> None:
    """A stream of packets means the same whole, cut, byte by byte and encoded again."""
    role = (Role.CLIENT, Role.RELAY)[script.below(2)]
    data = script.rest()
    packets, broken = hear(role, [data])
    assert hear(role, cut(data, Script(data), 4)) == (packets, broken)
    assert hear(role, [data[at : at + 1] for at in range(len(data))]) == (packets, broken)
    again = b"".join(encode_packet(packet) for packet in packets)
    assert hear(role, [again]) == (packets, False)


# -- the relay ---------------------------------------------------------------------------


class FakeConnection:
    """A connection that keeps what is written and can be told to be congested."""

    def __init__(self) -> None:
        self.congested = False
        self.waiting = 0
        self.written = bytearray()
        self.ended = ""
        self.holds: set[str] = set()

    def push(self, lane: Traffic, data: bytes) -> None:
        assert self.ended != "finished"
        self.written += data

    def schedule_drop(self, why: str) -> None:
        self.ended = "doomed"

    def finish(self) -> None:
        self.ended = "finished"

    def hold(self, why: str) -> None:
        self.holds.add(why)

    def release(self, why: str) -> None:
        self.holds.discard(why)


class RelayUnderTest:
    """One relay and four clients at a time: two of `a`, one of `b`, one plain."""

    def __init__(self, script: Script) -> None:
        faults = FAULTS[script.below(len(FAULTS))]
        self.script = script
        self.clock = ManualClock()
        self.back_end = InMemoryBackEnd()
        self.context = RelayContext(
            options=OPTIONS,
            clock=self.clock,
            back_end=self.back_end,
            counters=RelayTotals(),
            timeouts=Timeouts(self.clock, lambda: None),
            faults=faults,
            injector=FaultInjector(faults) if faults.names else None,
            end_turn=lambda: None,
            overrun=lambda: None,
        )
        self.clients = [self._come(cluster) for cluster in ("a", "a", "b", "")]
        self.at = 0

    def _come(self, cluster: str) -> tuple[Session, FakeConnection, str]:
        connection: Any = FakeConnection()
        session = Session(self.context, connection)
        session.feed_untrusted(encode_packet(ClientInit(CLIENT_MAGIC, VERSION, cluster)))
        return session, connection, cluster

    def step(self) -> None:
        STEPS[self.script.below(len(STEPS))](self)
        for at, (session, connection, _) in enumerate(self.clients):
            window = self.context.faults.member_window
            assert not session._held or len(session._inbound) >= window
            assert (
                connection.ended
                or session.state is not ConnectionState.DRAINING
                or session._inbound
            )
            assert ("calls" in connection.holds) == (
                session.pending > OPTIONS.max_calls
            ) or connection.ended
            if connection.ended:
                self._leave(at)

    def _leave(self, at: int) -> None:
        session, connection, cluster = self.clients[at]
        session.lost(None)
        assert session.pending == session.tunnel_ends == 0
        decoder = PacketDecoder(Role.RELAY)
        decoder.decode_untrusted(bytes(connection.written))
        assert decoder.buffered == 0
        self.clients[at] = self._come(cluster)

    def _say(self, data: bytes) -> None:
        session, connection, _ = self.clients[self.at]
        if not connection.ended and not connection.holds:
            session.feed_untrusted(data)

    # -- steps

    def say_packet(self) -> None:
        self._say(encode_packet(self._packet()))

    def say_cut(self) -> None:
        data = encode_packet(self._packet())
        place = self.script.below(len(data) + 1)
        self._say(data[:place])
        self._say(data[place:])

    def say_many(self) -> None:
        self._say(b"".join(encode_packet(self._packet()) for _ in range(self.script.below(6))))

    def say_raw(self) -> None:
        self._say(self.script.raw(40))

    def _packet(self) -> Packet:
        script = self.script
        make = PACKETS[script.below(len(PACKETS))]
        return make(script.byte(), script.byte())

    def turn_to(self) -> None:
        self.at = self.script.below(len(self.clients))

    def wait(self) -> None:
        self.clock.advance((0.001, 0.005, 0.02, 4.0)[self.script.below(4)])

    def congest(self) -> None:
        session, connection, _ = self.clients[self.at]
        connection.congested = not connection.congested
        if not connection.congested:
            session.drained()

    def lose(self) -> None:
        self._leave(self.at)

    def end(self) -> None:
        for session, connection, _ in self.clients:
            session.lost(None)
            PacketDecoder(Role.RELAY).decode_untrusted(bytes(connection.written))
            assert session.pending == session.tunnel_ends == 0
        assert self.back_end.members() == self.back_end.topics() == {}
        assert len(self.context.timeouts) == 0
        self.clock.advance(self.context.options.will_seconds)
        assert len(self.context.wills) == 0


def name(value: int) -> str:
    return ("a", "b", "c", "")[value % 4]


PACKETS: Final[tuple[Callable[[int, int], Packet], ...]] = (
    lambda a, _: ClientBroadcast(name(a), b"x"),
    lambda a, b: ClientRequest(a, name(a), b"x", b % 21),
    lambda a, b: ClientRequest(a, "b", b"x", b),
    lambda a, _: ClientReply(a % 8, b"x", None),
    lambda a, b: ClientReply(a % 8, None, ("", "fault")[b % 2]),
    lambda a, b: last_will_packet(LastWill(bytes((a % 2,)) * 16, name(b % 3), b"gone"[: a % 5])),
    lambda a, _: ClientReply(WILL_ID, bytes((a,)) * (a % 30), None),
    lambda a, _: Subscribe(name(a)),
    lambda a, _: Unsubscribe(name(a)),
    lambda a, _: Publish(name(a), b"x"),
    lambda a, b: ClientTunnelInit(b % 4, name(a), b % 21),
    lambda a, b: ClientTunnelConfirm(a % 8, 4 + b % 4),
    lambda a, b: TunnelAllow(b % 8, (0, 1, 5, 2**61)[a % 4]),
    lambda a, b: TunnelTransfer(b % 8, (0, 3)[a % 2], b"xyz"),
    lambda a, _: ClientTunnelClose(a % 8),
    lambda _a, _b: ClientClose(),
)

STEPS: Final[tuple[Callable[[RelayUnderTest], None], ...]] = (
    RelayUnderTest.say_packet,
    RelayUnderTest.say_packet,
    RelayUnderTest.say_packet,
    RelayUnderTest.say_cut,
    RelayUnderTest.say_many,
    RelayUnderTest.say_raw,
    RelayUnderTest.turn_to,
    RelayUnderTest.turn_to,
    RelayUnderTest.wait,
    RelayUnderTest.congest,
    RelayUnderTest.lose,
)


def target(data: bytes) -> None:
    """One input: raises when something does not hold."""
    script = Script(data)
    if script.below(4) == 0:
        decoders(script)
        return
    world = RelayUnderTest(script)
    while not script.over:
        world.step()
    world.end()
