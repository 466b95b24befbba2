"""Requests and tunnels between relays over a network in memory that may lose messages."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.testing import ManualClock
from irismq_runtime.embedded.relay.calls import PendingCall, Timeouts
from irismq_runtime.embedded.relay.nats.calls_in import CallsIn
from irismq_runtime.embedded.relay.nats.calls_out import CallsOut
from irismq_runtime.embedded.relay.nats.context import NatsContext
from irismq_runtime.embedded.relay.nats.frames import (
    FrameError,
    Status,
    TunnelItemKind,
    answer_item,
    answers_message,
    broadcasts_message,
    decode_opening_untrusted,
    requests_message,
    tunnel_item,
    tunnel_message,
)
from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats
from irismq_runtime.embedded.relay.nats.outgoing import Outgoing
from irismq_runtime.embedded.relay.nats.subjects import RELAY_ID_BYTES, Subjects
from irismq_runtime.embedded.relay.nats.tunnels import NatsTunnels
from irismq_runtime.embedded.relay.router import RoutingTable
from irismq_runtime.embedded.relay.tunnels import Half, TunnelSetup
from irismq_runtime.observe.logs import RateLimitedLog
from irismq_runtime.ports import OVERLOADED
from irismq_runtime.protocols.iris import IrisProtocolError
from irismq_runtime.protocols.iris.packets import (
    RelayTunnelClose,
    RelayTunnelConfirm,
    TunnelAllow,
    TunnelTransfer,
)
from irismq_runtime.protocols.iris.tunnel import RELAY_ALLOWANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.embedded.relay.nats.connection import NatsMessage
    from irismq_runtime.embedded.relay.tunnels import OfferedTunnel
    from irismq_runtime.protocols.iris.packets import RelayPacket

MAX_PAYLOAD = 2_000
OPTIONS = NatsOptions(keep_interval=1.0, silence_limit=3.0)


class Relay:
    """The parts of one relay that speak to others."""

    def __init__(self, net: Network, number: int, options: NatsOptions) -> None:
        relay_id = bytes((number,)) * RELAY_ID_BYTES
        self.id = relay_id
        self.subjects = Subjects("", relay_id)
        self.routing = RoutingTable()
        self.outgoing = Outgoing(options, lambda: None)
        self.stats = NatsStats()
        self.timeouts = Timeouts(net.clock, lambda: None)
        context = NatsContext(
            relay_id,
            self.subjects,
            self.routing,
            self.outgoing,
            options,
            self.stats,
            RateLimitedLog("tests", net.clock),
            now=net.clock.monotonic,
            largest=lambda: MAX_PAYLOAD,
        )
        self.calls_out = CallsOut(context)
        self.calls_in = CallsIn(context, self.timeouts, self.calls_out)
        self.tunnels = NatsTunnels(context)

    def take(self, subject: str, reply: str, data: bytes, *, nobody: bool) -> None:
        if subject.startswith(f"{self.subjects.answers}."):
            if nobody:
                self.calls_out.on_nobody_untrusted(subject)
            elif subject.endswith(".d"):
                self.calls_in.on_direct_untrusted(reply, data)
            else:
                self.calls_out.on_answers_untrusted(data)
        elif self.subjects.tunnel_end_of_untrusted(subject) is not None:
            self.tunnels.on_message_untrusted(subject, reply, data, nobody=nobody)
        else:
            opening = decode_opening_untrusted(data)
            if opening is None:
                self.calls_in.on_requests_untrusted("c", reply, data)
            else:
                self.tunnels.on_opening_untrusted("c", reply, *opening)


class Network:
    """What NATS does: each message to one of a queue group, or back when there is none."""

    def __init__(self, relays: int = 2, seed: int = 0, options: NatsOptions = OPTIONS) -> None:
        self.clock = ManualClock()
        self.relays = [Relay(self, number + 1, options) for number in range(relays)]
        self.random = random.Random(seed)
        self.loses: Callable[[NatsMessage], bool] = lambda message: False
        self.lost = 0

    def settle(self) -> None:
        """Carry messages until none is under way."""
        while messages := [(r, m) for r in self.relays for m in r.outgoing.take()]:
            for sender, message in messages:
                assert len(message.payload) <= MAX_PAYLOAD
                if self.loses(message):
                    self.lost += 1
                else:
                    self._carry(sender, message)

    def _carry(self, sender: Relay, message: NatsMessage) -> None:
        subject, reply, payload = message
        taker = self._taker(subject)
        if taker is not None:
            taker.take(subject, reply, payload, nobody=False)
        elif reply:
            sender.take(reply, "", b"", nobody=True)

    def _taker(self, subject: str) -> Relay | None:
        if subject == self.relays[0].subjects.requests("c"):
            members = [r for r in self.relays for _ in r.routing.members("c")]
            return self.random.choice(members) if members else None
        for relay in self.relays:
            mine = (f"{relay.subjects.answers}.", relay.subjects.tunnel_end(1)[:-1])
            if subject.startswith(mine):
                return relay
        return None


class Client:
    """A caller, a member, and the owner of ends of tunnels."""

    congested = False
    load = 0

    def __init__(self, relay: Relay, *, says: str | None = None) -> None:
        self.relay = relay
        self.says = says
        self.requests: list[bytes] = []
        self.answers: list[tuple[int, bytes | None, str | None]] = []
        self.offers: list[OfferedTunnel] = []
        self.packets: list[RelayPacket] = []

    def ask(self, number: int, body: bytes, timeout_ms: int = 1_000) -> PendingCall:
        call = PendingCall(self, number, timeout_ms, self.relay.timeouts)
        self.relay.calls_out.request("c", call, body, up=True)
        return call

    def answered(self, call: PendingCall, body: bytes | None, fault: str | None) -> None:
        self.answers.append((call.id, body, fault))

    def take_request(self, call: PendingCall, body: bytes) -> None:
        self.requests.append(body)
        if self.says == "":
            return
        call.answer(None if self.says else body, self.says)

    def take_broadcast(self, packet: bytes) -> None: ...

    def take_event(self, topic: str, packet: bytes) -> None: ...

    def take_tunnel(self, tunnel: OfferedTunnel) -> None:
        self.offers.append(tunnel)

    def send_tunnel(self, packet: RelayPacket) -> None:
        self.packets.append(packet)

    def tunnel_decided(self, tunnel: TunnelSetup) -> None: ...

    def tunnel_over(self, half: Half) -> None: ...


def member_at(relay: Relay, *, says: str | None = None) -> Client:
    member = Client(relay, says=says)
    relay.routing.join("c", member)
    return member


# Requests


@given(st.integers(1, 300), st.integers(0, 10_000))
def test_every_request_is_answered_once_wherever_the_members_are(count, seed):
    net = Network(3, seed)
    members = [member_at(net.relays[at]) for at in (0, 1, 1)]
    caller = Client(net.relays[2])
    for number in range(count):
        caller.ask(number, b"%d" % number)
    net.settle()
    assert sorted(caller.answers) == [(n, b"%d" % n, None) for n in range(count)]
    assert sum(len(member.requests) for member in members) == count
    assert len(net.relays[2].calls_out) == 0
    assert net.relays[0].calls_in.in_hand == net.relays[1].calls_in.in_hand == 0


@given(st.integers(1, 400))
def test_a_burst_goes_out_in_few_messages_of_few_requests(count):
    net = Network()
    caller = Client(net.relays[0])
    for number in range(count):
        caller.ask(number, b"x")
    messages = net.relays[0].outgoing.take()
    assert len(messages) <= max(3, count**0.5 + 1)
    assert count <= 3 or len(messages) > 1


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_full_are_passed_over_and_each_is_asked_once(seed, free_at):
    """Of twenty relays nineteen become full; the one that is free has answered before."""
    net = Network(21, seed)
    members = [member_at(relay) for relay in net.relays[1:]]
    caller = Client(net.relays[0])
    number = 0
    while not all(member.requests for member in members):
        number += 1
        caller.ask(number, b"%d" % number)
        net.settle()
    for at, member in enumerate(members, 1):
        member.says = None if at == free_at else OVERLOADED
        member.requests.clear()
    caller.answers.clear()
    caller.ask(0, b"x")
    net.settle()
    assert caller.answers == [(0, b"x", None)]
    assert members[free_at - 1].requests == [b"x"]
    assert all(len(member.requests) <= 1 for member in members)


def test_where_all_are_full_each_is_asked_once_and_the_caller_is_told():
    net = Network(3)
    full = [member_at(relay, says=OVERLOADED) for relay in net.relays]
    caller = Client(net.relays[0])
    for number in range(50):
        caller.ask(number, b"x")
        net.settle()
    assert caller.answers == [(number, None, OVERLOADED) for number in range(50)]
    assert all(len(member.requests) <= 50 for member in full)


def test_while_a_relay_leaves_requests_go_straight_to_the_others():
    net = Network(3)
    here, stays, leaves = net.relays
    member_at(stays)
    caller = Client(here)
    caller.ask(1, b"x")
    net.settle()
    caller.ask(2, b"x")
    (message,) = here.outgoing.take()
    assert message.subject == here.subjects.requests("c")
    nobody = answer_item(1, Status.NOBODY, b"")
    here.calls_out.on_answers_untrusted(answers_message(leaves.id, [nobody]))
    caller.ask(3, b"x")
    again, new = here.outgoing.take()
    assert again.subject == new.subject == here.subjects.direct(stays.id)
    net.clock.advance(3 * OPTIONS.linger)
    caller.ask(4, b"x")
    (message,) = here.outgoing.take()
    assert message.subject == here.subjects.requests("c")


def test_a_relay_that_is_gone_is_not_asked_again_and_another_is():
    net = Network(4)
    members = [member_at(relay) for relay in net.relays[1:]]
    caller = Client(net.relays[0])
    while not all(member.requests for member in members):
        caller.ask(1, b"x")
        net.settle()
    members[0].says = OVERLOADED
    net.relays[2].routing.leave("c", members[1])  # has no member any more, and says so
    gone = net.relays.pop(3)  # is gone, as NATS says
    gone.routing.leave("c", members[2])
    caller.answers.clear()
    caller.ask(2, b"y")
    net.settle()
    assert caller.answers == [(2, None, OVERLOADED)]
    member_at(net.relays[2])
    members[0].says = None
    caller.ask(3, b"z")
    net.settle()
    assert caller.answers[-1] == (3, b"z", None)


def test_without_room_to_keep_requests_the_full_are_passed_on_to_the_caller():
    net = Network(options=replace(OPTIONS, kept_limit=10))
    member_at(net.relays[1], says=OVERLOADED)
    caller = Client(net.relays[0])
    caller.ask(1, b"x" * 11)
    net.settle()
    assert [fault for _, _, fault in caller.answers] in ([OVERLOADED], [None])
    assert len(net.relays[0].calls_out) == 0


def test_more_requests_than_a_relay_takes_in_hand_are_overloaded():
    net = Network(options=replace(OPTIONS, max_remote_calls=2))
    silent = member_at(net.relays[1], says="")
    caller = Client(net.relays[0])
    for number in range(3):
        caller.ask(number, b"x", 1_000)
    net.settle()
    assert len(silent.requests) == 2
    assert len(caller.answers) == 1
    assert caller.answers[0][2] == OVERLOADED
    net.clock.advance(2.0)
    assert net.relays[1].calls_in.in_hand == 0
    assert len(caller.answers) == 3


def test_nobody_is_a_timeout_at_once_and_a_lost_answer_one_in_its_time():
    net = Network()
    caller = Client(net.relays[0])
    caller.ask(1, b"x", 1_000)
    net.settle()
    assert caller.answers == [(1, None, None)]
    member_at(net.relays[1])
    net.loses = lambda message: ".a." in message.subject
    caller.ask(2, b"x", 1_000)
    net.settle()
    net.clock.advance(0.9)
    assert len(caller.answers) == 1
    net.clock.advance(0.2)
    assert caller.answers[1] == (2, None, None)
    assert len(net.relays[0].calls_out) == 0


def test_a_request_that_waited_has_only_what_is_left_of_its_time():
    net = Network()
    told: list[int] = []

    class Listening(Client):
        def take_request(self, call: PendingCall, body: bytes) -> None:
            told.append(call.timeout_ms)

    net.relays[1].routing.join("c", Listening(net.relays[1]))
    caller = Client(net.relays[0])
    for up in (True, False):
        call = PendingCall(caller, 1, 1_000, net.relays[0].timeouts)
        net.relays[0].calls_out.request("c", call, b"x", up=up)
        net.clock.advance(0.25)
        net.settle()
    assert told == [1_000, 750]


def test_answers_and_words_of_nobody_that_mean_nothing_here_are_passed_over():
    net = Network()
    relay = net.relays[0]
    relay.calls_out.on_answers_untrusted(
        answers_message(b"x" * RELAY_ID_BYTES, [answer_item(99, status, b"?") for status in Status])
    )
    relay.calls_out.on_nobody_untrusted(relay.subjects.batch(5, 5))
    for subject in (relay.subjects.batch(0, 10**9), f"{relay.subjects.answers}.r"):
        with pytest.raises(FrameError):
            relay.calls_out.on_nobody_untrusted(subject)
    with pytest.raises(FrameError):
        relay.calls_in.on_requests_untrusted("c", "elsewhere", requests_message(0, [], []))
    with pytest.raises(FrameError):
        relay.calls_out.on_answers_untrusted(broadcasts_message(relay.id, []))


# Tunnels


class Ends:
    """A tunnel from a client at the first relay to a member at the second, open."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.member = member_at(net.relays[1])
        self.caller = Client(net.relays[0])
        self.tunnel = TunnelSetup(self.caller, 5)
        self.tunnel.expire_in(5_000, net.relays[0].timeouts)
        net.relays[0].tunnels.open_tunnel("c", self.tunnel)
        net.settle()
        self.near = self.tunnel.initiator
        self.far = Half(self.member, 7)
        assert self.member.offers[0].accept(self.far)
        net.settle()
        self.far.allow_untrusted(1 << 30)
        assert RelayTunnelConfirm(5, False, 65_536) in self.caller.packets

    def received(self) -> bytes:
        return b"".join(p.chunk for p in self.member.packets if isinstance(p, TunnelTransfer))

    def closed(self, client: Client) -> bool:
        return any(isinstance(packet, RelayTunnelClose) for packet in client.packets)


