"""A thousand nodes and thousands of addresses: what one look costs stays bounded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from actors.testing import ManualClock
from irismq_runtime.cli.top.rows import MANY_NODES, View, rows
from irismq_runtime.observer import Gatherer, SystemState
from irismq_runtime.observer.gatherer import ASKED, PERIOD
from irismq_runtime.observer.reports import broker_stats_untrusted, node_report_untrusted
from irismq_runtime.refs import MemberInfo
from tests.observer.test_system_state import WALL, channel, report, topic
from tests.pyiris.scripted import turns
from tests.support.until import until

NODES = {f"n{n:04}-1": f"n{n:04}" for n in range(1000)}
MEMBERS = {
    f"at.{n:05}": (MemberInfo(f"n{n // 3:04}-1", f"n{n // 3:04}", f"at.{n:05}", f"urn:{n}"),)
    for n in range(3_000)
}


def told(node_id, now, **more):
    return node_report_untrusted(report(node_id, NODES[node_id], now, **more))


class Scene:
    """A system that is looked at every half second; a tenth of the nodes answers each time."""

    def __init__(self):
        self.state = SystemState()
        self.state.asks_each(4.5)
        self.now = 50.0
        self.turn = 0

    def step(self, *silent):
        self.now += PERIOD
        wall = WALL + self.now
        self.state.present(NODES, MEMBERS, self.now, wall)
        self.turn += 1
        for node_id in [*NODES][self.turn % 10 :: 10]:
            if node_id not in silent:
                handled = int(self.now * 8)
                value = told(node_id, self.now, handled=handled)
                self.state.reported(node_id, value, self.now, wall)
        return self.state.make_snapshot(self.now, wall)

    def steps(self, count, *silent):
        for _ in range(count):
            snapshot = self.step(*silent)
        return snapshot


@pytest.fixture(scope="module")
def scene():
    scene = Scene()
    scene.steps(20)
    return scene


def test_who_is_asked_in_turn_is_up_and_has_its_rates(scene):
    snapshot = scene.steps(3)
    assert {node.state for node in snapshot.nodes} == {"up"}
    assert snapshot.problems == ()
    assert {node.handled for node in snapshot.nodes if node.id != "n0500-1"} == {8.0}
    assert sum(service.served for service in snapshot.services) == 3_000
    assert all(service.members for service in snapshot.services)


def test_only_what_is_new_is_made_again(scene):
    before, after = scene.step(), scene.step()
    made = [a is not b for a, b in zip(before.nodes, after.nodes, strict=True)]
    assert sum(made) == 100
    assert all(a is b for a, b in zip(before.services, after.services, strict=True))


def test_who_does_not_answer_when_its_turn_comes_is_silent(scene):
    snapshot = scene.steps(23, "n0500-1")
    assert [node.id for node in snapshot.nodes if node.state == "silent"] == ["n0500-1"]
    snapshot = scene.steps(10)
    assert {node.state for node in snapshot.nodes} == {"up"}


def test_of_topics_those_that_rest_are_not_made_again():
    state = SystemState()
    rows_ = [topic(f"t{n}", count=1, channels=[channel("mailbox", count=1)]) for n in range(50)]
    views = []
    for step in range(40):
        now = 10.0 + step / 2
        rows_[0] = topic("t0", count=step, channels=[channel("mailbox", count=step)])
        stats = broker_stats_untrusted({"version": "1.3.0", "topics": rows_})
        state.broker_told("nsqd:4151", stats, now)
        views.append(state.make_snapshot(now, WALL + now).services)
    made = [a is not b for a, b in zip(views[-2], views[-1], strict=True)]
    assert made == [True, *[False] * 49]
    assert (views[-1][0].told, views[-1][1].told) == (2.0, 0.0)


def test_a_mistyped_address_is_compared_with_its_neighbours(scene):
    state = scene.state
    waiting = [topic("at.0123", depth=3)]
    for _ in range(4):
        stats = broker_stats_untrusted({"version": "1.3.0", "topics": waiting})
        state.broker_told("nsqd:4151", stats, scene.now)
        snapshot = scene.step()
    (problem,) = [one for one in snapshot.problems if one.kind == "unserved"]
    assert "or was at.0" in problem.text
    stats = broker_stats_untrusted({"version": "1.3.0", "topics": []})
    state.broker_told("nsqd:4151", stats, scene.now)
    scene.step()


def test_of_many_rows_a_part_is_made_and_the_others_are_a_key_away(scene):
    snapshot = scene.state.latest
    view = View(most=300)
    assert len(snapshot.nodes) > MANY_NODES
    first = rows(snapshot, view)
    assert [row.key for row in first[:2]] == ["node n0000-1", "node n0001-1"]
    assert (len(first), first[-1].key) == (301, "below")
    last = rows(snapshot, view.moved(3))
    assert [row.key for row in last[99:]] == ["node n0999-1", "above"]
    beyond = rows(snapshot, view.moved(4))
    assert [row.key for row in beyond[-2:]] == ["node n0999-1", "above"]
    assert rows(snapshot, view.moved(1).moved(-2)) == first
    opened = rows(snapshot, view.toggled("node n0001-1"))
    assert [row.key for row in opened[1:4]] == [
        "node n0001-1",
        "n0001-1 root",
        "n0001-1 root/worker",
    ]
    found = rows(snapshot, view.moved(2).filtered("n0777"))
    assert [row.key for row in found] == ["node n0777-1"]
    services = rows(snapshot, view.turned("services"))
    assert (len(services), services[-1].key) == (301, "below")


class FakeOverview:
    """Answers for every node at once, and counts."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = []

    def relay(self):
        return SimpleNamespace(ok=True)

    def services(self):
        return {}

    def goodbyes(self):
        return {}

    async def report(self, node_id, since, *, timeout):
        self.asked.append(node_id)
        return report(node_id, NODES[node_id], self.clock.monotonic())


async def test_a_gatherer_asks_a_hundred_nodes_at_a_time_and_each_in_its_turn():
    clock = ManualClock()
    overview = FakeOverview(clock)
    node = SimpleNamespace(
        id="eye", nodes=lambda: NODES, overview=overview, system=SimpleNamespace(clock=clock)
    )
    asked = []
    async with Gatherer(node) as gatherer:
        for turn in range(1, 11):
            await until(lambda turn=turn: gatherer.latest.version == turn)
            asked.append(tuple(overview.asked))
            overview.asked.clear()
            clock.advance(PERIOD)
    assert {len(each) for each in asked} == {ASKED}
    assert {node_id for each in asked for node_id in each} == set(NODES)


async def test_a_look_that_takes_long_is_followed_by_a_longer_pause():
    clock = ManualClock()
    overview = FakeOverview(clock)
    overview.services = lambda: clock.advance(0.4) or {}  # as ten thousand of them might take
    node = SimpleNamespace(
        id="eye", nodes=dict, overview=overview, system=SimpleNamespace(clock=clock)
    )
    async with Gatherer(node) as gatherer:
        await until(lambda: gatherer.latest.version == 1)
        paused = 0.0
        while gatherer.latest.version == 1:
            clock.advance(0.1)
            paused += 0.1
            await turns()
    assert paused > 1.1
