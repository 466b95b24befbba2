"""Where shards belong, who lives, and what a node does about it: functions, without a node."""

from __future__ import annotations

from collections import Counter

from irismq_runtime.entities.placement import LEASE, Decision, Sightings, decide, home_of
from irismq_runtime.entities.records import (
    NodeRow,
    member_in,
    owner_in,
    owner_state,
    pins_in,
    pins_state,
)
from irismq_runtime.messaging import shard_address

NODES = [f"node-{number}" for number in range(8)]


def homes(nodes: list[str], shards: int = 512) -> dict[int, str]:
    return {shard: home_of("shop.cart", shard, nodes) for shard in range(shards)}


def test_shards_are_spread_over_all_nodes_whatever_order_they_are_named_in() -> None:
    found = homes(NODES)
    assert found == homes(NODES[::-1])
    counts = Counter(found.values())
    assert set(counts) == set(NODES)
    assert min(counts.values()) > 35
    assert home_of("shop.cart", 1, []) == ""


def test_where_a_node_goes_its_shards_alone_move_and_where_one_comes_they_move_to_it() -> None:
    before, after = homes(NODES), homes(NODES[1:])
    assert all(after[shard] == node for shard, node in before.items() if node != NODES[0])
    assert all(before[shard] == node or before[shard] == NODES[0] for shard, node in after.items())


def test_who_shows_the_same_beat_for_the_time_of_a_lease_is_gone() -> None:
    seen = Sightings()
    assert seen.see({"a": 1, "b": 7}, 100.0) == {"a", "b"}
    assert seen.see({"a": 1, "b": 8}, 100.0 + LEASE - 0.01) == {"a", "b"}
    assert seen.see({"a": 1, "b": 8}, 100.0 + LEASE) == {"b"}
    assert seen.see({"a": 2, "b": 8}, 101.0 + LEASE) == {"a", "b"}
    assert seen.see({"b": 9}, 102.0 + LEASE) == {"b"}
    assert seen.see({"b": 9}, 103.0 + LEASE, {"b"}) == set()


def test_a_beat_that_goes_back_is_another_beat_and_no_clock_of_a_host_is_compared() -> None:
    seen = Sightings()
    assert seen.see({"a": 9}, 0.0) == {"a"}
    assert seen.see({"a": 3}, LEASE + 1.0) == {"a"}


def test_a_node_takes_what_belongs_to_it_and_is_free_or_given_up_by_the_dead() -> None:
    live = {"a", "b"}
    mine = [shard for shard, node in homes(["a", "b"], 16).items() if node == "a"]
    free = dict.fromkeys(range(16), "")
    assert decide("a", "shop.cart", free, (), live, may_give=True) == Decision(take=tuple(mine))
    of_the_dead = dict.fromkeys(range(16), "c")
    assert decide("a", "shop.cart", of_the_dead, (), live, may_give=True).take == tuple(mine)
    of_the_other = dict.fromkeys(range(16), "b")
    found = decide("a", "shop.cart", of_the_other, (), live, may_give=True)
    assert found == Decision(due=tuple(mine))


def test_a_node_gives_up_what_belongs_to_others_only_when_it_may_and_lets_go_of_what_is_lost() -> (
    None
):
    live = {"a", "b"}
    theirs = [shard for shard, node in homes(["a", "b"], 16).items() if node == "b"]
    owners = dict.fromkeys(range(16), "a")
    assert decide("a", "shop.cart", owners, range(16), live, may_give=False) == Decision()
    found = decide("a", "shop.cart", owners, range(16), live, may_give=True)
    assert found == Decision(give=tuple(theirs))
    owners[3] = "b"
    assert 3 in decide("a", "shop.cart", owners, range(16), live, may_give=False).lost


def test_what_a_row_says_is_read_again_and_other_bytes_say_nothing() -> None:
    member = NodeRow(frozenset({"shop.cart", "shop.room"}), "boot:1/2/3", "desk")
    assert member_in(member.state()) == member
    assert owner_in(owner_state("desk-1")) == "desk-1"
    assert owner_in(owner_state("")) == ""
    for bad in (None, b"", b"\xc1", member.state()[:-3]):
        assert member_in(bad) == NodeRow()
    for bad in (None, b"", b"\xc1", member.state()):
        assert owner_in(bad) == ""


def test_where_an_operator_has_moved_a_shard_it_belongs_as_long_as_that_node_lives() -> None:
    live = NODES[:3]
    other = {shard: next(n for n in live if n != home) for shard, home in homes(live, 8).items()}
    for me in live:
        decision = decide(
            me, "shop.cart", dict.fromkeys(range(8), ""), [], live, may_give=True, pins=other
        )
        assert set(decision.take) == {shard for shard, node in other.items() if node == me}
    gone = dict.fromkeys(range(8), "node-7")
    for me in live:
        free = decide(
            me, "shop.cart", dict.fromkeys(range(8), ""), [], live, may_give=True, pins=gone
        )
        assert set(free.take) == {s for s, node in homes(live, 8).items() if node == me}
    assert pins_in(pins_state(other)) == other
    assert pins_in(b"no row") == pins_in(None) == {}


def test_a_shard_that_a_node_does_not_want_belongs_to_one_that_does_if_there_is_one() -> None:
    live, address = NODES[:3], "shop.cart"
    shards = [shard for shard, home in homes(live, 16).items() if home == live[0]]
    names = {shard_address(address, shard) for shard in shards}
    owners = {shard: live[0] if shard in shards else "x" for shard in range(16)}

    def gives(avoids: dict[str, set[str]]) -> Decision:
        return decide(live[0], address, owners, shards, live, may_give=True, avoids=avoids)

    assert gives({}).give == ()
    assert set(gives({live[0]: names}).give) == set(shards)
    assert gives(dict.fromkeys(live, names)).give == ()
    row = NodeRow(frozenset({address}), "here", "one", frozenset(names))
    assert member_in(row.state()) == row
