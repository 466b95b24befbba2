"""The broker without sockets, on a clock that the test moves.

A model in few lines says where each message is; whatever is done, every message
is in exactly one place: waiting, deferred, in flight, or finished for good.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.testing import ManualClock
from irismq_runtime.embedded.nsqd.broker import Broker
from irismq_runtime.embedded.nsqd.context import ServerContext
from irismq_runtime.embedded.nsqd.journal import MemoryJournal
from irismq_runtime.embedded.nsqd.messages import BrokerMessage, IdSource
from irismq_runtime.embedded.nsqd.options import NsqdOptions
from irismq_runtime.embedded.nsqd.reply_queue import ReplyQueue
from irismq_runtime.embedded.nsqd.session import ClientSession
from irismq_runtime.embedded.nsqd.subscriber import Subscriber
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import FrameDecoder

if TYPE_CHECKING:
    from irismq_runtime.embedded.nsqd.channel import Channel

OPTIONS = NsqdOptions(msg_timeout=10.0, max_msg_timeout=25.0)


class Port:
    """A connection that only notes what it was given."""

    def __init__(self) -> None:
        self.got: list[BrokerMessage] = []
        self.closed = False

    def deliver(self, messages: Any) -> None:
        self.got.extend(messages)

    def close(self) -> None:
        self.closed = True


def new_broker(clock: ManualClock) -> Broker:
    return Broker(clock=clock, rng=random.Random(1), journal=MemoryJournal(), options=OPTIONS)


def done(error: Exception | None) -> None:
    assert error is None


def subscribe(broker: Broker, number: int, ready: int) -> tuple[Subscriber, Channel, Port]:
    port = Port()
    subscriber = Subscriber(number, port, timeout=10.0, max_timeout=25.0)
    channel = broker.subscribe("t", "c", subscriber)
    subscriber.ready = ready
    channel.pump_one(subscriber)
    return subscriber, channel, port


def test_a_lease_ends_at_its_time_and_touch_restarts_it_up_to_the_longest():
    clock = ManualClock()
    broker = new_broker(clock)
    subscriber, channel, port = subscribe(broker, 1, 1)
    broker.publish("t", [b"x"], 0.0, done)
    message_id = port.got[0].id
    for _ in range(2):
        clock.advance(9.0)
        assert channel.touch(subscriber, message_id)
    clock.advance(6.9)
    assert len(port.got) == 1
    clock.advance(0.2)
    assert [message.attempts for message in port.got] == [2, 2]
    assert channel.timeout_count == 1


def test_leases_end_in_their_own_order_when_some_are_capped():
    clock = ManualClock()
    broker = new_broker(clock)
    subscriber, channel, port = subscribe(broker, 1, 3)
    broker.publish("t", [b"capped"], 0.0, done)
    capped = port.got[0].id
    for _ in range(2):
        clock.advance(9.0)
        channel.touch(subscriber, capped)
    broker.publish("t", [b"fresh"], 0.0, done)
    clock.advance(6.5)
    channel.touch(subscriber, capped)
    clock.advance(0.6)
    assert [message.body for message in port.got] == [b"capped", b"fresh", b"capped"]
    clock.advance(3.0)
    assert [message.body for message in port.got][3:] == [b"fresh"]


def test_what_a_departed_consumer_held_comes_back_when_its_lease_ends():
    clock = ManualClock()
    broker = new_broker(clock)
    first, channel, _ = subscribe(broker, 1, 5)
    broker.publish("t", [b"1", b"2"], 0.0, done)
    broker.unsubscribe("t", channel, first)
    _, _, port = subscribe(broker, 2, 5)
    clock.advance(9.9)
    assert (port.got, channel.in_flight_count) == ([], 2)
    clock.advance(0.2)
    assert sorted(message.body for message in port.got) == [b"1", b"2"]


def test_a_message_does_not_go_to_the_same_stopped_consumer_for_ever():
    clock = ManualClock()
    broker = new_broker(clock)
    stopped, _, _ = subscribe(broker, 1, 1)
    broker.publish("t", [b"kept"], 0.0, done)
    working, channel, port = subscribe(broker, 2, 1)
    # A flow in step with the lease: with a fixed turn each end of a lease met the same one.
    for _ in range(30):
        clock.advance(5.0)
        broker.publish("t", [b"flow"], 0.0, done)
        assert channel.finish(working, port.got[-1].id)
        clock.advance(5.1)
        if port.got[-1].body == b"kept":
            break
    assert port.got[-1].body == b"kept"
    assert not stopped.in_flight


def test_a_deferred_message_in_the_backlog_keeps_its_due_time():
    clock = ManualClock()
    broker = new_broker(clock)
    broker.publish("t", [b"x"], 30.0, done)
    clock.advance(20.0)
    _, channel, port = subscribe(broker, 1, 1)
    assert channel.deferred_count == 1
    clock.advance(9.9)
    assert port.got == []
    clock.advance(0.2)
    assert len(port.got) == 1


def test_ephemeral_queues_drop_the_newest_and_count_them():
    clock = ManualClock()
    options = NsqdOptions(mem_queue_size=3)
    broker = Broker(clock=clock, rng=random.Random(1), journal=MemoryJournal(), options=options)
    broker.publish("t#ephemeral", [b"%d" % n for n in range(5)], 0.0, done)
    topic = broker.topics["t#ephemeral"]
    assert (topic.depth, topic.dropped_count) == (3, 2)
    channel = broker.channel("u", "c#ephemeral")
    broker.publish("u", [b"%d" % n for n in range(5)], 0.0, done)
    assert (channel.depth, channel.dropped_count) == (3, 2)


@given(st.integers(0, 2**40), st.lists(st.integers(1, 50), max_size=20))
def test_ids_only_go_up(wall, counts):
    source = IdSource(float(wall))
    ids = [message_id for count in counts for message_id in source.take(count)]
    assert ids == sorted(set(ids))
    assert all(len(message_id) == 16 for message_id in ids)


class Places(RuleBasedStateMachine):
    """Random deeds of publishers, subscribers and time."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.broker = new_broker(self.clock)
        self.channel = self.broker.channel("t", "c")
        self.subscribers: dict[int, Subscriber] = {}
        self.number = 0
        self.published = 0
        self.finished: set[bytes] = set()

    def _some(self, choice: int) -> Subscriber | None:
        names = sorted(self.subscribers)
        return self.subscribers[names[choice % len(names)]] if names else None

    @rule(ready=st.integers(0, 5))
    def join(self, ready: int) -> None:
        self.number += 1
        subscriber, _, _ = subscribe(self.broker, self.number, ready)
        self.subscribers[self.number] = subscriber

    @rule(choice=st.integers(0, 9))
    def leave(self, choice: int) -> None:
        if (subscriber := self._some(choice)) is not None:
            del self.subscribers[subscriber.client_id]
            self.broker.unsubscribe("t", self.channel, subscriber)

    @rule(count=st.integers(1, 8), delay=st.sampled_from([0.0, 0.0, 3.0, 40.0]))
    def publish(self, count: int, delay: float) -> None:
        self.published += count
        self.broker.publish("t", [b"x"] * count, delay, done)

    @rule(choice=st.integers(0, 9), pick=st.integers(0, 9), deed=st.sampled_from("frtd"))
    def settle(self, choice: int, pick: int, deed: str) -> None:
        subscriber = self._some(choice)
        if subscriber is None or not subscriber.in_flight:
            return
        message_id = list(subscriber.in_flight)[pick % len(subscriber.in_flight)]
        if deed == "f":
            assert self.channel.finish(subscriber, message_id)
            self.finished.add(message_id)
            assert not self.channel.finish(subscriber, message_id)
            self.channel.pump_one(subscriber)
        elif deed == "t":
            assert self.channel.touch(subscriber, message_id)
        else:
            assert self.channel.requeue(subscriber, message_id, 0.0 if deed == "r" else 5.0)
            self.channel.pump()

    @rule(choice=st.integers(0, 9), ready=st.integers(0, 5))
    def change_ready(self, choice: int, ready: int) -> None:
        if (subscriber := self._some(choice)) is not None:
            subscriber.ready = ready
            self.channel.pump_one(subscriber)

    @rule(choice=st.integers(0, 9), blocked=st.booleans())
    def block(self, choice: int, blocked: bool) -> None:
        if (subscriber := self._some(choice)) is not None:
            subscriber.blocked = blocked
            self.channel.pump_one(subscriber)

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        topic = self.broker.topics["t"]
        self.broker.pause_channel(topic, self.channel, paused=paused)

    @rule()
    def empty(self) -> None:
        self.channel.empty()
        self.published = len(self.finished)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        channel = self.channel
        held = channel.depth + channel.deferred_count + channel.in_flight_count
        assert held + len(self.finished) == self.published

    @invariant()
    def nothing_waits_while_somebody_has_room(self) -> None:
        if not self.channel.paused and self.channel.depth:
            assert all(subscriber.room <= 0 for subscriber in self.subscribers.values())

    @invariant()
    def nobody_holds_more_than_ready_allows_to_grow(self) -> None:
        for subscriber in self.subscribers.values():
            deadline = subscriber.next_deadline()
            assert (deadline is None) == (not subscriber.in_flight)
            if deadline is not None:
                assert deadline == min(m.deadline for m in subscriber.in_flight.values())
                assert deadline >= self.clock.monotonic()


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# -- a session fed with anything --------------------------------------------------------


