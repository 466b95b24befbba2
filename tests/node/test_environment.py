"""A node as the environment says, by the variables of the commands."""

from __future__ import annotations

import ssl

import pytest

from irismq_runtime import ConfigError, Node
from irismq_runtime.environment import node_options


def test_the_variables_of_the_commands_make_a_node():
    options = node_options(
        {
            "IRISMQ_NSQD_ADDRESS": "10.0.0.1:4150 10.0.0.2",
            "IRISMQ_LOOKUPD_ADDRESS": "10.0.0.3",
            "IRISMQ_IRIS_ADDRESS": "10.0.0.4:55555",
            "IRISMQ_NODE_NAME": "web",
            "IRISMQ_STORE": "sqlite:///shop.db",
            "IRISMQ_KEYS": "a=" + "00" * 32,
            "IRISMQ_SIGNATURE_WINDOW": "60",
            "IRISMQ_NSQD_TLS": "1",
            "IRISMQ_NSQD_AUTH_SECRET": "tea",
            "HOME": "/root",
        }
    )
    mailbox = options.pop("mailbox_options")
    assert isinstance(mailbox["tls"], ssl.SSLContext)
    assert list(mailbox.values())[1:] == ["tea"]
    assert options == {
        "nsqd": ["10.0.0.1:4150", "10.0.0.2"],
        "lookupd": ["10.0.0.3"],
        "iris": "10.0.0.4:55555",
        "name": "web",
        "store": "sqlite:///shop.db",
        "keys": {"a": bytes(32)},
        "signature_window": 60.0,
    }
    assert node_options({}) == node_options({"IRISMQ_NSQD_TLS": "no"}) == {}


def test_what_a_program_says_goes_first():
    environ = {"IRISMQ_NODE_NAME": "web", "IRISMQ_NSQD_ADDRESS": "10.0.0.1 10.0.0.2:4151"}
    node = Node.from_env(environ, name="mine", ask_timeout=1.0)
    assert (node.config.name, node.config.ask_timeout) == ("mine", 1.0)
    assert [str(each) for each in node.config.nsqd] == ["10.0.0.1:4150", "10.0.0.2:4151"]


def test_a_variable_without_meaning_is_named_and_no_secret_is_shown(tmp_path):
    wrong = {
        "IRISMQ_NSQD_TLS": {"IRISMQ_NSQD_TLS": "perhaps"},
        "IRISMQ_NSQD_TLS_CA": {"IRISMQ_NSQD_TLS_CA": str(tmp_path / "none")},
        "IRISMQ_NSQD_TLS_KEY": {"IRISMQ_NSQD_TLS_KEY": "key.pem"},
        "IRISMQ_KEYS": {"IRISMQ_KEYS": "a=secret"},
        "IRISMQ_OLD_SIGNATURES_UNTIL": {"IRISMQ_OLD_SIGNATURES_UNTIL": "tomorrow"},
    }
    for variable, environ in wrong.items():
        with pytest.raises(ConfigError) as caught:
            node_options(environ)
        assert caught.value.option == variable
        assert "secret" not in str(caught.value)
