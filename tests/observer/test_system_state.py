"""The whole system from what nodes and brokers say: states, problems, changes. No I/O."""

from __future__ import annotations

import json

import pytest

from irismq_runtime.cli.top.command import plain
from irismq_runtime.cli.top.rows import View
from irismq_runtime.errors import DecodeError
from irismq_runtime.observer import SystemState, changes, places, to_json
from irismq_runtime.observer.reports import broker_stats_untrusted, node_report_untrusted
from irismq_runtime.refs import MemberInfo

WALL = 1_700_000_000.0


class Scene:
    """A watch with a clock of its own: one node, one broker, half a second a step."""

    def __init__(self):
        self.state = SystemState()
        self.now = 50.0
        self.nodes = {"a-1": "a"}
        self.goodbyes = {}
        self.members = {"shop": [MemberInfo("a-1", "a", "shop", "urn:1")]}

    @property
    def wall(self):
        return WALL + self.now

    def step(self, seconds=0.5, **reports):
        """Let time pass; the nodes with a report answer, the others do not."""
        self.now += seconds
        self.state.present(self.nodes, self.members, self.now, self.wall, self.goodbyes)
        for node_id in self.nodes:
            name = node_id.replace("-", "_")
            if name in reports:
                value = report(node_id, self.nodes[node_id], self.now, **reports[name])
                self.state.reported(node_id, node_report_untrusted(value), self.now, self.wall)
            else:
                self.state.unanswered(node_id, "no answer within 1 s")
        return self.state.make_snapshot(self.now, self.wall)

    def broker(self, topics):
        stats = broker_stats_untrusted({"version": "1.3.0", "topics": topics})
        self.state.broker_told("nsqd:4151", stats, self.now)


def report(node_id, name, now, *, restarts=0, inbox=0, handled=0, error=None, **more):
    last = None
    if error:
        last = {"reason": "crash", "error": error, "text": "boom", "wall": WALL, "time": now}
    worker = {
        "name": "worker",
        "class": "Worker",
        "kind": "worker",
        "state": "running",
        "restarts": restarts,
        "inbox": inbox,
        "handled": handled,
        "last_exit": last,
        "ref": "urn:1",
        "address": "shop",
        "children": [],
    }
    root = {
        "name": "root",
        "class": "Tree",
        "kind": "supervisor",
        "state": "running",
        "children": [worker],
    }
    return {
        "node": node_id,
        "name": name,
        "time": now,
        "trees": [root],
        "health": {"live": True, "ready": True, "reasons": [], "checks": []},
        **more,
    }


def topic(name, depth=0, count=0, channels=()):
    return {"topic_name": name, "depth": depth, "message_count": count, "channels": channels}


def channel(name, depth=0, count=0, in_flight=0):
    return {
        "channel_name": name,
        "depth": depth,
        "message_count": count,
        "in_flight_count": in_flight,
        "deferred_count": 0,
    }


@pytest.fixture
def scene():
    return Scene()


def kinds(snapshot):
    return [problem.kind for problem in snapshot.problems]


def worker_of(snapshot, node_id="a-1"):
    return snapshot.node(node_id).trees[0].children[0]


def test_a_node_that_answers_is_up_and_nothing_is_wrong(scene):
    for count in range(5):
        snapshot = scene.step(a_1={"handled": 10 * count, "inbox": 1})
    assert snapshot.node("a-1").state == "up"
    assert snapshot.problems == ()
    assert worker_of(snapshot).rate == 20.0
    assert snapshot.node("a-1").handled == 20.0
    assert snapshot.point.inboxes == 1
    assert [place.path for place in places(snapshot.node("a-1").trees)] == [
        ("root",),
        ("root", "worker"),
    ]


def test_a_crash_loop_is_named_with_its_cause_and_ends(scene):
    scene.step(a_1={})
    for count in (1, 2):
        snapshot = scene.step(
            a_1={"restarts": count, "error": "ValueError", "tracebacks": {"urn:1": "Traceback..."}}
        )
    (problem,) = snapshot.problems
    assert (problem.kind, problem.severity) == ("crash-loop", "error")
    assert problem.text == "worker crashes again and again: ValueError: boom"
    assert problem.subject == "root/worker"
    assert worker_of(snapshot).last.traceback == "Traceback..."
    began = problem.since
    later = scene.step(a_1={"restarts": 3, "error": "ValueError"})
    assert later.problems[0].since == began
    assert worker_of(later).last.traceback == "Traceback...", "told once, kept"
    for _ in range(60):
        later = scene.step(a_1={"restarts": 3, "error": "ValueError"})
    assert later.problems == ()