class SilentPort:
    """A connection that notes that it was refused."""

    def __init__(self) -> None:
        self.session: ClientSession | None = None
        self.refused = False

    congested = False

    def refuse(self) -> None:
        self.refused = True

    def identified(self, grant: Any) -> None:
        assert self.session is not None
        self.session.resume()

    def encryption(self) -> tuple[bool, str]:
        return False, ""

    def settled(self) -> None:
        raise AssertionError("nothing is stored here")

    def close(self) -> None:
        self.refused = True


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            nsq.identify({"feature_negotiation": True}),
            nsq.identify({"heartbeat_interval": -1}),
            b"IDENTIFY\n\x00\x00\x00\x02[]",
            nsq.sub("t", "c"),
            nsq.sub("t", "d#ephemeral"),
            nsq.rdy(5),
            nsq.rdy(0),
            nsq.pub("t", b"x"),
            nsq.mpub("t", [b"x", b"y"]),
            nsq.dpub("t", 5, b"x"),
            nsq.cls(),
            nsq.nop(),
            nsq.fin(b"0123456789abcdef"),
            nsq.req(b"0123456789abcdef", 5),
            nsq.touch(b"0123456789abcdef"),
            nsq.auth("secret"),
            b"PUB t\n\xff\xff\xff\xff",
            b"MPUB t\n\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x09",
        ]
    ),
)


