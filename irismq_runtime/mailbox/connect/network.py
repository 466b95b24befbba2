"""The network of a mailbox: an interface of three calls, and the running loop's own.

Tests put a fake broker in its place.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from irismq_runtime.endpoints import Endpoint

__all__ = ["AsyncioNetwork", "Network", "explain"]

#: Bytes of an HTTP answer.
MAX_ANSWER = 1024 * 1024
_ACCEPT = "application/vnd.nsq; version=1.0"


class Network(Protocol):
    """How a connection comes about."""

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], endpoint: Endpoint
    ) -> asyncio.Protocol:
        """Connect `factory()` to `endpoint`; raises `OSError`, also for what is not a host."""
        ...

    async def start_tls(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        hostname: str,
    ) -> asyncio.Transport:
        """Upgrade `transport`; raises `OSError` (of which `ssl.SSLError` is one)."""
        ...

    async def get(self, endpoint: Endpoint, path: str, timeout: float) -> tuple[int, bytes]:
        """HTTP GET: status and body; raises `OSError`, of which `TimeoutError` is one."""
        ...


class AsyncioNetwork:
    """The running loop's own network."""

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], endpoint: Endpoint
    ) -> asyncio.Protocol:
        """Connect by TCP."""
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.create_connection(factory, *endpoint)
        except UnicodeError as error:  # a label that is empty or too long
            raise ConnectionAbortedError(f"not a host name: {error}") from None
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # A FIN must not wait for the next one.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return protocol

    async def start_tls(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        hostname: str,
    ) -> asyncio.Transport:
        """Upgrade by the running loop."""
        loop = asyncio.get_running_loop()
        upgraded = await loop.start_tls(transport, protocol, context, server_hostname=hostname)
        if upgraded is None:
            raise ConnectionResetError("the connection ended during the TLS handshake")
        return upgraded

    async def get(self, endpoint: Endpoint, path: str, timeout: float) -> tuple[int, bytes]:
        """One request over a connection of its own, at most `MAX_ANSWER` bytes back."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(*endpoint)
            try:
                request = f"GET {path} HTTP/1.0\r\nHost: {endpoint}\r\nAccept: {_ACCEPT}\r\n\r\n"
                writer.write(request.encode("ascii"))
                answer = b""
                while chunk := await reader.read(64 * 1024):
                    answer += chunk
                    if len(answer) > MAX_ANSWER:
                        raise ConnectionAbortedError("the answer is too long")
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise ConnectionAbortedError(f"not an HTTP answer: {answer[:40]!r}")
        return int(words[1][:3]), body


def explain(error: OSError) -> str:
    """What an `OSError` of a connection means to a person."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, socket.gaierror):
        return f"unknown host: {error.strerror}"
    return str(error) or type(error).__name__
