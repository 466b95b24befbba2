from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.errors import NotConnected
from irismq_runtime.protocols.iris.packets import Publish, Subscribe, Unsubscribe
from irismq_runtime.pyiris.subscriptions import (
    Ready,
    SendSubscribe,
    SendUnsubscribe,
    StartTimer,
    Subscriptions,
    SubscriptionState,
)
from tests.pyiris.scripted import ends, turns

if TYPE_CHECKING:
    from actors.testing import ManualClock
    from tests.pyiris.scripted import ScriptedRelay


async def listening(iris: Any, clock: ManualClock, topic: str, into: list[bytes]) -> Any:
    return await ends(iris.listen(topic, into.append), clock, step=0.01)


async def test_listening_is_ready_only_when_events_are_sure_to_arrive(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(settle=0.05)
    events: list[bytes] = []
    waiting = asyncio.ensure_future(iris.listen("t", events.append))
    assert await relay.wire.next(Subscribe) == Subscribe("t")
    clock.advance(0.04)
    await turns()
    assert not waiting.done()
    clock.advance(0.01)
    listener = await waiting
    relay.wire.send(Publish("t", b"1"), Publish("other", b"2"), Publish("t", b"3"))
    assert events == [b"1", b"3"]
    assert iris.topics.unheard == 1
    await listener.close()


async def test_listeners_share_one_subscription_on_the_wire(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(linger=1.0)
    one: list[bytes] = []
    two: list[bytes] = []
    first = await listening(iris, clock, "t", one)
    second = await listening(iris, clock, "t", two)
    relay.wire.send(Publish("t", b"both"))
    await first.close()
    relay.wire.send(Publish("t", b"second only"))
    await second.close()
    await second.close()
    relay.wire.send(Publish("t", b"nobody"))
    assert (one, two) == ([b"both"], [b"both", b"second only"])
    third = await listening(iris, clock, "t", one)
    clock.advance(2.0)
    assert len(relay.wire.of(Subscribe)) == 1
    assert relay.wire.of(Unsubscribe) == [], "somebody came back while it lingered"
    await third.close()
    clock.advance(1.1)
    await turns()
    assert relay.wire.of(Unsubscribe) == [Unsubscribe("t")]
    clock.advance(0.1)
    assert len(iris.topics) == 0


async def test_a_listener_that_fails_keeps_the_event_from_nobody(
    connect: Any, relay: ScriptedRelay, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    iris = await connect()

    def fails(_: bytes) -> None:
        raise ValueError("mine")

    events: list[bytes] = []
    await ends(iris.listen("t", fails), clock)
    await listening(iris, clock, "t", events)
    relay.wire.send(Publish("t", b"1"))
    assert events == [b"1"]
    assert "'t' failed" in caplog.text


async def test_listening_while_the_relay_is_away_ends_in_time(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect()
    relay.down = ConnectionRefusedError("refused")
    relay.wire.cut()
    await turns()
    with pytest.raises(NotConnected):
        await ends(iris.listen("t", print, timeout=2.0), clock)
    assert len(iris.topics) == 0


async def test_a_reconnect_subscribes_what_has_listeners_and_nothing_else(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(linger=10.0)
    events: list[bytes] = []
    await listening(iris, clock, "kept", events)
    gone = await listening(iris, clock, "gone", events)
    await gone.close()
    relay.wire.cut()
    await turns()
    clock.advance(0.2)
    wire = await relay.next_wire(2)
    assert wire.of(Subscribe) == [Subscribe("kept")]
    wire.send(Publish("kept", b"again"))
    assert events == [b"again"]


async def test_a_cancelled_listen_leaves_nothing(
    connect: Any, relay: ScriptedRelay, clock: ManualClock
) -> None:
    iris = await connect(settle=0.05, linger=0.1)
    task = asyncio.ensure_future(iris.listen("t", print))
    await relay.wire.next(Subscribe)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(10):
        clock.advance(0.1)
        await turns()
    assert relay.wire.of(Unsubscribe) == [Unsubscribe("t")]
    assert len(iris.topics) == 0


class WatchedRelay:
    """Carries the actions out and holds them against what a relay takes."""

    def __init__(self) -> None:
        self.subs = Subscriptions()
        self.on_wire: set[str] = set()
        self.settling: set[str] = set()
        self.listeners = {"a": 0, "b": 0}
        self.timers: list[tuple[str, int]] = []

    def carry_out(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case SendSubscribe(topic):
                    assert self.subs.up
                    assert topic not in self.on_wire, "double subscribe"
                    assert topic not in self.settling, "subscribe before the last packet settled"
                    self.on_wire.add(topic)
                    self.settling.add(topic)
                case SendUnsubscribe(topic):
                    assert topic in self.on_wire
                    assert topic not in self.settling
                    self.on_wire.remove(topic)
                    self.settling.add(topic)
                case StartTimer(topic, delay, step):
                    assert delay in {self.subs.linger, self.subs.settle}
                    self.timers.append((topic, step))
                case Ready(topic):
                    assert topic in self.on_wire - self.settling

    def do(self, op: str, topic: str) -> None:
        getattr(self, op)(topic)

    def listen(self, topic: str) -> None:
        self.listeners[topic] += 1
        self.carry_out(self.subs.listen(topic))

    def leave(self, topic: str) -> None:
        if self.listeners[topic]:
            self.listeners[topic] -= 1
            self.carry_out(self.subs.leave(topic))

    def fire(self, _: str = "") -> None:
        if self.timers:
            name, step = self.timers.pop(0)
            if self.subs.step(name) in {SubscriptionState.JOINING, SubscriptionState.LEAVING}:
                self.settling.discard(name)
            self.carry_out(self.subs.timer(name, step))

    def up(self, _: str) -> None:
        if not self.subs.up:
            self.carry_out(self.subs.connected())

    def down(self, _: str) -> None:
        self.subs.disconnected()
        self.on_wire.clear()
        self.settling.clear()
        self.timers.clear()


OPS = st.sampled_from(["listen", "leave", "fire", "up", "down"])


@given(st.lists(st.tuples(OPS, st.sampled_from("ab")), max_size=60))
def test_what_the_relay_sees_is_always_lawful(script: list[tuple[str, str]]) -> None:
    """Subscribe and unsubscribe alternate, with a settled pause between, on every connection."""
    relay = WatchedRelay()
    for op, topic in script:
        relay.do(op, topic)
    while relay.timers:
        relay.fire()
    wanted = {name for name, count in relay.listeners.items() if count}
    assert relay.on_wire == (wanted if relay.subs.up else set())
    assert len(relay.subs) == len(wanted)