def test_an_inbox_that_grows_is_a_problem_while_it_does(scene):
    for inbox in (0, 30, 60):
        snapshot = scene.step(a_1={"inbox": inbox})
    assert kinds(snapshot) == ["growing-mailbox"]
    assert snapshot.problems[0].text == "the inbox of worker grows: 60 wait"
    for inbox in (40, 20, 0):
        snapshot = scene.step(a_1={"inbox": inbox})
    assert snapshot.problems == ()


def test_a_silent_node_is_a_problem_within_two_seconds_and_when_it_is_lost(scene):
    scene.step(a_1={})
    assert scene.step().node("a-1").state == "up", "one missed answer is no news"
    scene.step()
    snapshot = scene.step()
    assert snapshot.node("a-1").state == "silent"
    (problem,) = snapshot.problems
    assert problem.text == "a does not answer: no answer within 1 s"
    assert problem.since - (WALL + 50.5) <= 2.0
    scene.nodes, scene.members = {}, {}
    snapshot = scene.step(2.0)
    assert snapshot.node("a-1").state == "lost"
    assert snapshot.problems[0].text == "a is gone without a goodbye"
    scene.nodes = {"a-2": "a"}
    snapshot = scene.step(1.0, a_2={})
    assert snapshot.problems == (), "another one has taken its place"
    assert snapshot.node("a-1").state == "lost"
    snapshot = scene.step(700.0, a_2={})
    assert snapshot.node("a-1") is None


def test_time_in_which_nobody_looked_is_no_silence(scene):
    scene.step(a_1={})
    scene.state.overslept(30.0)
    assert scene.step(30.5).node("a-1").state == "up"
    assert scene.step(1.0).node("a-1").state == "silent"


def test_a_goodbye_is_no_problem_unless_the_tree_gave_up(scene):
    for count in (0, 1, 2):
        scene.step(a_1={"restarts": count, "error": "ValueError"})
    scene.nodes, scene.goodbyes = {}, {"a-1": ""}
    snapshot = scene.step()
    seen = snapshot.node("a-1")
    assert (seen.state, seen.why, snapshot.problems) == ("left", "", ()), "it was asked to"
    assert scene.step(31.0).node("a-1") is None

    scene.nodes = {"b-1": "b"}
    scene.step(b_1={})
    scene.nodes, scene.goodbyes = {}, {"b-1": "tree gave up: shutdown"}
    snapshot = scene.step()
    seen = snapshot.node("b-1")
    assert (seen.state, seen.why) == ("left", "tree gave up: shutdown")
    assert kinds(snapshot) == ["gave-up"]
    assert snapshot.problems[0].text == "b ended by itself: tree gave up: shutdown"
    assert kinds(scene.step(60.0)) == ["gave-up"], "longer than an end as asked is shown"


def test_a_goodbye_counts_also_from_a_node_that_did_not_answer(scene):
    scene.step(a_1={})
    assert scene.step(3.0).node("a-1").state == "silent"
    scene.nodes, scene.goodbyes = {}, {"a-1": "tree gave up: killed"}
    seen = scene.step(3.0).node("a-1")
    assert (seen.state, seen.why) == ("left", "tree gave up: killed")


def test_who_goes_without_a_goodbye_is_lost_however_soon_that_is_known(scene):
    scene.step(a_1={})
    scene.nodes = {}
    snapshot = scene.step(0.1)
    assert (snapshot.node("a-1").state, kinds(snapshot)) == ("lost", ["dead-node"])


def test_a_late_answer_takes_no_goodbye_back(scene):
    scene.step(a_1={})
    scene.nodes, scene.goodbyes = {}, {"a-1": "tree gave up: shutdown"}
    scene.step()
    value = node_report_untrusted(report("a-1", "a", scene.now))
    scene.state.reported("a-1", value, scene.now, scene.wall)
    seen = scene.state.make_snapshot(scene.now, scene.wall).node("a-1")
    assert (seen.state, seen.why) == ("left", "tree gave up: shutdown")


