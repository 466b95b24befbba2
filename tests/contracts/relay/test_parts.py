"""The pure parts of the embedded relay: routing, deadlines, the queue, faults."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.testing import ManualClock
from irismq_runtime.embedded.relay.calls import PendingCall, Timeouts
from irismq_runtime.embedded.relay.faults import FaultInjector, Faults
from irismq_runtime.embedded.relay.router import InMemoryBackEnd, RoutingTable
from irismq_runtime.embedded.relay.tunnels import Half, TunnelSetup
from irismq_runtime.embedded.relay.write_queue import Traffic, WriteQueue
from irismq_runtime.protocols.iris import IrisProtocolError
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    Publish,
    RelayTunnelClose,
    RelayTunnelConfirm,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
)
from irismq_runtime.protocols.iris.tunnel import RELAY_ALLOWANCE


class Member:
    """An endpoint that notes what it is given."""

    def __init__(self, load: int = 0, *, congested: bool = False) -> None:
        self.load = load
        self.congested = congested
        self.taken: list[object] = []

    def take_broadcast(self, packet: bytes) -> None:
        self.taken.append(packet)

    def take_event(self, topic: str, packet: bytes) -> None:
        self.taken.append((topic, packet))

    def take_request(self, call: PendingCall, body: bytes) -> None:
        self.taken.append(body)

    def take_tunnel(self, tunnel: TunnelSetup) -> None:
        self.taken.append(tunnel)


def picks(routing: RoutingTable, count: int) -> Counter[object]:
    return Counter(routing.pick("c") for _ in range(count))


@given(st.integers(1, 20), st.integers(1, 5))
def test_members_at_equal_load_take_turns(count, rounds):
    routing, members = RoutingTable(), [Member() for _ in range(count)]
    for member in members:
        routing.join("c", member)
    assert picks(routing, count * rounds) == dict.fromkeys(members, rounds)


def test_a_busy_member_is_passed_over_until_the_others_are_as_busy():
    routing, stuck, free = RoutingTable(), Member(load=50), [Member(), Member()]
    for member in (stuck, *free):
        routing.join("c", member)
    for _ in range(100):
        chosen = routing.pick("c")
        assert chosen is not None
        chosen.load += 1  # type: ignore[misc]  # a Member of this test
    assert stuck.load == 50
    assert sorted(member.load for member in free) == [50, 50]


def test_a_slow_reader_is_asked_only_when_there_is_nobody_else():
    routing, slow, busy = RoutingTable(), Member(congested=True), Member(load=1000)
    routing.join("c", slow)
    assert routing.pick("c") is slow
    routing.join("c", busy)
    assert picks(routing, 10) == {busy: 10}


def test_nobody_is_picked_from_a_cluster_that_was_left_by_all():
    routing, member = RoutingTable(), Member()
    assert routing.pick("c") is None
    routing.join("c", member)
    routing.leave("c", member)
    routing.leave("c", member)
    assert routing.pick("c") is None
    assert routing.cluster_sizes() == {}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 3)), max_size=30))
def test_the_directory_is_a_set_of_listeners_a_topic(steps):
    back_end, listeners = InMemoryBackEnd(), [Member() for _ in range(4)]
    model: dict[str, set[int]] = {"a": set(), "b": set()}
    for add, topic, index in steps:
        if add:
            back_end.subscribe(topic, listeners[index])
            model[topic].add(index)
        else:
            back_end.unsubscribe(topic, listeners[index])
            model[topic].discard(index)
    for topic, subscribed in model.items():
        before = [len(listener.taken) for listener in listeners]
        back_end.publish(topic, b"event")
        grown = {i for i, n in enumerate(before) if len(listeners[i].taken) > n}
        assert grown == subscribed
    assert back_end.topics() == {name: len(who) for name, who in model.items() if who}


# Deadlines


class Caller:
    def __init__(self) -> None:
        self.results: list[tuple[int, bytes | None, str | None]] = []

    def answered(self, call: PendingCall, body: bytes | None, fault: str | None) -> None:
        self.results.append((call.id, body, fault))


class Callee:
    def __init__(self) -> None:
        self.forgotten: list[int] = []

    def forget_call(self, key: int) -> None:
        self.forgotten.append(key)


def make_timeouts() -> tuple[ManualClock, Timeouts, list[float]]:
    clock, turns = ManualClock(), []
    return clock, Timeouts(clock, lambda: turns.append(clock.monotonic())), turns


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100)), max_size=20))
def test_every_call_expires_in_its_millisecond_and_not_before(plan):
    clock, timeouts, _ = make_timeouts()
    caller, due = Caller(), {}
    for call_id, (wait_ms, timeout_ms) in enumerate(plan):
        clock.advance(wait_ms / 1000)
        PendingCall(caller, call_id, timeout_ms, timeouts)
        due[call_id] = clock.monotonic() + timeout_ms / 1000
    for _ in range(400):
        clock.advance(0.0005)
        over = {call_id for call_id, _, _ in caller.results}
        now = clock.monotonic()
        assert all(due[call_id] <= now + 1e-9 for call_id in over)
        assert all(call_id in over for call_id, at in due.items() if at < now - 0.0021)
    assert len(timeouts) == 0


def test_a_deadline_of_days_or_ages_needs_no_timer_as_long():
    clock, timeouts, _ = make_timeouts()
    caller = Caller()
    PendingCall(caller, 1, 3 * 86_400_000, timeouts)
    PendingCall(caller, 2, 2**64 - 1, timeouts)
    clock.advance(2.9 * 86_400)
    assert caller.results == []
    clock.advance(0.2 * 86_400)
    assert caller.results == [(1, None, None)]
    assert len(timeouts) == 1


def test_a_call_ends_once_whoever_comes_first():
    clock, timeouts, turns = make_timeouts()
    caller, callee = Caller(), Callee()
    answered = PendingCall(caller, 1, 100, timeouts)
    answered.at(callee, 10)
    answered.answer(b"yes", None)
    expired = PendingCall(caller, 2, 50, timeouts)
    expired.at(callee, 20)
    cancelled = PendingCall(caller, 3, 50, timeouts)
    cancelled.at(callee, 30)
    cancelled.cancel()
    clock.advance(1.0)
    for call in (answered, expired, cancelled):
        call.answer(b"late", None)
        call.expire()
        call.cancel()
    assert caller.results == [(1, b"yes", None), (2, None, None)]
    assert callee.forgotten == [30, 20]
    assert len(turns) == 1


def test_a_hundred_thousand_timed_out_calls_leave_nothing():
    """Case 47, the relay's part: no entry stays of calls that timed out or were answered."""
    clock, timeouts, _ = make_timeouts()
    caller = Caller()
    for call_id in range(100_000):
        call = PendingCall(caller, call_id, 20, timeouts)
        if call_id % 2:
            call.answer(b"x", None)
        if call_id % 100 == 0:
            clock.advance(0.001)
    clock.advance(1.0)
    assert len(caller.results) == 100_000
    assert len(timeouts) == 0
    assert timeouts._buckets == {}
    assert timeouts._ticks == []


