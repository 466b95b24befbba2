"""NSQ's stock tools on the embedded nsqd: what they print and what they publish.

They are looked for on PATH and beside the nsqd that IRISMQ_NSQD names.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.protocols import nsq
from tests.support.nsq_client import nsq_client
from tests.support.nsqd_http import channel_stats, topic_stats
from tests.support.nsqd_server import find_nsqd, nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def tool(name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The running tool, ended when the context is left; skips where it is missing."""
    beside = Path(find_nsqd() or "nsqd").parent / name
    path = shutil.which(name) or (str(beside) if beside.is_file() else None)
    if path is None:
        pytest.skip(f"no {name} on PATH or beside IRISMQ_NSQD")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    return await asyncio.wait_for(stream.readline(), 60)


async def test_nsq_tail_prints_what_is_published():
    async with nsqd_server("embedded") as server, nsq_client(server.port) as publisher:
        assert await publisher.ask(nsq.mpub("t", [b"first", b"second"])) == b"OK"
        address = f"-nsqd-tcp-address=127.0.0.1:{server.port}"
        async with tool("nsq_tail", "-topic=t", "-n=2", address) as process:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert sorted(output.split()) == [b"first", b"second"]


async def test_to_nsq_publishes_its_input():
    async with nsqd_server("embedded") as server:
        address = f"-nsqd-tcp-address=127.0.0.1:{server.port}"
        async with tool("to_nsq", "-topic=t", address) as process:
            await asyncio.wait_for(process.communicate(b"one\ntwo\nthree\n"), 60)
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=5)
            got = [message.body for message in await client.messages(3)]
        assert sorted(got) == [b"one", b"three", b"two"]


async def test_nsq_stat_reads_the_statistics():
    async with nsqd_server("embedded") as server, nsq_client(server.port) as client:
        await client.subscribe("t", "ch", ready=1)
        assert await client.ask_around_messages(nsq.mpub("t", [b"x"] * 7), []) == b"OK"
        while (await channel_stats(server, "t", "ch"))["in_flight_count"] != 1:
            await asyncio.sleep(0)
        arguments = ["-topic=t", "-channel=ch", "-count=2", "-interval=10ms"]
        address = f"-nsqd-http-address=127.0.0.1:{server.http_port}"
        async with tool("nsq_stat", *arguments, address) as process:
            output, errors = await asyncio.wait_for(process.communicate(), 60)
        rows = [re.findall(rb"\d+", row) for row in output.splitlines() if b"|" in row]
        numbers = [row for row in rows if row]
        assert numbers, (output, errors)
        # rates in and out, then depth (all, memory, disk), in flight, deferred.
        assert b" ".join(numbers[0]).startswith(b"0 0 6 6 0 1 0"), output


async def test_nsq_to_nsq_carries_messages_over():
    async with nsqd_server("embedded") as one, nsqd_server("embedded") as other:
        async with (
            tool(
                "nsq_to_nsq",
                "-topic=t",
                f"-nsqd-tcp-address=127.0.0.1:{one.port}",
                f"-destination-nsqd-tcp-address=127.0.0.1:{other.port}",
            ),
            nsq_client(one.port) as publisher,
            nsq_client(other.port) as client,
        ):
            await client.subscribe("t", ready=5)
            assert await publisher.ask(nsq.pub("t", b"carried")) == b"OK"
            assert (await client.message()).body == b"carried"
        assert (await topic_stats(other, "t"))["message_count"] == 1


async def test_nsqadmin_shows_the_topics():
    async with nsqd_server("embedded") as server, nsq_client(server.port) as client:
        assert await client.ask(nsq.pub("orders", b"x")) == b"OK"
        async with tool(
            "nsqadmin",
            f"-nsqd-http-address=127.0.0.1:{server.http_port}",
            "-http-address=127.0.0.1:0",
        ) as process:
            port = None
            while port is None:
                match = re.search(rb"listening on 127\.0\.0\.1:(\d+)", await line(process.stderr))
                port = int(match[1]) if match else None
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /api/topics HTTP/1.0\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
        assert b'"orders"' in answer
