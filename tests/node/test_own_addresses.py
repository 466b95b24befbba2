"""The list of what a node serves: its steps, and the way from any version to the last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.node.membership import own_addresses
from irismq_runtime.node.membership.own_addresses import OwnAddresses, size_of

ROOM = 1000
OWN = ("irismq.node.n1", "@node")


def tell(own, room=ROOM):
    """All that waits, as the steps in which it is told."""
    steps = []
    while (step := own.next_step(room)) is not None:
        own.commit(step)
        steps.append(step)
    return steps


def pairs(count, stem="a"):
    return [(f"{stem}{i}", f"u{i}") for i in range(count)]


class Listener:
    """Who applies steps, as the protocol says."""

    def __init__(self):
        self.version = 0
        self.state = {}

    def take(self, step):
        assert step.since <= self.version < step.version or step.since == 0 == self.version
        for pair in step.drop:
            self.state.pop(pair, None)
        self.state.update(dict.fromkeys(step.add, "stands"))
        self.state.update(dict.fromkeys(step.away, "away"))
        self.version = step.version

    def catch_up(self, own, room=ROOM):
        """Ask until there is nothing more; how many replies that took."""
        replies = 0
        while self.version < own.version:
            step = own.since(self.version, room)
            if step.since != self.version:
                self.version, self.state = 0, {}
            self.take(step)
            replies += 1
            assert replies < 1000, "it comes to no end"
        return replies


def served(own):
    away = set(own.away())
    state = {pair: "away" if pair in away else "stands" for pair in own.serves()}
    return state | {pair: "away" for pair in away if pair == OWN}


def known(listener):
    return {p: s for p, s in listener.state.items() if p != OWN or s == "away"}


def test_what_one_message_does_not_hold_goes_in_steps_each_with_a_version():
    own = OwnAddresses()
    for pair in pairs(100):
        own.bind(pair)
    steps = tell(own, room=10 * size_of(("a10", "u10")))
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == 10
    assert [pair for step in steps for pair in step.add] == pairs(100)


def test_one_more_address_costs_the_same_whatever_there_is_besides():
    own = OwnAddresses()
    for pair in pairs(5000):
        own.bind(pair)
    tell(own)
    own.bind(("one.more", "u"))
    (step,) = tell(own)
    assert (step.add, step.drop, step.away) == ((("one.more", "u"),), (), ())
    assert own.since(step.since, ROOM) == step


def test_what_is_as_it_was_is_not_told():
    own = OwnAddresses()
    for pair in pairs(3):
        own.bind(pair)
    tell(own)
    for pair in pairs(3):
        own.stands(pair, yes=False)
    for pair in pairs(3)[1:]:
        own.stands(pair, yes=True)
    own.bind(("passing", "u"))
    own.unbind(("passing", "u"))
    (step,) = tell(own)
    assert (step.add, step.drop, step.away) == ((), (), (("a0", "u0"),))
    assert own.next_step(ROOM) is None
    assert own.version == step.version


def test_a_step_that_could_not_be_sent_is_made_again_with_what_came_after_it():
    own = OwnAddresses()
    own.bind(("a", "u"))
    assert own.next_step(ROOM).add == (("a", "u"),)
    own.bind(("b", "u"))
    (step,) = tell(own)
    assert step.add == (("a", "u"), ("b", "u"))


def test_a_pair_without_room_is_named_and_holds_up_no_other():
    own = OwnAddresses()
    own.bind(("a" * 2000, "u"))
    own.bind(("b", "u"))
    (step,) = tell(own)
    assert step.add == (("b", "u"),)
    assert own.too_large == {("a" * 2000, "u"): size_of(("a" * 2000, "u"))}
    (later,) = tell(own, room=4000)
    assert later.add == (("a" * 2000, "u"),)
    assert not own.too_large


def test_a_list_that_needs_many_messages_is_read_in_as_many():
    own, listener = OwnAddresses(), Listener()
    for i in range(5000):
        own.bind((f"{i:0900}", "u"))
    room = 32 * 1024
    steps = tell(own, room)
    assert (
        listener.catch_up(own, room)
        == len(steps)
        == 5000 // (room // size_of(("0" * 900, "u"))) + 1
    )
    assert known(listener) == served(own)


def test_who_missed_what_is_forgotten_begins_anew(monkeypatch):
    monkeypatch.setattr(own_addresses, "MAX_DROPPED", 3)
    own, listener = OwnAddresses(), Listener()
    for pair in pairs(10):
        own.bind(pair)
    tell(own)
    listener.catch_up(own)
    for pair in pairs(10)[:5]:
        own.unbind(pair)
        tell(own)
    assert own.since(listener.version, ROOM).since == 0
    listener.catch_up(own)
    assert known(listener) == served(own)
    assert own.since(10**9, ROOM).since == 0  # a version that there never was


def test_a_list_in_parts_is_read_to_its_end_after_pairs_before_it_were_forgotten(monkeypatch):
    """191."""
    monkeypatch.setattr(own_addresses, "MAX_DROPPED", 4)
    own, listening = OwnAddresses(), Listener()

    def told():
        for step in tell(own):
            listening.take(step)  # who misses nothing has nothing to ask for
        assert known(listening) == served(own)

    for pair in pairs(3):
        own.bind(pair)
        told()
    for pair in pairs(9, "passing"):  # more is gone than is remembered
        own.bind(pair)
        told()
        own.unbind(pair)
        told()
    late = Listener()
    assert late.catch_up(own, size_of(("a0", "u0"))) >= 3
    assert known(late) == served(own) == dict.fromkeys(pairs(3), "stands")


def test_who_asks_while_a_change_waits_hears_what_was_told():
    """192."""
    own, listener = OwnAddresses(), Listener()
    (pair,) = pairs(1)
    own.bind(pair)
    tell(own)
    own.stands(pair, yes=False)
    listener.catch_up(own)
    own.stands(pair, yes=True)
    assert tell(own) == []  # it is as it was
    assert known(listener) == served(own) == {pair: "stands"}


change = st.tuples(
    st.sampled_from(["bind", "unbind", "lost", "back", "tell", "hear"]),
    st.sampled_from([*pairs(4), OWN]),
)


@given(st.lists(change, max_size=60), st.integers(1, 40))
@pytest.mark.parametrize("memory", [0, 2, 100])
def test_who_asks_from_whatever_version_comes_to_the_same_list(memory, changes, room):
    own, listener = OwnAddresses(), Listener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_addresses, "MAX_DROPPED", memory)
        for what, pair in changes:
            match what:
                case "bind" if pair != OWN:
                    own.bind(pair)
                case "unbind" if pair != OWN:
                    own.unbind(pair)
                case "lost" | "back":
                    own.stands(pair, yes=what == "back")
                case "tell":
                    tell(own, room + 20)
                case "hear":
                    listener.catch_up(own, room)
        tell(own)
        listener.catch_up(own, room)
        assert known(listener) == served(own)
