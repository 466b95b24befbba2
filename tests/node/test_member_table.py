"""The table of who serves what, by announcements alone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.errors import DecodeError
from irismq_runtime.node.membership import member_table
from irismq_runtime.node.membership.announcements import (
    Announcement,
    announcement_fields,
    announcement_untrusted,
)
from irismq_runtime.node.membership.member_table import MemberTable


def up(node="n1", version=1, serves=(("a", "u1"),), **more):
    return Announcement(node, "name", "up", version, 1.0, serves=serves, **more)


def test_an_announcement_brings_its_members_and_a_goodbye_takes_them():
    table = MemberTable()
    changes, incomplete = table.take(up(serves=(("a", "u1"), ("b", "u2"))), 0.0)
    assert [c.kind for c in changes] == ["joined", "joined"]
    assert not incomplete
    assert table.serves("a")
    assert [m.urn for m in table.members("b")] == ["u2"]
    bye = Announcement("n1", "name", "bye", 1, 1.0)
    assert [c.kind for c in table.take(bye, 1.0)[0]] == ["left", "left", "gone"]
    assert not table.serves("a")


def test_a_newer_version_replaces_the_list_and_an_older_one_changes_nothing():
    table = MemberTable()
    table.take(up(version=1), 0.0)
    changes, _ = table.take(up(version=2, serves=(("a", "u9"),)), 0.0)
    assert [(c.kind, c.member.urn) for c in changes] == [("left", "u1"), ("joined", "u9")]
    assert table.take(up(version=1), 0.0) == ([], False)
    assert [m.urn for m in table.members("a")] == ["u9"]


def test_a_heartbeat_of_an_unknown_version_asks_for_the_list():
    table = MemberTable()
    assert table.take(up(version=3, serves=None), 0.0) == ([], True)
    assert table.knows("n1")
    table.take(up(version=3), 0.0)
    assert table.take(up(version=3, serves=None), 0.5) == ([], False)


def test_a_silent_node_is_forgotten_and_may_come_back():
    table = MemberTable(misses=3)
    table.take(up(), 0.0)
    assert table.expire(3.4) == []
    assert [c.kind for c in table.expire(3.6)] == ["left", "gone"]
    assert [c.kind for c in table.take(up(), 5.0)[0]] == ["joined"]


def test_a_node_that_said_goodbye_does_not_come_back_by_a_late_heartbeat():
    table = MemberTable()
    table.take(up(), 0.0)
    table.take(Announcement("n1", "name", "bye", 1, 1.0), 0.1)
    assert table.take(up(), 0.2) == ([], False)
    assert not table.serves("a")


def test_time_in_which_we_could_not_hear_is_given_to_everybody():
    table = MemberTable(misses=3)
    table.take(up(), 0.0)
    table.extend(60.0)
    assert table.expire(60.0) == []


names = st.text(min_size=1, max_size=20)


@given(
    names,
    names,
    st.integers(0, 2**40),
    st.floats(0.1, 3600),
    st.none() | st.lists(st.tuples(names, names), max_size=5).map(tuple),
)
def test_what_is_announced_is_what_is_read(node, name, version, period, serves):
    said = Announcement(node, name, "up", version, period, serves=serves)
    assert announcement_untrusted(announcement_fields(said)) == said


pairs = st.lists(st.tuples(names, names), max_size=3).map(tuple)


@given(
    st.sampled_from(["up", "bye", "lost"]),
    st.none() | st.integers(0, 2**40),
    st.tuples(pairs, pairs, pairs, pairs),
    st.lists(names, max_size=3).map(tuple),
    st.integers(0, 2**40),
)
def test_what_is_announced_in_format_2_is_what_is_read(state, since, four, seek, number):
    add, drop, away, has = four
    said = Announcement(
        "n1", "name", state, 7, 1.0, format=2, since=since, add=add, drop=drop, away=away,
        has=has, seek=seek, last=number, nodes=number, cut=bool(number % 2),
    )  # fmt: skip
    assert announcement_untrusted(announcement_fields(said)) == said


def test_pairs_that_nobody_could_serve_are_refused():
    fields = announcement_fields(up())
    for pair in (["a" * 1025, "u"], ["a", "u" * 401]):
        for key in ("serves", "add", "drop", "has", "away"):
            with pytest.raises(DecodeError):
                announcement_untrusted({**fields, key: [pair]})
    with pytest.raises(DecodeError):
        announcement_untrusted({**fields, "seek": ["a"] * 1001})


def test_a_node_whose_relay_lost_it_is_gone_until_it_speaks_again():
    table = MemberTable()
    table.take(up(), 0.0)
    lost = Announcement("n1", "name", "lost", 1, 1.0, why="its relay lost it")
    changes, _ = table.take(lost, 0.1)
    assert [(change.kind, change.why) for change in changes][-1] == ("gone", "its relay lost it")
    assert table.take(lost, 0.2) == ([], False)
    assert not table.goodbyes()
    assert [change.kind for change in table.take(up(), 0.3)[0]] == ["joined"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=500))
def test_the_reason_of_a_goodbye_is_what_is_read(why):
    said = Announcement("n1", "name", "bye", 2, 1.0, why=why)
    assert announcement_untrusted(announcement_fields(said)) == said


FULL = Announcement(
    "n1", "name", "up", 7, 1.0, serves=(), want="*", why="x", away=(("a", "b"),), format=2,
    since=1, add=(("a", "b"),), drop=(("a", "b"),), last=9, has=(("a", "b"),), seek=("a",),
    nodes=3, cut=True,
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*announcement_fields(FULL), "x"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(values)
def test_garbage_is_a_decode_error_and_nothing_else(value):
    try:
        announcement_untrusted(value)
    except DecodeError:
        return
    assert isinstance(value, dict)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=40))
def test_the_index_by_address_always_agrees_with_the_nodes(steps):
    table = MemberTable()
    for now, (node, version, leaves) in enumerate(steps):
        if leaves:
            table.expire(float(now * 10))
        serves = tuple((f"addr{i}", f"{node}{i}") for i in range(version))
        table.take(up(node, version=now * 4 + version, serves=serves), float(now * 10))
    by_node = sorted((m.node, m.address) for a in table.addresses() for m in table.members(a))
    expected = sorted((n, m.address) for n in table.nodes() for m in _members(table, n))
    assert by_node == expected


def _members(table, node):
    return [m for a in table.addresses() for m in table.members(a) if m.node == node]


def test_a_goodbye_says_why_and_is_remembered():
    table = MemberTable()
    table.take(up("asked"), 0.0)
    table.take(up("broken"), 0.0)
    table.take(Announcement("asked", "name", "bye", 2, 1.0), 1.0)
    why = "tree gave up: shutdown"
    changes, _ = table.take(Announcement("broken", "name", "bye", 2, 1.0, why=why), 1.0)
    assert [(change.kind, change.why) for change in changes][-1] == ("gone", why)
    table.take(up("silent"), 1.0)
    assert [(change.kind, change.why) for change in table.expire(100.0)][-1] == ("gone", "")
    assert table.goodbyes() == {"asked": "", "broken": why}


def test_the_reason_of_a_goodbye_fits_the_wire_whatever_it_was():
    said = Announcement("n1", "name", "bye", 2, 1.0, why="\udc80" + "x" * 1000)
    why = announcement_untrusted(announcement_fields(said)).why
    assert (why[:8], len(why)) == ("\\udc80xx", 500)
    for wrong in ("", "x" * 501, 7, None):
        with pytest.raises(DecodeError):
            announcement_untrusted({**announcement_fields(up()), "why": wrong})


def test_too_long_a_period_is_refused():
    with pytest.raises(DecodeError):
        announcement_untrusted({**announcement_fields(up()), "period": 10**9})


# Known, heard, awaited


def test_after_a_doubt_a_member_is_awaited_until_its_node_speaks():
    table = MemberTable()
    table.take(up(version=1), 0.0)
    assert table.is_confirmed("a")
    assert table.is_confirmed("irismq.node.n1")
    table.mark_stale()
    assert table.serves("a")
    assert table.is_expected("a")
    assert table.is_expected("irismq.node.n1")
    assert not table.is_confirmed("a")
    assert table.take(up(version=1, serves=None), 1.0) == ([], False)  # it serves what it did
    assert table.is_confirmed("a")
    assert not table.is_expected("a")
    assert not table.is_expected("irismq.node.n1")


def test_a_membership_that_is_cut_off_is_awaited_and_the_others_are_heard():
    table = MemberTable()
    two = (("a", "u1"), ("b", "u2"))
    table.take(up(version=1, serves=two, away=(("b", "u2"), ("irismq.node.n1", "@node"))), 0.0)
    assert table.is_confirmed("a")
    assert table.is_expected("b")
    assert table.is_expected("irismq.node.n1")
    table.take(up("n2", serves=(("b", "u9"),)), 0.0)
    assert table.is_confirmed("b")  # another member is there
    table.take(Announcement("n2", "name", "bye", 2, 1.0), 0.0)
    assert not table.is_confirmed("b")
    table.take(up(version=2, serves=two), 0.0)
    assert table.is_confirmed("b")
    assert table.is_confirmed("irismq.node.n1")


def test_who_leaves_is_not_awaited_unless_the_relay_was_away():
    table = MemberTable()
    table.take(up(), 0.0)
    table.take(Announcement("n1", "name", "bye", 2, 1.0), 0.0)
    assert not table.is_expected("a")
    table.take(up("n2"), 0.0)
    table.mark_stale()
    table.expire(1000.0)  # silent, for it could not be heard
    assert not table.serves("a")
    assert table.is_expected("a")
    table.accept_stale()
    assert not table.is_expected("a")
    assert not table.is_confirmed("a")


def test_who_is_known_when_patience_ends_is_believed_to_be_there():
    table = MemberTable()
    table.take(up(away=(("a", "u1"),)), 0.0)
    assert table.is_expected("a")
    table.accept_stale()
    assert table.is_confirmed("a")
    table.take(up(version=1), 0.0)
    assert table.is_confirmed("a")


nodes = st.sampled_from("xyz")
addresses = st.sampled_from("abc")
heard = st.tuples(nodes, st.integers(0, 5), st.lists(addresses, unique=True), st.sets(addresses))


@given(
    st.lists(st.one_of(heard, nodes, st.sampled_from(["DOUBT", "BELIEVE", "EXPIRE"])), max_size=40)
)
def test_what_is_heard_is_known_and_is_never_awaited(steps):
    table = MemberTable()
    for now, step in enumerate(steps):
        match step:
            case "DOUBT":
                table.mark_stale()
            case "BELIEVE":
                table.accept_stale()
            case "EXPIRE":
                table.expire(now + 1000.0)
            case str():
                table.take(up(step, version=99, serves=None), float(now))
            case node, version, serves, away:
                pairs = tuple((address, node + address) for address in serves)
                cut = tuple((address, node + address) for address in away)
                table.take(up(node, version=version, serves=pairs, away=cut), float(now))
        for address in "abc":
            assert not (table.is_confirmed(address) and table.is_expected(address))
            assert table.serves(address) or not table.is_confirmed(address)
        for node in "xyz":
            assert table.knows(node) or not table.is_confirmed(f"irismq.node.{node}")


def test_what_was_served_when_it_was_sought_is_no_news_to_who_knows_a_later_list():
    table = MemberTable()
    table.take(up(version=1, format=2), 0.0)
    dropped = Announcement("n1", "name", "up", 2, 1.0, format=2, since=1, drop=(("a", "u1"),))
    table.take(dropped, 0.0)
    found = Announcement("n1", "name", "up", 1, 1.0, format=2, has=(("a", "u1"),))
    assert table.take(found, 0.0) == ([], False)
    assert not table.serves("a")
    table.take(msgspec.structs.replace(found, version=3), 0.0)
    assert table.serves("a")


@pytest.mark.parametrize("key", ["serves", "add", "drop", "has", "away"])
def test_a_node_is_itself_in_no_cluster_but_its_own(key):
    value = announcement_fields(up(format=2, since=0))
    announcement_untrusted({**value, key: [["irismq.node.n1", "@node"]]})
    with pytest.raises(DecodeError):
        announcement_untrusted({**value, key: [["irismq.node.n2", "@node"]]})


def test_what_is_cut_off_and_not_served_is_not_remembered(monkeypatch):
    monkeypatch.setattr(member_table, "MEMORY", 10_000)
    table = MemberTable()
    table.take(up("n2", 1, ()), 0.0)
    for i in range(100):
        many = tuple((f"{i}.{k}", "u") for k in range(10))
        table.take(Announcement("n1", "n", "up", 1, 1.0, format=2, has=many, away=many), 0.0)
        table.take(up("n2", i + 2, (), away=many), 0.0)
    kept = {node: len(entry.away) for node, entry in table._nodes.items()}
    assert kept["n1"] == len(table._nodes["n1"].members) < 20
    assert kept["n2"] == 0
    assert len(table._expected) < 20


def test_nodes_that_are_lost_make_no_goodbye_forgotten(monkeypatch):
    monkeypatch.setattr(member_table, "_MAX_GONE", 3)
    table = MemberTable()
    for name in ("a", "b", "c"):
        table.take(Announcement(name, name, "bye", 1, 1.0), 0.0)
    for name in ("x", "y", "z"):
        table.take(up(node=name), 0.0)
        table.take(Announcement(name, name, "lost", 1, 1.0), 0.0)
    assert list(table.goodbyes()) == ["a", "b", "c"]


def test_a_version_that_somebody_else_has_raised_is_doubted_when_the_node_speaks_again():
    table = MemberTable()
    table.take(up(version=3, format=2), 0.0)
    forged = up(version=2**63 - 1, format=2, serves=(("forged", "u"),))
    table.take(forged, 1.0)
    assert table.take(up(version=3, format=2, serves=None), 1.5) == ([], False)  # on its way
    assert table.take(up(version=3, format=2, serves=None), 4.0)[1]
    assert not table.whole
    answer = up(version=3, format=2, serves=None, since=0, add=(("a", "u1"),))
    table.take(answer, 4.1, reply=True)
    assert (table.version("n1"), table.whole) == (3, True)
    assert table.serves("a")
    assert not table.serves("forged")


def test_of_a_node_of_the_released_protocol_the_next_list_is_taken_then():
    table = MemberTable()
    table.take(up(version=3), 0.0)
    table.take(up(version=2**63 - 1, serves=(("forged", "u"),)), 1.0)
    assert table.take(up(version=3, serves=None), 4.0)[1]
    table.take(up(version=3), 4.1)
    assert table.serves("a")
    assert not table.serves("forged")
    assert table.whole


def test_a_list_that_is_begun_again_and_again_costs_what_it_says():
    """Without end: as from a stranger that wants a copy of all it has said before."""
    table = MemberTable()
    pairs = tuple((f"address.{i}", "u") for i in range(2000))
    table.take(up(version=1, format=2, serves=pairs), 0.0)
    entry = table._nodes["n1"]
    begun = up(version=1, format=2, serves=None, since=0, add=pairs[:1], last=2**62)
    for _ in range(50):
        table.take(begun, 1.0, reply=True)
        assert len(entry.named) == 1
    table.take(up(version=9, format=2, serves=None, since=1, add=pairs[1:3]), 1.0, reply=True)
    assert sorted(table.addresses()) == sorted(pair[0] for pair in pairs[:3])
