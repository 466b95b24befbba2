"""A node whose nsqlookupd talks nonsense, or is not there (185)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor
from irismq_runtime import Node
from supervisors import child
from tests.mailbox.on_nsqd import eventually, mailbox
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADDRESS = "directory.reader"


class Reader(Actor):
    """Keeps what it is told."""

    address = ADDRESS

    def __init__(self, log: list[object]) -> None:
        self.log = log

    def on_receive(self, message: object) -> None:
        self.log.append(message)


@contextlib.asynccontextmanager
async def directory(answers: list[bytes]) -> AsyncIterator[str]:
    """An HTTP server that gives the first of `answers` to every question."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + answers[0])
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def listing(*producers: object) -> bytes:
    return json.dumps({"channels": [], "producers": producers}).encode()


@pytest.mark.parametrize("nonsense", ["", None], ids=["empty", "null"])
async def test_one_producer_that_makes_no_sense_hides_no_other_and_shows_in_health(
    servers: Any, nonsense: Any
):
    bad = {"broadcast_address": nonsense, "tcp_port": 4150}
    log: list[object] = []
    async with nsqd_server(servers.nsqd.kind) as known_by_the_directory_alone:
        port = known_by_the_directory_alone.port
        good = {"broadcast_address": "127.0.0.1", "tcp_port": port}
        answers = [listing(bad, good)]
        async with (
            directory(answers) as lookupd,
            Node(
                nsqd=servers.nsqd_at,
                iris=servers.iris_at,
                lookupd=lookupd,
                drain=1.0,
                mailbox_options={"lookup_interval": 0.2},
            ) as node,
            mailbox(port) as other,
        ):
            await node.start(child(Reader, log))
            await other.publish(ADDRESS, b'"x"')
            await eventually(lambda: log == ["x"])
            await eventually(lambda: node.health().ready)
            (reason,) = node.health().reasons
            assert reason.startswith(f"directory: nsqlookupd {lookupd}: 1 of 2 producers left out")
            answers[0] = listing(good)
            await eventually(lambda: not node.health().reasons)


async def test_a_directory_that_is_not_there_shows_in_health_of_a_node_that_is_ready(
    servers: Any,
):
    async with directory([b""]) as lookupd:
        pass
    config = {"nsqd": servers.nsqd_at, "iris": servers.iris_at, "lookupd": lookupd, "drain": 1.0}
    async with Node(**config) as node:
        await node.start(child(Reader, []))
        await eventually(lambda: node.health().ready)
        (reason,) = node.health().reasons
        assert reason.startswith(f"directory: nsqlookupd {lookupd}: connection refused")
