"""The network of a mailbox: an interface of three calls, and the running loop's own.

Tests put a fake broker in its place.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime import http_client

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from irismq_runtime.endpoints import Endpoint

__all__ = ["AsyncioNetwork", "Network", "explain"]

_HEADERS: Final = {"Accept": "application/vnd.nsq; version=1.0"}


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
        """One request over a connection of its own, at most `http_client.MAX_ANSWER` bytes back."""
        url = f"http://{endpoint}{path}"
        answer = await http_client.fetch(url, timeout=timeout, headers=_HEADERS)
        return answer.status, answer.body


def explain(error: OSError) -> str:
    """What an `OSError` of a connection means to a person."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, socket.gaierror):
        return f"unknown host: {error.strerror}"
    return str(error) or type(error).__name__