def test_buckets_left_empty_are_swept_out():
    clock, timeouts, _ = make_timeouts()
    for call_id in range(20_000):
        PendingCall(Caller(), call_id, 3_600_000, timeouts).answer(b"x", None)
        clock.advance(0.001)
    assert len(timeouts._ticks) <= 2048


# The queue


@given(st.lists(st.tuples(st.sampled_from(Traffic), st.integers(1, 40_000)), max_size=60))
def test_congested_lanes_keep_their_order_and_lose_nothing(pushes):
    queue = WriteQueue()
    queue.congested = True
    pushed: dict[Traffic, list[bytes]] = {lane: [] for lane in Traffic}
    for number, (lane, size) in enumerate(pushes):
        data = bytes((lane,)) + number.to_bytes(2, "big") + b"x" * size
        queue.push(lane, data)
        pushed[lane].append(data)
    assert queue.waiting == sum(len(data) for lane in pushed.values() for data in lane)
    taken: list[bytes] = []
    while queue.waiting:
        batch = queue.pull(10_000)
        assert batch
        taken += batch
    queue.pull(1)
    assert not queue.congested
    for lane in Traffic:
        assert [data for data in taken if data[0] == lane] == pushed[lane]


def test_a_flood_of_events_does_not_hold_replies_back():
    queue = WriteQueue()
    queue.congested = True
    for _ in range(10_000):
        queue.push(Traffic.EVENT, b"e" * 1000)
    queue.push(Traffic.REPLY, b"reply")
    assert b"reply" in queue.pull(64 * 1024)


def test_lanes_share_the_socket_by_bytes_and_not_by_packets():
    queue = WriteQueue()
    queue.congested = True
    for _ in range(100):
        queue.push(Traffic.BROADCAST, b"b" * 100_000)
    for _ in range(10_000):
        queue.push(Traffic.EVENT, b"e" * 1000)
    taken = b"".join(queue.pull(4_000_000))
    assert 0.8 < taken.count(b"b") / taken.count(b"e") < 1.25


# Faults


def test_like_real_names_its_habits_and_a_plain_relay_has_none():
    assert Faults().names == Faults(seed=5).names == ()
    assert set(Faults.like_real().names) >= {"reorder", "hasty_close", "early_confirm"}


