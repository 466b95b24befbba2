"""The arguments of a node: what has no meaning is found before anything starts."""

from __future__ import annotations

import pytest

from irismq_runtime.config import Endpoint, NodeConfig, parse_endpoint, parse_endpoints
from irismq_runtime.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.5:4150", Endpoint("10.0.0.5", 4150)),
        ("broker", Endpoint("broker", 4150)),
        (":7", Endpoint("127.0.0.1", 7)),
        ("[::1]:9", Endpoint("::1", 9)),
        ("[::1]", Endpoint("::1", 4150)),
        ("::1", Endpoint("::1", 4150)),
        (" host:1 ", Endpoint("host", 1)),
    ],
)
def test_endpoints_are_read_in_all_their_forms(text, expected):
    assert parse_endpoint(text, option="nsqd", default_port=4150) == expected


@pytest.mark.parametrize(
    "text",
    ["", "  ", "host:", "host:x", "host:0", "host:65536", "[::1", "[::1]x", "a b:1", "host:٣"],
)
def test_other_texts_are_refused_with_the_option_and_the_text(text):
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text, option="nsqd", default_port=4150)
    assert caught.value.option == "nsqd"


def test_an_endpoint_prints_as_it_is_read():
    for text in ("a:1", "[::1]:2"):
        assert str(parse_endpoint(text, option="x", default_port=9)) == text


def test_several_endpoints_keep_their_order_and_lose_repetitions():
    found = parse_endpoints(["a:1,b:2", "a:1"], option="nsqd", default_port=4150)
    assert found == (Endpoint("a", 1), Endpoint("b", 2))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "x" * 33),
        ("ask_timeout", 0.0),
        ("ask_timeout", float("nan")),
        ("publish_timeout", float("inf")),
        ("drain", -1.0),
        ("mailbox_window", 0),
        ("mailbox_window", 2501),
        ("max_attempts", 0),
        ("presence_misses", 0),
        ("nsqd", ()),
        ("keys", {"k": b"short"}),
        ("sign_with", "nobody"),
    ],
)
def test_an_option_without_meaning_is_named(option, value):
    with pytest.raises(ConfigError) as caught:
        NodeConfig(**{option: value})
    assert caught.value.option == option


def test_secrets_do_not_show_in_the_repr():
    assert "hunter2" not in repr(NodeConfig(keys={"k": b"hunter2hunter2hunter2"}))
