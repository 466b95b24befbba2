"""Our servers take what waits at their port at once, whatever the loop takes in a turn."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded import EmbeddedNsqd, EmbeddedRelay
from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.packets import CLIENT_MAGIC, VERSION, ClientInit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Connections that wait; a loop of uvloop alone would need as many turns.
MANY = 200


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[int, Callable[[], int]]]:
    async with EmbeddedRelay() as server:
        yield server.port, lambda: server.stats().connections


@asynccontextmanager
async def nsqd() -> AsyncIterator[tuple[int, Callable[[], int]]]:
    server = EmbeddedNsqd()
    await server.start()
    try:
        yield server.port, lambda: len(server.context.connections)
    finally:
        await server.stop()


# Case 197.
@pytest.mark.parametrize("make", [relay, nsqd])
async def test_all_connections_that_wait_are_taken_in_a_few_turns(make):
    greeting = encode_packet(ClientInit(CLIENT_MAGIC, VERSION, ""))
    async with make() as (port, served):
        with ExitStack() as stack:
            for _ in range(MANY):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
                client.send(greeting if make is relay else b"  V2")
            turns = 0
            while served() < MANY and turns < MANY:
                await asyncio.sleep(0)
                turns += 1
            assert turns < MANY // 4