def feed(pieces: list[bytes], cuts: list[int]) -> None:
    """Feed a session with the pieces cut anywhere; what it says must be frames."""
    clock = ManualClock()
    broker = new_broker(clock)
    loop = asyncio.new_event_loop()
    context = ServerContext(broker, OPTIONS, clock, loop, 0.0, "127.0.0.1", 0)
    port, said = SilentPort(), []
    replies = ReplyQueue(said.append, lambda _call: None)
    session = port.session = ClientSession(context, 1, port, replies)
    data = nsq.MAGIC + b"".join(pieces)
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for start, end in pairwise(edges):
        if not session.refused:
            session.feed(data[start:end])
        clock.advance(1.0)
    replies.flush()
    frames = FrameDecoder().feed(b"".join(said))
    errors = [f for f in frames if isinstance(f, nsq.ErrorFrame) and f.fatal]
    assert len(errors) <= 1
    assert port.refused or not errors
    session.end()
    broker.close()
    loop.close()


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 500), max_size=6))
def test_a_session_survives_anything(pieces, cuts):
    feed(pieces, cuts)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@settings(max_examples=300_000, deadline=None)
@given(st.lists(PIECES, max_size=20), st.lists(st.integers(0, 1000), max_size=10))
def test_a_session_survives_anything_for_a_long_time(pieces, cuts):
    feed(pieces, cuts)