chunks = st.lists(st.binary(min_size=1, max_size=5_000), min_size=1, max_size=20)


@given(chunks, st.booleans())
def test_a_tunnel_brings_everything_in_order_and_grants_it_again(sent, one_turn):
    net = Network()
    ends = Ends(net)
    for chunk in sent:
        ends.near.transfer_untrusted(len(chunk), chunk)
        if not one_turn:
            net.settle()
    net.settle()
    assert ends.received() == b"".join(sent)
    granted = [p.granted for p in ends.caller.packets if isinstance(p, TunnelAllow)]
    assert sum(granted) == RELAY_ALLOWANCE + sum(map(len, sent))
    ends.near.close()
    net.settle()
    assert ends.closed(ends.member)
    assert len(net.relays[0].tunnels) == len(net.relays[1].tunnels) == 0


@given(chunks, st.integers(0, 1_000), st.floats(0.05, 0.5))
def test_a_tunnel_over_a_network_that_loses_brings_a_beginning_and_closes(sent, seed, chance):
    net = Network()
    ends = Ends(net)
    chances = random.Random(seed)
    net.loses = lambda message: chances.random() < chance
    for chunk in sent:
        ends.near.transfer_untrusted(len(chunk), chunk)
        net.settle()
    net.loses = lambda message: False
    for _ in range(5):  # the ends say that they are there, and learn what is missing
        net.clock.advance(1.0)
        for relay in net.relays:
            relay.tunnels.keep()
        net.settle()
    whole = b"".join(sent)
    assert whole.startswith(ends.received())
    closed = {ends.closed(ends.caller), ends.closed(ends.member)}
    assert closed == ({True} if net.lost else {False})
    if not net.lost:
        assert ends.received() == whole


