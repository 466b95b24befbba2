"""An authorization server for nsqd's AUTH, which knows one secret."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SECRET", "authorization_server"]

SECRET = "opensesame"  # noqa: S105  # the tests' own


async def _authorize(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An authorization server that knows one secret."""
    request = await reader.readuntil(b"\r\n\r\n")
    granted = b"secret=opensesame" in request
    permissions = {"permissions": ["subscribe", "publish"], "topic": ".*", "channels": [".*"]}
    answer = {
        "ttl": 3600, "identity": "me", "identity_url": "http://x",
        "authorizations": [permissions] if granted else [],
    }  # fmt: skip
    body = json.dumps(answer).encode()
    status = b"200 OK" if granted else b"403 Forbidden"
    writer.write(
        b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"X-NSQ-Content-Type: nsq; version=1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await writer.drain()
    writer.close()


@asynccontextmanager
async def authorization_server() -> AsyncIterator[str]:
    """Its "host:port"."""
    listener = await asyncio.start_server(_authorize, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