def test_the_same_seed_gives_the_same_faults():
    packets = [Publish("t", bytes((n,))) for n in range(50)]
    orders = [FaultInjector(Faults(seed=9, reorder=True)).ordered(packets) for _ in range(2)]
    assert orders[0] == orders[1] != packets


@given(st.integers(0, 100))
def test_reordering_moves_only_what_the_real_relays_workers_take(seed):
    packets = [
        Publish("t", b"1"),
        Subscribe("t"),
        ClientBroadcast("c", b"2"),
        TunnelTransfer(1, 1, b"x"),
        Publish("t", b"3"),
    ]
    ordered = FaultInjector(Faults(seed=seed, reorder=True)).ordered(packets)
    assert sorted(map(repr, ordered)) == sorted(map(repr, packets))
    assert ordered[1] == packets[1]
    assert ordered[3] == packets[3]


@pytest.mark.parametrize(
    ("chance", "low", "high"), [(0.0, 0, 0), (0.3, 200, 400), (1.0, 1000, 1000)]
)
def test_chances_are_what_they_say(chance, low, high):
    injector = FaultInjector(Faults(seed=1))
    assert low <= sum(injector.happens(chance) for _ in range(1000)) <= high


# Tunnels


class Owner:
    def __init__(self) -> None:
        self.congested = False
        self.sent: list[object] = []
        self.over: list[int] = []

    def send_tunnel(self, packet: object) -> None:
        self.sent.append(packet)

    def tunnel_decided(self, tunnel: TunnelSetup) -> None:
        pass

    def tunnel_over(self, half: Half) -> None:
        self.over.append(half.id)

    def take(self) -> list[object]:
        sent, self.sent = self.sent, []
        return sent


def make_tunnel() -> tuple[Owner, Half, Owner, Half]:
    left, right = Owner(), Owner()
    tunnel = TunnelSetup(left, 1)
    acceptor = Half(right, 2)
    assert tunnel.accept(acceptor)
    assert left.take() == [RelayTunnelConfirm(1, False, 65_536), TunnelAllow(1, RELAY_ALLOWANCE)]
    assert right.take() == [TunnelAllow(2, RELAY_ALLOWANCE)]
    return left, tunnel.initiator, right, acceptor


def test_a_graceful_close_follows_what_was_sent_before_it():
    left, initiator, right, acceptor = make_tunnel()
    initiator.transfer_untrusted(10, b"0123456789")
    initiator.close()
    assert right.take() == []
    assert left.over == [1]
    acceptor.allow_untrusted(10)
    assert right.take() == [TunnelTransfer(2, 10, b"0123456789"), RelayTunnelClose(2, "")]
    assert right.over == [2]


def test_a_close_at_once_overtakes_what_was_sent_before_it():
    _, initiator, right, _ = make_tunnel()
    initiator.transfer_untrusted(10, b"0123456789")
    initiator.close(at_once=True)
    assert right.take() == [RelayTunnelClose(2, "")]


def test_a_chunk_longer_than_all_the_room_is_cut_and_granted_back_whole():
    left, initiator, right, acceptor = make_tunnel()
    acceptor.allow_untrusted(4)
    initiator.transfer_untrusted(6, b"abcdef")
    acceptor.allow_untrusted(4)
    assert right.take() == [TunnelTransfer(2, 6, b"abcd"), TunnelTransfer(2, 0, b"ef")]
    assert sum(grant.granted for grant in left.take()) == 6


def test_the_relay_never_holds_more_than_its_allowance():
    _, initiator, _, _ = make_tunnel()
    for _ in range(RELAY_ALLOWANCE // 65_536):
        initiator.transfer_untrusted(65_536, b"x" * 65_536)
    with pytest.raises(IrisProtocolError, match="allowance of 0"):
        initiator.transfer_untrusted(1, b"x")


def test_a_client_that_does_not_read_is_sent_no_chunks():
    left, initiator, right, acceptor = make_tunnel()
    acceptor.allow_untrusted(100)
    right.congested = True
    initiator.transfer_untrusted(3, b"abc")
    assert right.take() == []
    assert left.take() == []
    right.congested = False
    acceptor.pump()
    assert right.take() == [TunnelTransfer(2, 3, b"abc")]
    assert left.take() == [TunnelAllow(1, 3)]


def test_an_acceptor_that_confirms_too_late_gets_a_close():
    left, right = Owner(), Owner()
    tunnel = TunnelSetup(left, 1)
    tunnel.expire()
    tunnel.expire()
    assert left.take() == [RelayTunnelConfirm(1, True, None)]
    assert not tunnel.accept(Half(right, 2))
    (packet,) = right.take()
    assert isinstance(packet, RelayTunnelClose)
    assert packet.reason
    assert left.over == [1]
    assert right.over == [2]