def test_a_relay_that_is_gone_closes_the_tunnel_with_the_next_word():
    net = Network()
    ends = Ends(net)
    gone = net.relays.pop(1)
    net.clock.advance(1.0)
    net.relays[0].tunnels.keep()
    net.settle()
    assert ends.closed(ends.caller)
    assert len(gone.tunnels) == 1  # it has not heard of it yet


def test_a_relay_that_says_nothing_any_more_is_given_up():
    net = Network()
    ends = Ends(net)
    net.loses = lambda message: True
    for _ in range(5):
        net.clock.advance(1.0)
        net.relays[0].tunnels.keep()
        net.settle()
    assert ends.closed(ends.caller)


def test_tunnels_that_were_never_confirmed_are_forgotten_at_both_ends():
    net = Network()
    member, caller = member_at(net.relays[1]), Client(net.relays[0])
    tunnel = TunnelSetup(caller, 5)
    tunnel.expire_in(1_000, net.relays[0].timeouts)
    net.relays[0].tunnels.open_tunnel("c", tunnel)
    net.settle()
    net.clock.advance(1.1)
    assert caller.packets[0] == RelayTunnelConfirm(5, True, None)
    net.clock.advance(20.0)
    for relay in net.relays:
        relay.tunnels.keep()
    net.settle()
    assert len(net.relays[0].tunnels) == len(net.relays[1].tunnels) == 0
    late = Half(member, 7)
    assert not member.offers[0].accept(late)
    assert isinstance(member.packets[-1], RelayTunnelClose)


