"""The gatherer over nodes in memory, on the manual clock: three nodes, three faults."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, Refused, receives
from actors.testing import ManualClock, settle
from irismq_runtime.observer import Gatherer
from supervisors import DynamicSupervisor, Supervisor, child, start_child
from tests.node.helpers import Add, Counter, Fail, MemoryServers
from tests.support.transports import MemoryBroker, MemoryRelay


class Stuck(Actor):
    """Takes one message for ever."""

    @receives(Add)
    async def add(self, message):
        await asyncio.Event().wait()


class Scene:
    """A world on one manual clock, and who looks at it."""

    def __init__(self):
        self.clock = ManualClock()
        self.world = MemoryServers(MemoryBroker(self.clock))
        self.gatherer: Gatherer | None = None

    def node(self, name, **options):
        return self.world.node(name, clock=self.clock, presence_period=1.0, **options)

    async def passes(self, seconds, *nodes):
        """Let time pass in steps; everybody comes to rest between two."""
        for _ in range(int(seconds / 0.125)):
            for node in nodes:
                await settle(node.system)
            self.clock.advance(0.125)
        for node in nodes:
            await settle(node.system)

    async def wrong(self, limit, *nodes):
        """Seconds until something is wrong, and what."""
        began = self.clock.monotonic()
        while self.clock.monotonic() - began < limit:
            await self.passes(0.125, *nodes)
            if self.gatherer.latest.problems:
                return self.clock.monotonic() - began, self.gatherer.latest.problems
        pytest.fail("nothing is wrong")


@pytest.fixture
def scene():
    return Scene()


async def test_three_faults_on_three_nodes_show_within_two_seconds_each(scene):
    async with (
        scene.node("one") as one,
        scene.node("two") as two,
        scene.node("three") as three,
        scene.node("eye") as eye,
    ):
        nodes = (one, two, three, eye)
        counter = child(Counter, name="counter")
        await one.start(Supervisor.of(counter, max_restarts=100, name="top"))
        await two.start(Supervisor.of(child(Stuck, name="stuck"), name="top"))
        await scene.passes(1.0, *nodes)
        async with Gatherer(eye) as scene.gatherer:
            await scene.passes(2.0, *nodes)
            latest = scene.gatherer.latest
            assert [node.name for node in latest.nodes] == ["one", "three", "two"]
            assert {node.state for node in latest.nodes} == {"up"}
            assert [m.name for m in latest.service("test.counter").members] == ["one"]
            assert latest.problems == ()

            (root,) = one.parts.binder._bindings
            for _ in range(3):
                root.tell(Fail())
            seconds, problems = await scene.wrong(5.0, *nodes)
            assert seconds <= 2.0
            assert [(p.kind, p.node, p.subject) for p in problems] == [
                ("crash-loop", one.id, "top/counter")
            ]
            place = scene.gatherer.latest.node(one.id).trees[0].children[0]
            assert "in fail" in place.last.traceback
            await scene.passes(20.0, *nodes)
            assert scene.gatherer.latest.problems == ()

            stuck = two.system.actors()[-1]
            for _ in range(8):
                for _ in range(20):
                    stuck.tell(Add(1))
                await scene.passes(0.25, *nodes)
            assert [(p.kind, p.node) for p in scene.gatherer.latest.problems] == [
                ("growing-mailbox", two.id)
            ]
            await scene.passes(10.0, *nodes)

            three.parts.addresses.relay = MemoryRelay()
            for members in scene.world.relay.members.values():
                members[:] = [m for m in members if m.handler is not three.parts.peers]
            seconds, problems = await scene.wrong(5.0, *nodes)
            assert seconds <= 2.0
            assert [(p.kind, p.node) for p in problems] == [("dead-node", three.id)]
            assert scene.gatherer.latest.node(three.id).state == "silent"
            await scene.passes(5.0, *nodes)
            assert scene.gatherer.latest.node(three.id).state == "lost"


async def test_it_asks_brokers_too_and_says_which_do_not_answer(scene):
    answers = {"topics": [{"topic_name": "test.counter", "depth": 7}], "version": "1"}

    async def stats(endpoint):
        if endpoint == "bad:1":
            raise OSError("refused")
        return answers

    async with scene.node("one") as one:
        gatherer = Gatherer(one, brokers=["good:1", "bad:1"], stats=stats, itself=True)
        async with gatherer:
            await scene.passes(2.0, one)
            latest = gatherer.latest
            assert [node.name for node in latest.nodes] == ["one"]
            assert latest.service("test.counter").waiting == 7
            assert [(b.endpoint, b.error) for b in latest.brokers] == [
                ("bad:1", "refused"),
                ("good:1", ""),
            ]
            assert len(gatherer.history) >= 3
            waiting = asyncio.ensure_future(gatherer.changed(latest.version))
            await scene.passes(0.5, one)
            assert waiting.done()
            assert waiting.result().version > latest.version


async def test_a_child_is_restarted_here_and_elsewhere(scene):
    async with scene.node("one") as one, scene.node("eye") as eye:
        top = await one.start(Supervisor.of(child(Counter, name="counter"), name="top"))
        mine = await eye.start(Supervisor.of(child(Stuck, name="stuck"), name="mine"))
        await scene.passes(1.0, one, eye)
        async with Gatherer(eye, itself=True) as gatherer:
            await scene.passes(1.0, one, eye)
            for node, root, name in ((one, top, "counter"), (eye, mine, "stuck")):
                before = {ref.actor_urn for ref in node.system.actors()}
                restarting = asyncio.ensure_future(gatherer.restart(node.id, root.actor_urn, name))
                await scene.passes(1.0, one, eye)
                await restarting
                after = {ref.actor_urn for ref in node.system.actors()}
                assert len(after - before) == len(before - after) == 1
                refused = asyncio.ensure_future(gatherer.restart(node.id, "urn:x", name))
                await scene.passes(0.5, one, eye)
                with pytest.raises(Refused, match="no supervisor"):
                    await refused


async def test_a_child_that_would_be_forgotten_is_not_restarted(scene):
    async with scene.node("one") as one:
        dynamic = await one.start(DynamicSupervisor.of(name="pool"))
        start_child(dynamic, child(Counter, name="guest"))
        fixed = await one.start(Supervisor.of(child(Counter, name="once", restart="temporary")))
        await scene.passes(0.5, one)
        alive = one.system.actors()
        for root, name in ((dynamic, "guest"), (fixed, "once")):
            with pytest.raises(Refused) as caught:
                await one.overview.restart(one.id, root.actor_urn, name)
            assert caught.value.code == "forgotten"
        with pytest.raises(Refused) as caught:
            await one.overview.restart(one.id, dynamic.actor_urn, "nobody")
        assert caught.value.code == "not_found"
        await scene.passes(0.5, one)
        assert one.system.actors() == alive


async def test_signing_keys_are_respected_both_ways(scene):
    keys = {"k1": b"0123456789abcdef"}
    async with (
        scene.node("one", keys=keys) as one,
        scene.node("eye", keys=keys) as eye,
        scene.node("stranger") as stranger,
    ):
        nodes = (one, eye, stranger)
        await scene.passes(1.0, *nodes)
        async with Gatherer(eye) as gatherer, Gatherer(stranger) as other:
            await scene.passes(3.0, *nodes)
            assert {n.name: n.state for n in gatherer.latest.nodes} == {"one": "up"}
            seen = other.latest.node(one.id)
            assert (seen.state, seen.trees) == ("silent", ())
            assert "sign" in seen.error


async def test_who_is_cut_off_from_the_relay_says_so_and_blames_no_node(scene):
    async with scene.node("one") as one, scene.node("eye") as eye:
        await scene.passes(1.0, one, eye)
        async with Gatherer(eye) as gatherer:
            await scene.passes(1.0, one, eye)
            scene.world.relay.cut = True
            await scene.passes(10.0, one, eye)
            (problem,) = gatherer.latest.problems
            assert (problem.kind, problem.severity) == ("relay", "error")
            assert problem.text.endswith("nothing new is known of the nodes: cut")
            assert gatherer.latest.node(one.id).state == "silent"
            scene.world.relay.cut = False
            await scene.passes(5.0, one, eye)
            assert gatherer.latest.problems == ()
            assert gatherer.latest.node(one.id).state == "up"


async def test_who_did_not_run_for_a_while_blames_no_node(scene, monkeypatch):
    async with scene.node("one") as one, scene.node("eye") as eye:
        await scene.passes(1.0, one, eye)
        async with Gatherer(eye) as gatherer:
            await scene.passes(1.0, one, eye)
            monkeypatch.setattr(type(one.parts.peers), "take_request", lambda *_: None)
            version = gatherer.latest.version
            scene.clock._now += 20.0  # a machine that slept: no timer could fire
            while gatherer.latest.version == version:
                await scene.passes(0.125, one, eye)
            assert gatherer.latest.node(one.id).state == "up", "it has not been asked yet"
            await scene.passes(3.0, one, eye)
            assert gatherer.latest.node(one.id).state == "silent"
