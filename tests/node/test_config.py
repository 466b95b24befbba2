"""The arguments of a node: what has no meaning is found before anything starts."""

from __future__ import annotations

import pytest

from irismq_runtime.config import (
    Endpoint,
    NatsOverlay,
    NodeConfig,
    names_overlay,
    parse_endpoint,
    parse_endpoints,
)
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


@pytest.mark.parametrize(
    ("text", "servers", "net"),
    [
        ("nats://a:4222,nats://b:4223", ("nats://a:4222", "nats://b:4223"), "irismq"),
        ("nats://a, b:7", ("nats://a", "nats://b:7"), "irismq"),
        ("tls://[::1]:9?net=shop", ("tls://[::1]:9",), "shop"),
        ("nats://u:p%40ss@a:1,nats://u:p%40ss@a:1", ("nats://u:p%40ss@a:1",), "irismq"),
    ],
)
def test_nats_servers_are_read_in_all_their_forms(text, servers, net):
    assert names_overlay(text)
    overlay = NatsOverlay.parse(text)
    assert (overlay.servers, overlay.net) == (servers, net)


def test_an_option_given_apart_goes_before_the_one_in_the_url():
    text = "nats://a?net=one&creds=/x+y&tls_ca=ca.pem"
    overlay = NatsOverlay.parse([text, "nats://b"], net="two", credentials="", tls_ca="")
    assert overlay.servers == ("nats://a", "nats://b")
    assert (overlay.net, overlay.credentials, overlay.tls_ca) == ("two", "/x+y", "ca.pem")


def test_passwords_show_neither_in_the_peer_nor_in_the_repr_nor_in_errors():
    overlay = NatsOverlay.parse("nats://user:hunter2@a:1,nats://hunter2@b:2")
    assert overlay.peer == "NATS at a:1, b:2"
    assert overlay.endpoints == (Endpoint("a", 1), Endpoint("b", 2))
    assert "hunter2" not in repr(overlay)
    for text in ("nats://user:hunter2@", "nats://user:hunter2@[a", "nats://user:hunter2@a/x"):
        with pytest.raises(ConfigError) as caught:
            NatsOverlay.parse(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("", "nats"),
        ("http://a:1", "nats"),
        ("nats://", "nats"),
        ("nats://:4222", "nats"),
        ("nats://a:x", "nats"),
        ("nats://a:1/path", "nats"),
        ("nats://a?colour=red", "nats"),
        ("nats://a?net=two words", "net"),
        ("nats://a?net=", "net"),
        ("nats://a?tls_cert=c.pem", "tls_cert"),
    ],
)
def test_a_nats_url_without_meaning_is_refused(text, option):
    with pytest.raises(ConfigError) as caught:
        NatsOverlay.parse(text)
    assert caught.value.option == option


@pytest.mark.parametrize("text", ["127.0.0.1:55555", "nats", "nats:4222", "host"])
def test_the_address_of_a_relay_names_no_overlay(text):
    assert not names_overlay(text)
