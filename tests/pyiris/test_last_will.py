"""A last will is left with a relay of ours, on each of its connections, and shown to no other."""

from __future__ import annotations

import random

import pytest

from actors.testing import ManualClock
from irismq_runtime.ports import RELAY_LIMIT
from irismq_runtime.protocols.iris import packets as p
from irismq_runtime.protocols.iris.last_will import LastWill, last_will_untrusted
from irismq_runtime.pyiris import IrisAddresses
from tests.pyiris.scripted import ScriptedRelay, Wire, ends, turns


class Scene:
    """A transport on a relay that answers the question for its limit when it is told to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.relay = ScriptedRelay()
        self.addresses = IrisAddresses(
            clock=self.clock, rng=random.Random(1), dial=self.relay.dial, asks_limit=True
        )

    async def tell_limit(self, wire: Wire, limit: bytes = b"1000") -> None:
        asked = [each for each in wire.of(p.ClientRequest) if each.cluster == RELAY_LIMIT]
        assert asked, "the limit was not asked for"
        for each in asked:
            wire.received.remove(each)
            wire.send(p.RelayReply(each.id, False, limit, None))
        await turns()

    def wills(self, wire: Wire) -> list[LastWill]:
        return [last_will_untrusted(reply) for reply in wire.of(p.ClientReply)]

    async def lose(self, *wires: Wire) -> list[Wire]:
        """Cut the wires; those that are dialled in their place."""
        before = len(self.relay.wires)
        for wire in wires:
            wire.cut()
        await turns()
        while len(self.relay.wires) < before + len(wires):
            self.clock.advance(0.25)
            await turns()
        return self.relay.wires[before:]


@pytest.fixture
async def scene():
    scene = Scene()
    await ends(scene.addresses.start(), scene.clock, step=0.01)
    yield scene
    await ends(scene.addresses.close(drain=0.0), scene.clock)


async def test_it_is_left_on_both_connections_of_its_own(scene):
    out, topics = scene.relay.wires
    scene.addresses.leave_will("c", b"gone")
    await turns()
    assert scene.wills(out) == scene.wills(topics) == []  # nobody knows what relay this is
    assert not scene.addresses.holds_will
    await scene.tell_limit(out)
    assert scene.addresses.holds_will
    (first,), (second,) = scene.wills(out), scene.wills(topics)
    assert first == second
    assert (first.cluster, first.message) == ("c", b"gone")
    scene.addresses.leave_will("c", b"gone since")
    await turns()
    assert scene.wills(out)[1:] == [first._replace(message=b"gone since")]


async def test_a_relay_that_tells_no_limit_is_shown_nothing(scene):
    scene.addresses.leave_will("c", b"gone")
    scene.clock.advance(60.0)
    await turns()
    assert [scene.wills(wire) for wire in scene.relay.wires] == [[], []]


@pytest.mark.parametrize("away", [0.0, 30.0])
async def test_it_is_left_again_once_the_relay_that_is_back_is_known(scene, away):
    out, topics = scene.relay.wires
    await scene.tell_limit(out)
    scene.addresses.leave_will("c", b"gone")
    scene.relay.down = ConnectionRefusedError() if away else None
    if away:
        out.cut()
        topics.cut()
        for _ in range(60):
            await turns()
            scene.clock.advance(away / 60)
        scene.relay.down = None
        while len(scene.relay.wires) < 4:
            await turns()
            scene.clock.advance(1.0)
        wires = scene.relay.wires[2:]
    else:
        wires = await scene.lose(out, topics)
    await turns()
    assert [scene.wills(wire) for wire in wires] == [[], []]
    assert scene.addresses.holds_will  # it was one of ours, and is being asked
    (asked,) = [wire for wire in wires if wire.of(p.ClientRequest)]
    await scene.tell_limit(asked, b"500")
    assert scene.addresses.max_body == 500
    assert [len(scene.wills(wire)) for wire in wires] == [1, 1]


async def test_one_that_is_slow_to_say_what_it_is_is_asked_again(scene):
    scene.addresses.leave_will("c", b"gone")
    out, _ = scene.relay.wires
    scene.clock.advance(2.1)
    await turns()
    out.received.clear()  # what was asked first was lost
    scene.clock.advance(2.1)
    await turns()
    await scene.tell_limit(out)
    assert len(scene.wills(out)) == 1
    assert scene.addresses.holds_will


async def test_one_that_comes_back_as_another_is_known_to_hold_no_will_after_a_while(scene):
    out, topics = scene.relay.wires
    await scene.tell_limit(out)
    scene.addresses.leave_will("c", b"gone")
    wires = await scene.lose(out, topics)
    for _ in range(3):
        assert scene.addresses.holds_will
        scene.clock.advance(2.1)
        await turns()
    assert not scene.addresses.holds_will
    assert [scene.wills(wire) for wire in wires] == [[], []]


async def test_one_that_is_back_alone_gets_it_too(scene):
    out, topics = scene.relay.wires
    await scene.tell_limit(out)
    scene.addresses.leave_will("c", b"gone")
    (back,) = await scene.lose(topics)
    await turns()
    assert scene.wills(back) == []
    await scene.tell_limit(out)
    assert len(scene.wills(back)) == 1


async def test_a_will_that_no_relay_would_take_is_refused(scene):
    with pytest.raises(ValueError, match="at most"):
        scene.addresses.leave_will("c", bytes(20_000))
    with pytest.raises(ValueError, match="empty"):
        scene.addresses.leave_will("", b"gone")
