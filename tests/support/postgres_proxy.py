"""A TCP proxy before a PostgreSQL server that loses the connection at a request.

A client of ours sends one request and waits for its answer, so what arrives together is
one request. Armed, it counts them, over all connections: the n-th is not passed on any
more ("before"), or is carried out and its answer lost ("after").

    async with PostgresProxy(server.port) as proxy:
        proxy.arm(3, "after")
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PostgresProxy"]

Where = Literal["before", "after"]


class PostgresProxy:
    """Passes connections on to `port`, from entering its block to leaving it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._left = 0
        self._where: Where = "before"
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        #: Whether the armed loss has come.
        self.fired = False
        #: Whether the lost request was a COMMIT.
        self.commit = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, nth: int, where: Where) -> None:
        """Lose the connection of the `nth` request from now on."""
        self._left, self._where, self.fired, self.commit = nth, where, False, False

    def cut(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, server_writer}
        lost = asyncio.Event()
        for work in (
            self._requests(reader, server_writer, lost),
            self._answers(server_reader, writer, lost),
        ):
            task = asyncio.ensure_future(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            self._left -= 1
            if self._left == 0:
                self.fired, self.commit = True, data.endswith(b"COMMIT\0")
                lost.set()
                if self._where == "before":
                    break
            writer.write(data)
        if not lost.is_set() or self._where == "before":
            self.cut()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            if lost.is_set():
                break
            writer.write(data)
        self.cut()
