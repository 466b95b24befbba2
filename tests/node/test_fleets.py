"""Fleets that start, return, change and stop at once: what each node hears, and comes to know."""

from __future__ import annotations

import contextlib

import pytest

from irismq_runtime.messaging import PRESENCE_CLUSTER, Packer, private_cluster
from irismq_runtime.node.membership import cadence, member_table
from irismq_runtime.node.membership.announcements import Announcement
from irismq_runtime.node.membership.cadence import Asked, Pace, period_of, silence_of
from irismq_runtime.node.membership.catching_up import AT_ONCE, SILENT
from irismq_runtime.node.membership.service_waiter import SEARCH
from irismq_runtime.node.membership.settling import SETTLE_LONGEST
from irismq_runtime.wire import Key, KeyRing, Kind, Serializer
from tests.node.fleet import Fleet, ReleasedNode


@contextlib.asynccontextmanager
async def fleet():
    one = Fleet()
    try:
        yield one
    finally:
        await one.stop()


#: What a node may hear in a storm, for each node that there is: introductions, answers, and
#: the beats of the seconds that it takes.
MOST = 4


@pytest.mark.parametrize("size", [10, 30, 60])
async def test_a_fleet_that_starts_at_once_costs_each_node_what_there_are_nodes(size):
    async with fleet() as one:
        for each in one.add(size):
            await each.start()
        await one.until_all_know_all()
        assert max(one.count().values()) <= MOST * size


@pytest.mark.parametrize("size", [10, 30, 60])
async def test_a_fleet_that_returns_at_once_costs_each_node_what_there_are_nodes(size):
    async with fleet() as one:
        for each in one.add(size):
            await each.start()
            each.serves(each.name)
        await one.until_all_know_all()
        for each in one.nodes:
            each.lost()
        one.count()
        for each in one.nodes:
            each.back()
        clusters = [private_cluster(each.name) for each in one.nodes] + [n.name for n in one.nodes]
        taken = 0.0
        while not all(each.presence.is_confirmed(c) for each in one.nodes for c in clusters):
            await one.pass_time(0.01)
            taken += 0.01
            assert taken < 5.0
        assert max(one.count().values()) <= MOST * size
        assert not any(change.kind in {"left", "gone"} for n in one.nodes for change in n.changes)


async def test_one_after_another_costs_who_is_there_two_words_for_each_newcomer():
    async with fleet() as one:
        first, *others = one.add(60)
        await first.start()
        for each in others:
            await each.start()
            await one.pass_time(0.05)
        await one.until_all_know_all()
        seconds = one.clock.monotonic()
        beats = seconds * len(one.nodes)
        assert one.count()[first.name] <= 2 * len(others) + beats


async def test_a_newcomer_knows_all_before_it_settles_and_asks_no_more_than_it_has_to():
    async with fleet() as one:
        for each in one.add(60):
            await each.start()
            each.serves(each.name)
        await one.until_all_know_all()
        (late,) = one.add()
        await late.start()
        while late.presence.settling:
            await one.pass_time(0.01)
        assert len(late.presence.nodes()) == 61
        assert one.knows(late) == {(n.name, n.name) for n in one.nodes[:-1]}
        assert sum(each.asked for each in one.nodes) == 0


async def test_at_rest_a_node_hears_some_two_hundred_announcements_a_second(monkeypatch):
    monkeypatch.setattr(cadence, "HEARD_AT_REST", 10)
    async with fleet() as one:
        for each in one.add(30):
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(5.0, step=0.1)
        one.count()
        await one.pass_time(20.0, step=0.1)
        assert max(one.count().values()) <= 20 * 10 / 0.9 + 30
        assert one.all_know_all()


