"""How often nodes speak: by their number, by whether a relay tells of the dead, in time."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime import Node
from irismq_runtime.node.membership import cadence
from irismq_runtime.node.membership.cadence import SaidPeriods, period_of, silence_of
from tests.node.fleet import ReleasedNode
from tests.node.test_fleets import fleet

SOME_WILLS = pytest.mark.parametrize("without", [0, 5])


def test_beats_are_rarer_where_a_relay_tells_of_the_dead_and_never_too_rare():
    assert [period_of(1.0, n, will=True) for n in (1, 40, 160, 1000, 5000, 10_000)] == [
        1.0,
        1.0,
        4.0,
        25.0,
        30.0,
        50.0,
    ]
    assert period_of(10.0, 160, will=True) == 10.0


@given(
    misses=st.integers(1, 5),
    numbers=st.lists(st.integers(1, 20_000), min_size=2, max_size=30),
    choices=st.data(),
)
def test_who_misses_fewer_than_may_be_missed_takes_nobody_for_gone(misses, numbers, choices):
    """However the number of nodes changes, and whether the relay holds a will."""
    periods, now, heard = SaidPeriods(misses), 0.0, None
    lost_in_a_row = 0
    for nodes in numbers:
        period = period_of(1.0, nodes, will=choices.draw(st.booleans()))
        if heard is not None:
            now += min(periods.shortest(), period)  # the latest that it comes
            at, said = heard
            assert now - at < silence_of(said, misses)
        periods.note(period)
        lost = heard is not None and lost_in_a_row < misses - 1 and choices.draw(st.booleans())
        lost_in_a_row = lost_in_a_row + 1 if lost else 0
        if not lost:
            heard = (now, period)


@SOME_WILLS
async def test_those_who_come_at_once_say_no_beats_before_they_know_how_many_they_are(without):
    async with fleet() as one:
        for place, each in enumerate(one.add(60)):
            each.addresses.holds_will = place >= without
            await each.start()
        await one.until_all_know_all()
        one.count()
        began = one.clock.monotonic()
        await one.pass_time(1.3 - began, step=0.01)
        most = 2 * without + 2  # theirs, and answers that were late
        assert max(one.count().values(), default=0) <= most


async def test_at_rest_a_node_hears_forty_a_second_of_those_whose_death_a_relay_tells(monkeypatch):
    monkeypatch.setattr(cadence, "HEARD_WITH_WILLS", 5)
    async with fleet() as one:
        for each in one.add(30):
            each.addresses.holds_will = True
            await each.start()
        await one.until_all_know_all()
        await one.pass_time(12.0, step=0.1)
        one.count()
        await one.pass_time(30.0, step=0.1)
        assert 30 * 5 * 0.9 <= max(one.count().values()) <= 30 * 5 / 0.9 + 30
        assert one.all_know_all()


async def test_nodes_with_and_without_wills_and_released_ones_take_none_of_them_for_gone(
    monkeypatch,
):
    monkeypatch.setattr(cadence, "HEARD_WITH_WILLS", 3)
    async with fleet() as one:
        for place, each in enumerate(one.add(20)):
            each.addresses.holds_will = place % 2 == 0
            each.serves(each.name)
            await each.start()
        (released,) = one.add(1, ReleasedNode, stem="old")
        await released.start()
        released.serves("old.address")
        words = Counter()

        def two_of_three_are_lost(cluster, body):
            node = re.search(rb"node\W(\w+)\Wname", body)[1]
            words[node] += 1
            return words[node] % 3 != 0

        await one.pass_time(2.0)
        one.bus.loses = two_of_three_are_lost
        await one.pass_time(60.0, step=0.1)
        assert min(words.values()) > 6
        one.bus.loses = lambda cluster, body: False
        assert not any(change.kind == "gone" for n in one.nodes[:-1] for change in n.changes)


async def test_who_shares_a_process_with_its_relay_speaks_as_often_as_if_there_were_no_will():
    """When it is killed, nobody is left to tell of it."""
    async with (
        Node.embedded(name="host") as host,
        Node(nsqd=host.endpoints["nsqd"], iris=host.endpoints["iris"], name="guest") as guest,
    ):
        assert not host._parts.presence._announcer._leaves_will()
        assert guest._parts.presence._announcer._leaves_will()
