"""A NATS server of a few lines that says what a test wants, and keeps what it was told."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.until import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

__all__ = ["NatsStub", "nats_stub", "until"]

HOST = "127.0.0.1"


class NatsStub:
    """Greets with `info`; goes on by TLS where it has a `context`, else in the clear."""

    def __init__(self, context: ssl.SSLContext | None = None, **info: Any) -> None:
        self.context = context
        self.info: Any = info
        #: What it says by TLS after the login, if anything.
        self.later: dict[str, Any] = {}
        #: Greeted so many.
        self.greeted = 0
        #: Of them, not at an end yet.
        self.open = 0
        #: What came on a connection in the clear, all of them together.
        self.clear = b""
        #: The logins that came.
        self.logins: list[dict[str, Any]] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def lose(self, until: Callable[[], Any]) -> None:
        """End every connection that has logged in, again and again, until `until()` holds."""
        while not until():
            self.hang_up()
            await asyncio.sleep(0)

    def hang_up(self) -> None:
        """End every connection that has logged in."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = {"max_payload": 1000, **self.info} if isinstance(self.info, dict) else self.info
        writer.write(b"INFO " + json.dumps(told).encode() + b"\r\n")
        self.greeted += 1
        self.open += 1
        try:
            if (context := self.context) is not None:
                await writer.start_tls(context)
            while line := await reader.readline():
                if context is None:
                    self.clear += line
                self._take(line, writer)
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.transport.abort()

    def _take(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        if line.startswith(b"CONNECT"):
            self.logins.append(json.loads(line[8:]))
        elif line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
            if self.later:
                writer.write(b"INFO " + json.dumps(self.later).encode() + b"\r\n")
            self._writers.append(writer)


@asynccontextmanager
async def nats_stub(context: ssl.SSLContext | None = None, **info: Any) -> AsyncIterator[NatsStub]:
    stub = NatsStub(context, **info)
    server = await asyncio.start_server(stub.serve, HOST, 0)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
        stub.hang_up()
        await server.wait_closed()