async def test_nobody_is_taken_for_gone_as_the_period_follows_the_number_of_nodes(monkeypatch):
    monkeypatch.setattr(cadence, "HEARD_AT_REST", 5)
    async with fleet() as one:
        for each in one.add(30):
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(8.0, step=0.1)
        (late,) = one.add()
        await late.start()
        await one.pass_time(20.0, step=0.1)
        assert one.all_know_all()
        assert not any(change.kind == "gone" for each in one.nodes for change in each.changes)
        ended, one.nodes[3:] = one.nodes[3:], []
        for each in ended:
            await each.presence.stop()
        one.nodes[0].serves("one.more")
        await one.pass_time(20.0, step=0.1)
        for each in one.nodes:
            gone = [change.node for change in each.changes if change.kind == "gone"]
            assert sorted(gone) == sorted(each.name for each in ended)


async def test_a_node_that_was_stopped_gives_that_time_to_those_who_speak_often_too(monkeypatch):
    monkeypatch.setattr(cadence, "HEARD_AT_REST", 1)
    async with fleet() as one:
        (victim, *_) = nodes = one.add(10)
        for each in nodes:
            await each.start()
        await one.pass_time(3.0, step=0.1)
        victim.presence._heard(Announcement("often", "o", "up", 0, 1.0, serves=()))
        victim.presence._look_timer.cancel()
        await one.pass_time(4.0, step=0.1)
        victim.presence._look()  # as late as after SIGSTOP and SIGCONT
        assert "often" in victim.presence.nodes()
        await one.pass_time(4.0, step=0.1)
        assert "often" not in victim.presence.nodes()
        assert len(victim.presence.nodes()) == len(nodes)


def test_the_numbers_that_follow_from_how_many_nodes_there_are():
    assert [period_of(1.0, n) for n in (1, 200, 1000, 10_000, 100_000)] == [
        1.0,
        1.0,
        5.0,
        50.0,
        60.0,
    ]
    assert period_of(10.0, 1000) == 10.0
    assert silence_of(3600.0, 3) == 210.0
    assert [cadence.answer_window(n) for n in (1, 20, 1000, 10_000)] == [0.0, 0.0, 0.5, 2.0]


def test_who_has_just_come_gathers_those_who_come_with_it_for_longer():
    assert cadence.gathering(20, 0.1) == (0.0, 0.0)
    assert cadence.gathering(100, 0.1) == (0.2, 0.4)
    assert cadence.gathering(10_000, 0.1) == (0.5, 1.0)
    assert cadence.gathering(10_000, 2.1) == (0.0, 2.0)


async def test_a_node_that_has_just_returned_answers_later_than_the_others():
    async with fleet() as one:
        returned, *others = one.add(40)
        for each in one.nodes:
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(2 * cadence.LATELY)
        returned.lost()
        returned.back()
        await one.pass_time(0.05)
        (newcomer,) = one.add(stem="new")
        await newcomer.start()
        await one.pass_time(0.04)
        known = newcomer.presence.nodes()
        assert returned.name not in known
        assert {each.name for each in others} <= known.keys()
        await one.pass_time(0.2)
        assert returned.name in newcomer.presence.nodes()