def test_a_node_that_comes_back_is_up_again(scene):
    scene.step(a_1={})
    assert scene.step(3.0).node("a-1").state == "silent"
    scene.nodes = {}
    assert scene.step(3.0).node("a-1").state == "lost"
    scene.nodes = {"a-1": "a"}
    snapshot = scene.step(a_1={})
    assert (snapshot.node("a-1").state, snapshot.problems) == ("up", ())


def test_not_being_ready_is_news_when_it_lasts(scene):
    unready = {"health": {"live": True, "ready": False, "reasons": ["relay: cut"]}}
    assert scene.step(a_1=unready).problems == ()
    snapshot = scene.step(1.5, a_1=unready)
    assert snapshot.problems[0].text == "not ready: relay: cut"
    assert scene.step(a_1={}).problems == ()


def test_services_join_presence_brokers_and_nodes(scene):
    meters = {"shop": {"asked": 0, "failed": 0, "buckets": [0] * 14}}
    for count in range(4):
        meters["shop"] |= {"asked": 10 * count, "buckets": [0, 9 * count, *[0] * 6, count]}
        snapshot = scene.step(a_1={"meters": meters})
        scene.broker(
            [
                topic("shop", 1, 100 * count, [channel("mailbox", 20, 100 * count, 5)]),
                topic("shop.dead", 2, 2),
                topic("orders", 3, 3),
            ]
        )
    service = snapshot.service("shop")
    assert (service.waiting, service.in_flight, service.dead) == (21, 5, 2)
    assert (service.told, service.asked) == (200.0, 20.0)
    assert 0.0005 < service.p50 <= 0.001
    assert 0.1 < service.p99 <= 0.25
    assert [member.node for member in service.members] == ["a-1"]
    orders = snapshot.service("orders")
    assert (orders.served, orders.members, orders.waiting) == (False, (), 3)
    assert snapshot.service("shop.dead") is None
    assert snapshot.point.waiting == 24
    scene.state.broker_failed("nsqd:4151", "refused")
    snapshot = scene.step(a_1={})
    assert kinds(snapshot) == ["broker"]
    assert snapshot.brokers[0].error == "refused"


def test_a_growing_mailbox_and_dead_letters_that_arrive_are_problems(scene):
    for step in range(4):
        scene.step(a_1={})
        scene.broker(
            [
                topic("shop", 0, 0, [channel("mailbox", 100 * step, 100 * step)]),
                topic("shop.dead", step, step),
            ]
        )
    snapshot = scene.state.make_snapshot(scene.now, scene.wall)
    assert sorted(kinds(snapshot)) == ["dead-letters", "growing-mailbox"]
    assert {problem.subject for problem in snapshot.problems} == {"shop"}
    texts = " ".join(problem.text for problem in snapshot.problems)
    assert "3 dead letters for shop lately" in texts
    assert "the mailbox of shop grows: 300 wait" in texts


def test_a_topic_that_comes_is_new_and_one_that_was_there_is_not(scene):
    scene.step(a_1={})
    scene.broker([topic("old.dead", 7, 7)])
    scene.step(a_1={})
    scene.broker([topic("old.dead", 7, 7), topic("new.dead", 2, 2)])
    snapshot = scene.state.make_snapshot(scene.now, scene.wall)
    assert [problem.text for problem in snapshot.problems] == ["2 dead letters for new lately"]
    assert snapshot.service("old").dead == 7


def test_changes_hold_what_differs_and_merge_to_the_whole(scene):
    shown = {"nodes": {}, "services": {}}
    before = None
    scene.nodes = {"a-1": "a", "b-1": "b"}
    for count in range(6):
        after = scene.step(
            **({"a_1": {"inbox": count}} if count < 4 else {}),
            b_1={},
        )
        if count == 4:
            scene.nodes = {"b-1": "b"}
        told = json.loads(to_json(changes(before, after)))
        for part in ("nodes", "services"):
            for key, value in told.get(part, {}).items():
                if value is None:
                    shown[part].pop(key, None)
                else:
                    shown[part][key] = value
        shown |= {key: told[key] for key in ("problems", "brokers", "version") if key in told}
        before = after
    assert "b-1" not in told.get("nodes", {}), "nothing changed there"
    whole = json.loads(to_json(changes(None, after)))
    assert {**whole["nodes"]} == shown["nodes"]
    assert whole["problems"] == shown["problems"]
    assert shown["version"] == 6


