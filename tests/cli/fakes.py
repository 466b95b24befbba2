"""Servers that are not what they should be, on real sockets of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["black_hole", "nowhere", "saying", "web"]


@contextlib.asynccontextmanager
async def saying(answer: bytes | Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Answers the first piece of every connection, and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            said = await reader.read(4096)
            writer.write(answer if isinstance(answer, bytes) else answer(said))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def web(pages: dict[str, str], *, ahead: float = 0.0) -> Callable[[bytes], bytes]:
    """An HTTP server of fixed pages whose clock is `ahead` seconds of ours."""

    def answer(said: bytes) -> bytes:
        path = said.split(b" ")[1].split(b"?")[0].decode() if said.startswith(b"GET ") else ""
        body = pages.get(path)
        head = "404 Not Found" if body is None else "200 OK"
        date = email.utils.formatdate(time.time() + ahead, usegmt=True)
        text = f"HTTP/1.1 {head}\r\nDate: {date}\r\nConnection: close\r\n\r\n{body or ''}"
        return text.encode()

    return answer


def nowhere() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address whose connections are never answered: its queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(hole.getsockname())
        yield f"127.0.0.1:{hole.getsockname()[1]}"