@pytest.mark.parametrize(
    "step",
    [
        tunnel_item(TunnelItemKind.TRANSFER, 1, b"x" * (RELAY_ALLOWANCE + 1)),
        tunnel_item(TunnelItemKind.ALLOW, 1, b""),
        tunnel_item(TunnelItemKind.CONFIRM, 1, b""),
        tunnel_item(TunnelItemKind.REFUSE, 1, b""),
    ],
)
def test_what_a_tunnel_may_not_say_closes_it_at_both_ends(step):
    net = Network()
    ends = Ends(net)
    near, far = net.relays[0].subjects.tunnel_end(1), net.relays[1].subjects.tunnel_end(1)
    with pytest.raises(FrameError):
        net.relays[1].tunnels.on_message_untrusted(
            far, near, tunnel_message(0, [step]), nobody=False
        )
    net.settle()
    assert ends.closed(ends.caller)
    assert ends.closed(ends.member)


def test_strangers_cannot_speak_on_a_way():
    net = Network(3)
    ends = Ends(net)
    far = net.relays[1].subjects.tunnel_end(1)
    hello = tunnel_message(0, [tunnel_item(TunnelItemKind.TRANSFER, 1, b"x")])
    for reply in ("", "elsewhere", net.relays[2].subjects.tunnel_end(1)):
        with pytest.raises(FrameError):
            net.relays[1].tunnels.on_message_untrusted(far, reply, hello, nobody=False)
    with pytest.raises(FrameError):
        net.relays[1].tunnels.on_opening_untrusted("c", "elsewhere", 1, 1)
    assert ends.received() == b""


