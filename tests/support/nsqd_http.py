"""A bare HTTP client for a broker's API, on the test's own loop."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.nsqd_server import NsqdServer

__all__ = ["call", "channel_stats", "exchange", "stats", "topic_stats"]


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a whole request, wait for the whole answer: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return int(status.split()[1]), headers, body


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        whole += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return whole


async def call(server: NsqdServer, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of one request."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    status, _, answer = await exchange(server.http_port, head.encode() + body)
    return status, answer


async def stats(server: NsqdServer, query: str = "") -> dict[str, Any]:
    status, body = await call(server, "GET", f"/stats?format=json{query}")
    assert status == 200, body
    value: dict[str, Any] = json.loads(body)
    return value


async def topic_stats(server: NsqdServer, topic: str) -> Any:
    """The statistics of one topic, or None."""
    value = await stats(server, f"&topic={topic.replace('#', '%23')}")
    return value["topics"][0] if value["topics"] else None


async def channel_stats(server: NsqdServer, topic: str, channel: str) -> Any:
    found = await topic_stats(server, topic)
    return next(c for c in found["channels"] if c["channel_name"] == channel)