def test_few_who_ask_are_answered_each_and_many_all_at_once():
    for known in (1, 2, 3, 10, 100, 1000):
        asked = Asked()
        for i in range(known // cadence.CROWD):
            asked.add(f"n{i}", known)
        assert len(asked.take().nodes) == known // cadence.CROWD
        assert not asked
        for i in range(known):
            asked.add(f"n{i}", known)
        assert asked.take().everybody == ()


def test_a_pace_lets_a_burst_through_and_then_so_many_in_each_while():
    pace, now, due = Pace(4, 1.0), 0.0, []
    for _ in range(10):
        now += pace.delay(now)
        due.append(now)
    assert due == [0.0] * 4 + [1.0] * 4 + [2.0] * 2


@pytest.mark.parametrize("max_body", [1024 * 1024, 64 * 1024, 4 * 1024])
async def test_a_list_that_no_message_holds_is_known_to_all_whenever_they_came(max_body):
    async with fleet() as one:
        early, server = one.add(2, max_body=max_body)
        await early.start()
        await server.start()
        await one.pass_time(0.3)
        names = {f"{i}.{'x' * 900}" for i in range(500)}
        server.serves(*names)
        await one.pass_time(3.0)
        (late,) = one.add(max_body=max_body)
        await late.start()
        await one.pass_time(3.0)
        for each in (early, late):
            assert {address for _, address in one.knows(each)} == names
            assert each.presence.whole
        assert early.asked == late.asked == 0
        assert server.asked <= 500 * 920 / min(32 * 1024, max_body - 1024) + 2
        assert one.bus.largest <= max_body
        server.presence.unbind(min(names), "urn:x")
        await one.pass_time(0.2)
        assert len(one.knows(early)) == len(one.knows(late)) == 499


async def test_one_more_address_is_one_small_message_whatever_the_node_serves():
    async with fleet() as one:
        server, other = one.add(2)
        await server.start()
        await other.start()
        server.serves(*(f"address.{i}" for i in range(3000)))
        await one.pass_time(1.0)
        before = one.bus.bytes[other.name]
        server.serves("one.more")
        await one.pass_time(0.05)
        assert other.presence.serves("one.more")
        assert one.bus.bytes[other.name] - before < 1000


async def test_what_was_missed_is_asked_for_and_nothing_is_certain_before():
    async with fleet() as one:
        server, other = one.add(2)
        await server.start()
        await other.start()
        await one.pass_time(1.5)
        assert other.presence.nobody_serves("lost.address")
        one.bus.loses = lambda cluster, body: b"lost.address" in body
        server.serves("lost.address")
        await one.pass_time(0.1)
        replies, server.presence.changes_since = server.presence.changes_since, None
        await one.pass_time(1.2)  # a beat tells that there is something
        assert not other.presence.serves("lost.address")
        assert not other.presence.whole
        assert not other.presence.nobody_serves("lost.address")
        server.presence.changes_since = replies
        await one.pass_time(8.0)
        assert other.presence.serves("lost.address")
        assert other.presence.whole


async def test_who_serves_an_address_says_so_when_it_is_sought_and_the_others_are_silent():
    async with fleet() as one:
        for each in one.add(30):
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(1.0, step=0.1)
        one.bus.loses = lambda cluster, body: cluster == PRESENCE_CLUSTER and b"found" in body
        one.nodes[0].serves("found.here")
        await one.pass_time(0.05)
        one.bus.loses = lambda cluster, body: False
        one.count()
        called = []
        asker = one.nodes[-1]
        asker.presence.when_known("found.here", lambda: called.append(1))
        await one.pass_time(SEARCH / 2)
        assert called
        assert asker.presence.is_confirmed("found.here")
        heard = one.count()
        assert max(heard[n.name] for n in one.nodes[:-1]) <= 2 + 0.03 * 30 * 2


async def test_what_cannot_be_announced_is_said_with_the_reason():
    async with fleet() as one:
        server, other = one.add(2, max_body=1200)
        await server.start()
        await other.start()
        await one.pass_time(1.5)
        assert server.presence.complaint() == ""
        server.serves("short", "long." * 200)
        await one.pass_time(0.2)
        assert other.presence.serves("short")
        complaint = server.presence.complaint()
        assert "1 addresses cannot be announced" in complaint
        assert "long.long." in complaint
        assert "1,200" in complaint
        server.presence.unbind("long." * 200, "urn:x")
        server.serves("another")
        await one.pass_time(0.2)
        assert server.presence.complaint() == ""


async def test_a_beat_in_the_words_of_the_last_one_is_a_sign_of_life_and_a_changed_one_is_read():
    async with fleet() as one:
        listener, speaker = one.add(2)
        await listener.start()
        await speaker.start()
        speaker.serves("an.address")
        await one.pass_time(1.0)
        heard, read = listener.presence._heard, []
        listener.presence._heard = lambda said, **how: (read.append(said), heard(said, **how))
        await one.pass_time(10.0, step=0.1)  # beats are all that is said
        assert speaker.name in listener.presence.nodes()
        assert {said.node for said in read} <= {listener.name}
        one.bus.loses = lambda cluster, body: b"one.more" in body
        speaker.serves("one.more")
        await one.pass_time(0.1)
        one.bus.loses = lambda cluster, body: False
        await one.pass_time(1.2)  # the next one has another version
        assert listener.presence.serves("one.more")


async def test_forged_announcements_take_bounded_room_and_are_forgotten(monkeypatch):
    monkeypatch.setattr(member_table, "MEMORY", 1_000_000)
    async with fleet() as one:
        victim, other = one.add(2)
        await victim.start()
        await other.start()
        other.serves("true.address")
        await one.pass_time(1.0)
        table = victim.presence._table
        for i in range(5000):
            pairs = tuple((f"forged.{i}.{k}", "urn:x") for k in range(5))
            said = Announcement(f"f{i}", "f", "up", 1, 3600.0, serves=pairs)
            victim.presence._heard(said)
        assert table._cost <= 1_000_000
        assert len(table) < 500
        assert not victim.presence.nobody_serves("no.address")  # not all is known
        assert victim.presence.serves("true.address")
        await one.pass_time(silence_of(3600.0, 3) + 2, step=0.5)
        assert set(victim.presence.nodes()) == {victim.name, other.name}
        assert victim.presence.nobody_serves("no.address")


async def test_strangers_who_are_behind_without_end_hold_up_no_other_for_long():
    async with fleet() as one:
        victim, other = one.add(2)
        await victim.start()
        await other.start()
        await one.pass_time(1.0)
        asked = []

        class Endless:
            """Of what it serves there is always more."""

            def __init__(self, name):
                self.packer = Packer(name, Serializer(), now=one.clock.time)

            def on_request(self, request):
                name = self.packer.node_id
                cluster = private_cluster(name)
                envelope = self.packer.open_untrusted(request.body, "request", cluster)
                since = self.packer.load_untrusted(envelope).since
                asked.append(name)
                said = {"node": name, "name": name, "state": "up", "v": since + 1, "period": 60.0}
                said |= {"since": since, "last": 2**62, "format": 2}
                if len(asked) > 2000:
                    request.fail("nothing came of it")
                else:
                    request.reply(self.packer.answer(Kind.REPLY, envelope.id, said, name=name))

            def on_joined(self):
                pass

        one.bus.loses = lambda cluster, body: b"true.address" in body
        other.serves("true.address")
        await one.pass_time(0.05)
        for i in range(AT_ONCE):
            await other.addresses.join(private_cluster(f"f{i}"), Endless(f"f{i}"))
            victim.presence._heard(Announcement(f"f{i}", "f", "up", 2**62, 60.0, format=2))
        victim.presence._heard(Announcement(other.name, "o", "up", 1, 60.0, format=2))
        await one.pass_time(0.2)
        assert victim.presence.serves("true.address")
        assert len(asked) < 2000


async def test_what_a_dead_node_said_is_not_believed_when_a_newcomer_is_told_it_again():
    async with fleet() as one:
        keys = KeyRing([Key("k", bytes(32))])
        witness, dead = one.add(2, keys=keys)
        recorded = []
        one.bus.loses = lambda cluster, body: recorded.append((cluster, body))
        for each in one.nodes:
            await each.start()
        dead.serves("an.address")
        await one.pass_time(1.0)
        assert witness.presence.serves("an.address")
        one.bus.loses = lambda cluster, body: dead.name.encode() in body  # it says nothing more
        await one.pass_time(10.0, step=0.1)
        one.nodes.remove(dead)
        one.bus.members.pop(private_cluster(dead.name))
        (late,) = one.add(keys=keys, stem="late")
        await late.start()
        await one.pass_time(1.0)
        one.bus.loses = lambda cluster, body: False
        for cluster, body in recorded:
            if cluster == PRESENCE_CLUSTER:
                late.presence.on_broadcast(body)
        await one.pass_time(0.5)
        assert not late.presence.serves("an.address")
        assert not late.presence.nobody_serves("an.address")  # it may be there, and is asked


async def test_a_node_whose_clock_is_behind_is_asked_and_believed():
    async with fleet() as one:
        keys = KeyRing([Key("k", bytes(32))])
        early, slow = one.add(2, keys=keys)
        slow.packer._now = lambda: one.clock.time() - 60.0
        for each in one.nodes:
            await each.start()
            each.serves(each.name)
        await one.pass_time(1.5)
        (late,) = one.add(keys=keys)
        await late.start()
        await one.pass_time(1.5)
        for each in (early, late):
            assert each.presence.serves(slow.name)
            assert each.presence.whole


async def test_invented_nodes_hold_up_none_that_answers():
    async with fleet() as one:
        victim, known, other = one.add(3)
        for each in one.nodes:
            await each.start()
        await one.pass_time(1.0)
        asked = []

        class Silent:
            def on_request(self, request):
                asked.append(request)

            def on_joined(self):
                pass

        for i in range(20 * AT_ONCE):
            await other.addresses.join(private_cluster(f"f{i}"), Silent())
            victim.presence._heard(Announcement(f"f{i}", "f", "up", 2**62, 60.0, format=2))
        one.bus.loses = lambda cluster, body: b"true.address" in body
        known.serves("true.address.1")
        other.serves("true.address.2")
        await one.pass_time(10.0, step=0.05)
        assert victim.presence.serves("true.address.1")
        assert victim.presence.serves("true.address.2")
        known.serves("true.address.3")  # of one that has answered before
        await one.pass_time(2.0, step=0.05)
        assert victim.presence.serves("true.address.3")
        assert len(asked) <= 12.5 * AT_ONCE / SILENT


async def test_who_seeks_again_and_again_is_answered_at_a_pace_and_with_little():
    async with fleet() as one:
        victim, *others = one.add(10)
        for each in one.nodes:
            await each.start()
        for i in range(3000):
            victim.presence.bind("crowded", f"urn:{i}")
        victim.serves("alone")
        await one.pass_time(3.0, step=0.05)
        one.count()
        before = sum(one.bus.bytes.values())
        asker = others[0]
        sought = ("crowded", "alone", "nowhere")
        for i in range(300):
            name = asker.name if i % 2 else f"f{i}"
            said = Announcement(name, "f", "up", 0, 60.0, format=2, seek=sought)
            victim.presence._heard(said)
            if i % 10 == 0:
                await one.pass_time(0.01)
        heard = one.count()
        assert 0 < max(heard.values()) <= 16 * 4 + 20
        assert sum(one.bus.bytes.values()) - before < 10 * 64 * 20_000
        assert {"crowded", "alone"} <= {m for _, m in one.knows(asker)}


async def test_a_search_of_all_at_once_is_answered_once_for_all():
    async with fleet() as one:
        for each in one.add(30):
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(1.0, step=0.1)
        one.bus.loses = lambda cluster, body: b"found.here" in body
        one.nodes[0].serves("found.here")
        await one.pass_time(0.05)
        answers = []
        one.bus.loses = lambda cluster, body: (
            answers.append(cluster) if b"\xa3has" in body else None
        )
        found = []
        for each in one.nodes[1:]:
            each.presence.when_known("found.here", lambda: found.append(1))
        await one.pass_time(SEARCH / 2)
        assert len(found) == len(one.nodes) - 1
        assert answers == [PRESENCE_CLUSTER]


async def test_those_who_come_and_go_while_they_wait_to_be_asked_are_kept_once():
    async with fleet() as one:
        (victim,) = one.add()
        await victim.start()
        await one.pass_time(1.0)
        for _ in range(100):
            for i in range(AT_ONCE + 3):
                for state in ("up", "lost", "up"):
                    victim.presence._heard(Announcement(f"f{i}", "f", state, 1, 60.0, format=2))
        assert len(victim.presence._catching_up._waiting) <= AT_ONCE + 3


async def test_forged_last_wills_make_a_node_speak_as_often_as_its_pace_allows():
    async with fleet() as one:
        victim, *others = one.add(10)
        for each in (victim, *others):
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(0.5)
        one.count()
        for _ in range(100):
            for each in one.nodes:
                each.presence._heard(Announcement(victim.name, "v", "lost", 0, 1.0, format=2))
        await one.pass_time(0.1)
        assert one.all_know_all()
        assert max(one.count().values()) <= 10 + 2 * 16


async def test_a_node_that_claims_a_million_others_delays_nobody_for_long():
    async with fleet() as one:
        for each in one.add(3):
            await each.start()
        first = one.nodes[0].presence
        for i in range(round(SETTLE_LONGEST / 0.1)):
            assert first.settling
            for k in range(2):  # and there are more of them, again and again
                said = Announcement(f"x{i}.{k}", "x", "up", 0, 60.0, format=2, nodes=10**6)
                first._heard(said)
            await one.pass_time(0.1, step=0.1)
        await one.pass_time(0.3, step=0.1)
        assert not first.settling


# With nodes of the released protocol -----------------------------------------------


@pytest.mark.parametrize("released_first", [True, False])
async def test_nodes_of_the_released_protocol_and_new_ones_know_each_other(released_first):
    async with fleet() as one:
        kinds = [ReleasedNode, None] if released_first else [None, ReleasedNode]
        for kind in kinds:
            for each in one.add(2, **({"kind": kind} if kind else {})):
                await each.start()
                each.serves(each.name)
            await one.pass_time(0.3)
        await one.pass_time(2.0)
        released = [each for each in one.nodes if isinstance(each, ReleasedNode)]
        new = [each for each in one.nodes if not isinstance(each, ReleasedNode)]
        names = {(each.name, each.name) for each in one.nodes}
        for each in new:
            assert one.knows(each) == names
            assert each.presence.whole
        for each in released:
            assert {n for o in one.nodes for n in each.members(o.name)} == {
                o.name for o in one.nodes if o is not each
            }
        # Changes go both ways, and so does the end.
        new[0].serves("later")
        released[0].serves("old.later")
        await one.pass_time(2.5)
        assert all(each.members("later") == [new[0].name] for each in released)
        assert all(each.presence.serves("old.later") for each in new)
        await new[0].presence.stop()
        released[0].say(state="bye")
        await one.pass_time(0.1)
        assert all(new[0].name not in each.known for each in released)
        assert released[0].name not in new[1].presence.nodes()


async def test_who_asks_for_whole_lists_again_and_again_gets_four_in_a_second():
    async with fleet() as one:
        (victim,) = one.add()
        await victim.start()
        victim.serves("an.address")
        await one.pass_time(0.5)
        whole = []
        one.bus.loses = lambda cluster, body: whole.append(body) if b"serves" in body else None
        for i in range(200):
            victim.presence._heard(Announcement(f"f{i}", "f", "up", 0, 60.0, want="*"))
            await one.pass_time(0.01)
        assert 8 <= len(whole) <= 12


async def test_a_released_node_is_found_by_a_search_and_told_as_much_as_one_message_holds():
    async with fleet() as one:
        (new,) = one.add(max_body=64 * 1024)
        await new.start()
        new.serves(*(f"{i}.{'x' * 900}" for i in range(200)))
        (old,) = one.add(kind=ReleasedNode)
        await old.start()
        await one.pass_time(2.5)
        told = old.known[new.name][1]
        assert 50 < len(told) < 200
        one.bus.loses = lambda cluster, body: b"old.address" in body
        old.serves("old.address")
        await one.pass_time(0.1)
        one.bus.loses = lambda cluster, body: False
        called = []
        new.presence.when_known("old.address", lambda: called.append(1))
        await one.pass_time(SEARCH / 2)
        assert called
