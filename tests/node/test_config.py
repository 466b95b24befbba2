"""The arguments of a node: what has no meaning is found before anything starts."""

from __future__ import annotations

import math
from urllib.parse import quote

import pytest

from irismq_runtime import Node
from irismq_runtime.cli.probes import targets
from irismq_runtime.config import (
    Endpoint,
    NatsOverlay,
    NodeConfig,
    names_overlay,
    parse_endpoint,
    parse_endpoints,
)
from irismq_runtime.errors import ConfigError
from irismq_runtime.mailbox import NsqMailbox


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
        ("tcp://h:4150", Endpoint("h", 4150)),
        ("http://h:4161", Endpoint("h", 4161)),
        ("HTTP://h/", Endpoint("h", 4150)),
        ("http://[::1]:7/", Endpoint("::1", 7)),
    ],
)
def test_endpoints_are_read_in_all_their_forms(text, expected):
    assert parse_endpoint(text, option="nsqd", default_port=4150) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "host:", "host:x", "host:0", "host:65536", "[::1", "[::1]x", "a b:1", "host:٣"),
        *("https://h:4161", "nats://h:1", "tcp://", "http://h/path", "[]:1", "joe:pw@h:1"),
        "h:1\n2",
    ],
)
def test_other_texts_are_refused_with_the_option_and_the_text(text):
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text, option="nsqd", default_port=4150)
    assert caught.value.option == "nsqd"


@pytest.mark.parametrize("text", [":4150", "http://h:4161", "tcp://h:4150", "h:", "https://h:1"])
async def test_a_node_a_mailbox_and_a_command_judge_an_address_the_same(text):
    """183: there were two readers, and each took what the other refused."""

    def judged(read):
        try:
            return read()
        except ConfigError as error:
            return error.option

    once = judged(lambda: str(parse_endpoint(text, option="nsqd", default_port=4150)))
    assert judged(lambda: str(Node(nsqd=text).config.nsqd[0])) == once
    assert judged(lambda: NsqMailbox([text]).health() and once) == once
    wanted = judged(lambda: str(targets(nsqd=[text], nsqd_http=[], iris="h")[0].endpoint))
    assert wanted == once


LOGINS_OUT_OF_PLACE = [
    "hunter2@h:1",
    "joe:hunter2@h:1",
    "tcp://joe:hunter2@h:1",
    "http://joe:hunter2@h",
    "nats://joe:hunter2@h:1",
    "joe:x,hunter2@h:1",
    "joe:hunter2,x@h:1",
    "joe:x/hunter2@h:99999",
]


@pytest.mark.parametrize("text", LOGINS_OUT_OF_PLACE)
def test_a_login_where_none_belongs_is_refused_and_not_shown(text):
    for read in (
        lambda: parse_endpoints(text, option="nsqd", default_port=4150),
        lambda: Node(nsqd=text),
        lambda: Node(nsqd="h", lookupd=[text]),
        lambda: NsqMailbox([text]),
        lambda: targets(nsqd=[], nsqd_http=[text], iris="h"),
    ):
        with pytest.raises(ConfigError) as caught:
            read()
        assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"


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


ODD = ["a/b", "a?b", "a#b", "a,b", "a@b", "a:b", "a%b", "%41", "?net=x", "/@:,#%", "ü é", "+", "["]


@pytest.mark.parametrize("secret", ODD)
def test_any_password_and_any_token_can_be_given_in_a_url(secret):
    written = quote(secret, safe="")
    text = f"nats://{written}:{written}@a:1,tls://{written}@b?net=shop"
    overlay = NatsOverlay.parse(text)
    assert [(one.user, one.password) for one in overlay.logins] == [
        (secret, secret),
        (secret, None),
    ]
    assert overlay.net == "shop"
    assert secret not in overlay.peer
    assert written not in f"{overlay.logins}{overlay}"


@pytest.mark.parametrize("secret", ["a/b", "a?b", "a#b", "a@b", "a:b"])
def test_what_can_only_be_a_password_need_not_be_encoded(secret):
    (server,) = NatsOverlay.parse(f"nats://joe:{secret}@a:1").logins
    assert server.password == secret


@pytest.mark.parametrize(
    "text",
    [
        "nats://joe:hunter2",
        "nats://joe:hunter2@",
        "nats://joe:hunter2@:1",
        "nats://joe:hunter2@[a",
        "nats://joe:hunter2@a/x",
        "nats://joe:hunter2@a:x",
        "nats://joe:hunter2@a:99999",
        "nats://joe:hunter2@a://b",
        "hunter2://joe@a",
        "nats://joe:x,hunter2@a:1",
        "nats://joe:1,hunter2@a:1",
        "nats://joe:x?hunter2=y&net=z@a:1,b:x",
        "nats://joe:pw@a:1?hunter2=1",
        "nats://joe:hunter2%ff@a:1",
        "nats://joe:hunter2,x@a:1",
    ],
)
def test_no_part_of_a_nats_url_that_is_refused_is_shown(text):
    """183: whatever stands there may be a password, or what a slip made of one."""
    with pytest.raises(ConfigError) as caught:
        NatsOverlay.parse(text)
    assert caught.value.option == "nats"
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("nats://a", False),
        ("tls://a", True),
        ("nats://a,tls://b", True),
        ("nats://a?tls_ca=x", True),
        ("nats://a?tls_cert=x&tls_key=y", True),
        ("nats://a?creds=x", False),
    ],
)
def test_tls_is_asked_for_by_a_url_and_by_any_certificate(text, encrypted):
    assert NatsOverlay.parse(text).encrypted is encrypted


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


@pytest.mark.parametrize("option", ["tunnel_bytes", "unverified_bytes"])
@pytest.mark.parametrize("value", [0, -1, 0.5, math.nan, math.inf, 1024])
def test_what_tunnels_may_hold_is_checked_at_the_start(option, value):
    with pytest.raises(ConfigError, match=option):
        NodeConfig(**{option: value})
