"""Names: what nsqd takes, what it does not, and one topic for each address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.protocols.nsq import (
    InvalidName,
    channel_name,
    is_valid_name,
    mailbox_topic,
    topic_name,
)

BAD = [
    "",
    "x" * 65,
    "name\n",
    "a b",
    "a/b",
    "é",
    "a#ephemeral.b",
    "#ephemeral",
    "x" * 55 + "#ephemeral",
    "a#ephemera",
    "\x00",
]
GOOD = ["a", "x" * 64, "shop.inventory", "a-b_c.D9", "x" * 54 + "#ephemeral"]


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_with_their_value(name):
    for check, kind, code in (
        (topic_name, "topic", "E_BAD_TOPIC"),
        (channel_name, "channel", "E_BAD_CHANNEL"),
    ):
        with pytest.raises(InvalidName) as caught:
            check(name)
        assert repr(name) in str(caught.value)
        assert caught.value.kind == kind
        assert caught.value.code == code


@pytest.mark.parametrize("name", GOOD)
def test_good_names_pass_and_are_their_own_topic(name):
    assert topic_name(name) == channel_name(name.encode()) == name.encode()
    assert mailbox_topic(name) == name


def test_a_name_of_another_type_is_named():
    with pytest.raises(TypeError, match="not int"):
        topic_name(3)  # type: ignore[arg-type]  # the mistake under test


@given(st.text(min_size=1, max_size=100))
def test_any_address_has_a_legal_topic(address):
    topic = mailbox_topic(address)
    assert is_valid_name(topic.encode())
    assert topic == mailbox_topic(address)


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_two_addresses_never_share_a_topic(one, other):
    assert (mailbox_topic(one) == mailbox_topic(other)) == (one == other)


@given(st.text(min_size=1, max_size=80))
def test_a_topic_taken_as_an_address_does_not_meet_the_one_it_came_from(address):
    topic = mailbox_topic(address)
    if topic != address:
        assert mailbox_topic(topic) != topic


def test_long_addresses_stay_readable_and_apart():
    one, other = mailbox_topic("shop." + "x" * 100), mailbox_topic("shop." + "x" * 101)
    assert one.startswith("shop.")
    assert one != other


@pytest.mark.parametrize("address", ["", "\ud800"])
def test_an_address_without_a_name_is_refused(address):
    with pytest.raises(InvalidName):
        mailbox_topic(address)
