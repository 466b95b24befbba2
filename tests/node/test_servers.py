"""The servers that a process runs itself: started in order, stopped in reverse, placed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import irismq_runtime.embedded  # noqa: F401  # read from disk before a loop runs
from irismq_runtime import ConfigError, NatsOverlay, Node, NodeConfig
from irismq_runtime.config import Endpoint
from irismq_runtime.node import OwnBroker, OwnRelay, Servers
from irismq_runtime.node.own_servers.nats_overlay import nats_back_end
from irismq_runtime.node.own_servers.servers import servers_of

if TYPE_CHECKING:
    from pathlib import Path


class Part:
    """A server that writes down what is done to it."""

    name = "iris"

    def __init__(self, label: str, log: list[str], error: Exception | None = None) -> None:
        self._label, self._log, self._error = label, log, error

    async def start(self) -> None:
        self._log.append(f"start {self._label}")
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        self._log.append(f"stop {self._label}")

    def placed(self, config: NodeConfig) -> NodeConfig:
        return config

    def endpoints(self) -> dict[str, str]:
        return {self._label: "here"}

    def checks(self) -> Any:
        return iter(())


async def test_servers_start_in_order_and_stop_in_reverse():
    log: list[str] = []
    servers = Servers(Part("one", log), Part("two", log))
    await servers.start()
    await servers.stop()
    assert log == ["start one", "start two", "stop two", "stop one"]
    assert servers.endpoints() == {"one": "here", "two": "here"}


async def test_one_that_cannot_start_leaves_none_running():
    log: list[str] = []
    servers = Servers(Part("one", log), Part("two", log, OSError("taken")), Part("three", log))
    with pytest.raises(OSError, match="taken"):
        await servers.start()
    assert log[:2] == ["start one", "start two"]
    assert log[-1] == "stop one"


async def test_a_broker_and_a_relay_tell_where_they_are_and_how_they_do():
    broker, relay = OwnBroker(), OwnRelay()
    servers = Servers(broker, relay)
    with pytest.raises(RuntimeError):
        _ = relay.endpoint
    assert list(servers.checks()) == []
    await servers.start()
    config = servers.placed(NodeConfig(lookupd=(Endpoint("a", 1),)))
    assert (config.nsqd, config.lookupd, config.iris) == ((broker.endpoint,), (), relay.endpoint)
    assert servers.endpoints() == {"nsqd_http": str(broker.http)}
    assert [(check.name, check.ok) for check in servers.checks()] == [("overlay", True)]
    assert relay.stats()["connections"] == 0
    await servers.stop()
    await servers.stop()


def test_what_a_node_dials_is_what_it_does_not_run_itself():
    nats = NatsOverlay(servers=("nats://a:1", "nats://b"))
    config = NodeConfig(nats=nats)
    assert servers_of(NodeConfig()).dialled(NodeConfig()).keys() == {"nsqd", "iris"}
    assert servers_of(config).dialled(config) == {"nsqd": config.nsqd, "nats": nats.endpoints}
    assert Node.embedded(iris=nats).dialled == {"nats": nats.endpoints}
    assert Node.embedded().dialled == {}
    assert Node(iris="nats://a:1, b", nsqd="c:2").dialled == {
        "nsqd": (Endpoint("c", 2),),
        "nats": nats.endpoints,
    }


def _overlay(**options: str) -> NatsOverlay:
    return NatsOverlay(servers=("tls://127.0.0.1:1",), **options)


def test_files_that_cannot_be_read_name_their_option(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    cases = {
        "creds": {"credentials": "/no/such"},
        "tls_ca": {"tls_ca": str(rubbish)},
        "tls_cert": {"tls_cert": str(rubbish), "tls_key": "/no/such"},
    }
    for option, options in cases.items():
        with pytest.raises(ConfigError) as caught:
            nats_back_end(_overlay(**options), 1.0)
        assert caught.value.option == option
        assert next(iter(options.values())) in str(caught.value)
