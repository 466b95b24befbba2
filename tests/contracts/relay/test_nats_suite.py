"""The whole conformance suite on one relay over three NATS servers that die in turn.

Between two tests of the suite, now and then, the server that the relay is connected
to is killed, and started again while the suite goes on.
"""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from tests.contracts.relay import test_conformance
from tests.contracts.relay.client import Client
from tests.support.iris_relay import EmbeddedServer
from tests.support.nats_cluster import NatsCluster, nats_cluster
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Tests between two deaths.
EVERY = 12


def suite() -> Iterator[tuple[Callable[..., Any], dict[str, Any]]]:
    """Each test of the suite, once for each of its parameters."""
    for name, test in vars(test_conformance).items():
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if not marks:
            yield test, {}
        for mark in marks:
            for value in mark.args[1]:
                yield test, {mark.args[0]: value}


async def run(test: Callable[..., Any], relay: EmbeddedServer, values: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:

        async def connect(server: Any, cluster: str = "") -> Client:
            return await stack.enter_async_context(await Client.connect(server, cluster))

        wanted = inspect.signature(test).parameters
        given = {"relay": relay, "connect": connect, **values}
        await test(**{name: given[name] for name in wanted})


async def kill_its_server(cluster: NatsCluster, back_end: NatsBackEnd) -> int:
    """Kill the server that it is connected to; it is connected to another one after that."""
    before = back_end.stats()
    dying = cluster.urls.index(before.server)
    await cluster.kill(dying)
    await until(lambda: back_end.stats().reconnects > before.reconnects)
    await until(lambda: back_end.health().ok)
    return dying


@pytest.mark.timeout(180)
async def test_the_conformance_suite_passes_while_servers_die_in_turn():
    async with nats_cluster() as cluster:
        back_end = NatsBackEnd(cluster.urls, options=NatsOptions(reconnect_pause=0.02))
        relay = EmbeddedServer("nats", back_end=back_end)
        async with relay.relay:
            for number, (test, values) in enumerate(suite(), 1):
                if number % EVERY:
                    await run(test, relay, values)
                else:
                    dead = await kill_its_server(cluster, back_end)
                    await run(test, relay, values)
                    await cluster.restart(dead)
            assert number > 3 * EVERY
