"""Nodes that are killed, or cut off for a moment, and what our relays say of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime import Node, NoSuchService
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.embedded.relay.nats import NatsBackEnd
from supervisors import Supervisor, child
from tests.integration.asking import Do, Holder
from tests.support.iris_relay import unique
from tests.support.nats_cluster import nats_cluster
from tests.support.nsqd_server import nsqd_server
from tests.support.promptly import promptly
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds between two announcements: silence tells nobody anything while a test runs.
PERIOD = 60.0


@contextlib.asynccontextmanager
async def relays(kind: str) -> AsyncIterator[list[EmbeddedRelay]]:
    """The relay of the lonely node, and the one of the others."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "embedded":
            relay = await stack.enter_async_context(EmbeddedRelay())
            yield [relay, relay]
            return
        cluster = await stack.enter_async_context(nats_cluster())
        yield [
            await stack.enter_async_context(EmbeddedRelay(back_end=NatsBackEnd([url])))
            for url in cluster.urls[:2]
        ]


def at(server: Any) -> str:
    return f"{server.host}:{server.port}"


@pytest.mark.parametrize("kind", ["embedded", "nats"])
async def test_a_node_killed_with_sigkill_is_gone_from_the_others_tables(kind):
    address = unique("lonely")
    async with nsqd_server("embedded") as nsqd, relays(kind) as (theirs, ours):
        async with Node(nsqd=at(nsqd), iris=at(ours), presence_period=PERIOD) as node:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.integration.lonely_node", at(nsqd), at(theirs), address
            )
            try:
                assert await until(lambda: node.members(address))
                assert await node.ref(address).ask(Do("it lives")) == "it lives"
                process.send_signal(signal.SIGKILL)
                async with promptly("its end is known"):
                    await until(lambda: not node.members(address))
                assert "lonely" not in node.nodes().values()
                with pytest.raises(NoSuchService):
                    await node.ref(address).ask(Do("nobody is left"))
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
        assert theirs.stats().totals.wills == 1


async def test_a_node_that_is_cut_off_for_a_moment_is_not_taken_for_dead():
    address = unique("cut")
    async with nsqd_server("embedded") as nsqd, EmbeddedRelay() as relay:
        options = {"nsqd": at(nsqd), "iris": at(relay), "presence_period": PERIOD}
        async with Node(**options) as node, Node(**options) as other:
            await other.start(Supervisor.of(child(Holder, address)))
            await until(lambda: node.members(address))
            changes = []
            node.parts.presence.on_change(changes.append)
            for connection in own_connections(other):
                connection._current.connection.abort("cut by the test")
            await until(lambda: not any(c.health().ok for c in own_connections(other)))
            await until(lambda: all(c.health().ok for c in own_connections(other)))
            assert await node.ref(address).ask(Do("it lives")) == "it lives"
            await until(lambda: len(relay._context.wills) == 2)
            assert changes == []
        assert relay.stats().totals.wills == 0


def own_connections(node: Node) -> list[Any]:
    addresses = node.parts.addresses
    return [addresses._out, addresses._topics]