class Chaos:
    """Three relays to which anything happens; `end` says what must be left of it: nothing."""

    ACTIONS = ("ask", "join", "leave", "open", "accept", "send", "grant", "close", "lose", "tick")

    def __init__(self, seed: int) -> None:
        self.net = Network(3, seed)
        self.random = random.Random(seed)
        self.members: list[Client] = []
        self.callers = [Client(relay) for relay in self.net.relays]
        self.asked = 0
        self.tunnels: list[tuple[TunnelSetup, Half]] = []
        self.halves: list[Half] = []
        self.chance = 0.0
        self.net.loses = lambda message: self.random.random() < self.chance

    def act(self, action: str) -> None:
        getattr(self, f"_{action}")()
        if self.random.random() < 0.7:
            self.net.settle()

    def _ask(self) -> None:
        self.random.choice(self.callers).ask(self.asked, b"x" * self.random.randrange(900))
        self.asked += 1

    def _join(self) -> None:
        says = self.random.choice([None, None, OVERLOADED, "", "a fault"])
        self.members.append(member_at(self.random.choice(self.net.relays), says=says))

    def _leave(self) -> None:
        if self.members:
            member = self.members.pop(self.random.randrange(len(self.members)))
            member.relay.routing.leave("c", member)

    def _open(self) -> None:
        caller = self.random.choice(self.callers)
        tunnel = TunnelSetup(caller, len(self.tunnels))
        tunnel.expire_in(1_000, caller.relay.timeouts)
        self.tunnels.append((tunnel, tunnel.initiator))
        caller.relay.tunnels.open_tunnel("c", tunnel)

    def _accept(self) -> None:
        for member in self.members:
            if member.offers:
                half = Half(member, len(self.halves))
                if member.offers.pop().accept(half):
                    self.halves.append(half)
                return

    def _half(self) -> Half | None:
        halves = [*self.halves, *(half for tunnel, half in self.tunnels if tunnel.done)]
        return self.random.choice(halves) if halves else None

    def _send(self) -> None:
        half = self._half()
        if half is not None:
            with suppress(IrisProtocolError):  # not open, or over its allowance
                half.transfer_untrusted(10, b"0123456789" * self.random.randrange(1, 400))

    def _grant(self) -> None:
        half = self._half()
        if half is not None:
            half.allow_untrusted(self.random.randrange(5_000))

    def _close(self) -> None:
        half = self._half()
        if half is not None:
            half.close()

    def _lose(self) -> None:
        self.chance = self.random.choice([0.0, 0.1, 0.5])

    def _tick(self) -> None:
        self.net.clock.advance(self.random.choice([0.1, 0.6, 2.0]))
        for relay in self.net.relays:
            relay.tunnels.keep()

    def end(self) -> None:
        self.chance = 0.0
        while self.members:
            self._leave()
        for half in [*self.halves, *(half for _, half in self.tunnels)]:
            half.close()
        for _ in range(25):
            self.net.settle()
            self.net.clock.advance(1.0)
            for relay in self.net.relays:
                relay.tunnels.keep()
        self.net.settle()


@given(st.lists(st.sampled_from(Chaos.ACTIONS), max_size=80), st.integers(0, 2**32))
def test_whatever_happens_nothing_is_left_in_the_end(actions, seed):
    chaos = Chaos(seed)
    for action in actions:
        chaos.act(action)
    chaos.end()
    answers = [number for caller in chaos.callers for number, _, _ in caller.answers]
    assert sorted(answers) == list(range(chaos.asked))
    assert all(tunnel.done for tunnel, _ in chaos.tunnels)
    for relay in chaos.net.relays:
        assert len(relay.calls_out) == 0
        assert relay.calls_out.kept == 0
        assert relay.calls_in.in_hand == 0
        assert len(relay.tunnels) == 0
        assert relay.outgoing.waiting == 0
