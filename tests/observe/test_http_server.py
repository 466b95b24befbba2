"""HTTP pages of ours: bounded in time and number, and quiet where descriptors are out."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from irismq_runtime.observe import Health, StatusServer
from irismq_runtime.observe.http_server import BoundedServer, bounded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class _Hello(RequestHandler):
    def get(self) -> None:
        self.finish("hello")

    post = get


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[int]:
    found = {"most": 4, "most_of_one": 3, "seconds": 60.0, **options}
    server = bounded(Application([(r"/.*", _Hello)], log_function=lambda _: None), **found)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.stop()
        await server.close_all_connections()


class Client:
    """One connection, from an address of this host."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int, source: str = "127.0.0.1") -> Client:
        local = (source, 0)
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=local))

    async def answer(self, request: bytes = GET) -> bytes:
        self.writer.write(request)
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.close()

    async def end(self) -> bytes:
        """Wait until the server has closed it."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.close()

    def close(self) -> None:
        self.writer.transport.abort()


async def test_connections_are_bounded_for_one_source_and_in_all():
    """156: nothing limited them before the token was looked at."""
    async with serving() as port:
        held = [await Client.to(port) for _ in range(3)]
        assert await (await Client.to(port)).end() == b""
        other = await Client.to(port, "127.0.0.2")
        assert await (await Client.to(port, "127.0.0.3")).end() == b""
        assert b"hello" in await other.answer()
        assert b"hello" in await held.pop().answer()
        late = await Client.to(port)
        assert b"hello" in await late.answer()
        for each in held:
            each.close()


async def test_where_probes_are_answered_the_oldest_makes_room():
    async with serving(makes_room=True) as port:
        held = [await Client.to(port) for _ in range(3)]
        assert b"hello" in await (await Client.to(port)).answer()
        assert await held[0].end() == b""
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_who_says_too_little_is_closed(said: bytes):
    async with serving(seconds=0.2) as port:
        client = await Client.to(port)
        client.writer.write(said)
        assert b"hello" not in await client.end()


async def test_ready_is_answered_while_another_holds_all_it_can():
    endpoint = StatusServer(health=Health, metrics=str)
    await endpoint.start()
    try:
        held = [await Client.to(endpoint.port) for _ in range(200)]
        said = await (await Client.to(endpoint.port)).answer(GET.replace(b"/ ", b"/ready ", 1))
        assert said.startswith(b"HTTP/1.1 200")
        for each in held:
            each.close()
    finally:
        await endpoint.stop()


class _Exhausted(socket.socket):
    """A listener whose accept() finds no descriptor, as often as is told."""

    left = 0
    tries = 0

    def accept(self) -> Any:
        type(self).tries += 1
        if type(self).left:
            type(self).left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_where_no_descriptor_is_left_it_pauses_and_says_so_once(caplog, monkeypatch):
    """158: it tried again at once, and logged each time."""
    monkeypatch.setattr("irismq_runtime.observe.http_server._PAUSE", 0.05)
    listener = _Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    _Exhausted.left = 2
    server = bounded(
        Application([(r"/.*", _Hello)], log_function=lambda _: None),
        most=4,
        most_of_one=4,
        seconds=60.0,
    )
    server.add_sockets([listener])
    try:
        with caplog.at_level(logging.WARNING):
            client = await Client.to(listener.getsockname()[1])
            assert b"hello" in await client.answer()
    finally:
        server.stop()
        await server.close_all_connections()
    assert len(caplog.messages) == 2
    assert all("Too many open files" in text for text in caplog.messages)
    assert _Exhausted.tries <= 5
    assert isinstance(server, BoundedServer)
