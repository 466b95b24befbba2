"""The names of entities, as docs/protocol.md has them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from irismq_runtime.messaging import (
    ENTITY_ADDRESS,
    ENTITY_KEY,
    entity_name,
    mailbox_topic,
    shard_address,
    shard_of,
    split_entity_name,
)
from tests.wire.vectors import DOCUMENT


def test_the_shards_and_topics_of_the_document_are_ours() -> None:
    table = DOCUMENT.read_text("utf-8").split("### Entities")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.*)` \| (\d+) \| (\d+) \| `(.*)` \|$", table, re.MULTILINE)
    assert len(rows) >= 5
    for key, shards, shard, topic in rows:
        assert shard_of(key, int(shards)) == int(shard)
        assert mailbox_topic(shard_address("shop.cart", int(shard))) == topic


def test_keys_are_spread_over_all_shards() -> None:
    found = Counter(shard_of(f"key-{number}", 16) for number in range(16_000))
    assert len(found) == 16
    assert min(found.values()) > 850


def test_what_may_be_a_key_and_an_address() -> None:
    for good in ("a", "a/b#c", "Ω" * 256, " "):
        assert ENTITY_KEY.takes(good)
    for bad in ("", "a" * 257, "a\0b", "\ud800", b"a", 1, None):
        assert not ENTITY_KEY.takes(bad)
    assert ENTITY_ADDRESS.takes("shop.cart")
    for bad in ("", "a/b", "a#1", None, 5):
        assert not ENTITY_ADDRESS.takes(bad)


def test_a_name_is_split_into_what_it_was_made_of() -> None:
    for key in ("ada", "a/b", "#", "/"):
        assert split_entity_name(entity_name("shop.cart", key)) == ("shop.cart", key)
    for bad in ("", "shop.cart", "shop.cart/", "/key", "a#1/key"):
        with pytest.raises(ValueError, match=r"address=|key="):
            split_entity_name(bad)