def test_the_history_is_bounded(scene):
    for _ in range(1300):
        scene.step(a_1={})
    assert len(scene.state.history) == 1200


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"node": 1},
        {"node": "a", "name": "a", "trees": [{"name": "x"}]},
        {"node": "a" * 20_000, "name": "a"},
        {"node": "a", "name": "a", "tracebacks": {"u": "x" * 30_000}},
    ],
)
def test_a_report_that_is_none_raises_its_one_error(value):
    with pytest.raises(DecodeError):
        node_report_untrusted(value)
    with pytest.raises(DecodeError):
        broker_stats_untrusted({"topics": value or [1]})


def texts(snapshot):
    return [problem.text for problem in snapshot.problems]


def test_messages_for_nobody_are_named_first_and_the_address_that_was_meant(scene):
    waiting = channel("mailbox", 50, 50) | {"client_count": 0}
    consumed = channel("mailbox", 3, 3) | {"client_count": 1}
    for _ in range(4):
        snapshot = scene.step(a_1={})
        scene.broker(
            [
                topic("shop", 0, 3, [consumed]),
                topic("shpo", 0, 50, [waiting]),
                topic("billing.mail", 7, 7),
                topic("sold", 0, 9, [channel("audit", 9, 9) | {"client_count": 0}]),
                topic("billing.dead", 235, 235),
                topic("gone", 0, 9, [channel("x#ephemeral", 9, 9) | {"client_count": 0}]),
            ]
        )
    assert kinds(snapshot) == ["unserved", "unserved", "unserved", "dead-letters"]
    mistyped = "50 messages wait for shpo, which nobody serves: its worker is not running"
    mistyped += ", or was shop meant?"
    assert set(texts(snapshot)) == {
        mistyped,
        "7 messages wait for billing.mail, which nobody serves: its worker is not running",
        "9 messages wait in channel audit of sold, which nobody consumes",
        "235 dead letters for billing, see irismq dead list",
    }
    assert "nothing is wrong" not in plain(snapshot, View(), 120)
    for _ in range(4):  # somebody has started, and somebody has looked
        snapshot = scene.step(a_1={})
        scene.broker([topic("shop", 0, 3, [consumed]), topic("billing.dead", 0, 235)])
    assert kinds(snapshot) == []


def test_a_restart_of_a_moment_is_no_problem_and_what_is_unknown_neither(scene):
    alone = channel("mailbox", 5, 5)
    for _ in range(4):
        snapshot = scene.step(a_1={})
        scene.broker([topic("shop", 0, 5, [alone])])  # it does not say who consumes
    assert kinds(snapshot) == []
    scene.step(a_1={})
    scene.broker([topic("shop", 0, 5, [alone | {"client_count": 0}])])
    snapshot = scene.step(a_1={})
    assert kinds(snapshot) == []
    scene.broker([topic("shop", 0, 5, [alone | {"client_count": 0}])])
    snapshot = scene.step(a_1={})
    assert texts(snapshot) == [
        "5 messages wait for shop: its members are there, but consume nothing"
    ]


def test_a_node_with_a_store_shows_what_it_commits_and_what_waits(scene):
    assert scene.step(a_1={"store": None}).node("a-1").store is None
    for n in range(5):
        store = {"url": "postgresql://db/shop", "commits": 10 * n, "messages": 40 * n}
        store |= {"seconds": 0.02 * n, "uncommitted": 3, "outbox": 7, "handled": 9, "lost": 1}
        snapshot = scene.step(a_1={"store": store})
    shown = snapshot.node("a-1").store
    assert (shown.commits, shown.messages, shown.took) == (20.0, 80.0, 0.002)
    assert (shown.uncommitted, shown.outbox, shown.handled, shown.lost) == (3, 7, 9, 1)
    for _ in range(8):
        snapshot = scene.step(a_1={"store": {**store, "fault": "the disk is full"}})
    shown = snapshot.node("a-1").store
    assert (shown.commits, shown.took, shown.fault) == (0.0, None, "the disk is full")


def test_a_node_with_entities_shows_how_many_are_active_and_what_it_has_of_their_shards(scene):
    assert scene.step(a_1={}).node("a-1").entities == ()
    report = {"address": "shop.cart", "shards": 64, "owned": 21, "active": 9000, "failing": 2}
    (shown,) = scene.step(a_1={"entities": [report]}).node("a-1").entities
    assert (shown.address, shown.shards, shown.owned) == ("shop.cart", 64, 21)
    assert (shown.active, shown.failing) == (9000, 2)
