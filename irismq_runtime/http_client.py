"""The HTTP client of the product: one request on one connection, bounded in time and size.

For nsqd's and nsqlookupd's HTTP API, authorization servers and the monitoring pages of
servers that we start. It asks with HTTP/1.0, so that the end of the answer is the end of
the connection, reads all of it within the caps, and has it parsed by the standard library.
No proxy that the environment names is used, and no redirect is followed unless `redirects`
says how many. `fetch` is for a running loop, `fetch_blocking` for a thread without one.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_ANSWER", "HttpAnswer", "NoAnswerError", "NotHttpError", "fetch", "fetch_blocking"]

#: Bytes of an answer with its head, unless a caller says otherwise.
MAX_ANSWER: Final = 1024 * 1024

_PIECE: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class HttpAnswer(NamedTuple):
    """What a server answered: status, body, and where a redirect points to, if it is one."""

    status: int
    body: bytes
    location: str = ""


class NoAnswerError(ConnectionResetError):
    """The server hung up without a word."""


class NotHttpError(ConnectionAbortedError):
    """What the server says is not HTTP, or cut off."""


class _HttpTarget(NamedTuple):
    """Where a URL leads."""

    host: str
    port: int
    secured: bool
    request: bytes


async def fetch(
    url: str,
    *,
    timeout: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    largest: int = MAX_ANSWER,
    redirects: int = 0,
    tls: ssl.SSLContext | None = None,
) -> HttpAnswer:
    """Ask once, and return the answer whatever its status is.

    Args:
        url: http or https; a port is taken from it.
        timeout: seconds for all of it, redirects included.
        method: sent without a body.
        headers: beside Host and Connection.
        largest: bytes of an answer with its head, at most.
        redirects: how many are followed.
        tls: for https; None trusts what the system trusts.

    Raises:
        OSError: nothing answers (`TimeoutError` among others), `NoAnswerError`,
            `NotHttpError`, `ConnectionAbortedError` for an answer that is too long.
        ValueError: the URL has no meaning, or is not http.
    """
    async with asyncio.timeout(timeout):
        while True:
            target = _target(url, method, headers)
            secured = (tls or ssl.create_default_context()) if target.secured else None
            answer = _answer_untrusted(await _exchange(target, secured, largest))
            if redirects <= 0 or answer.status not in _REDIRECTS or not answer.location:
                return answer
            redirects -= 1
            url = urljoin(url, answer.location)


async def _exchange(target: _HttpTarget, tls: ssl.SSLContext | None, largest: int) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=tls)
    except UnicodeError as error:  # a label that is empty or too long
        raise ConnectionAbortedError(f"not a host name: {error}") from None
    try:
        writer.write(target.request)
        data = bytearray()
        while piece := await reader.read(_PIECE):
            data += piece
            _check_size(data, largest)
        return bytes(data)
    finally:
        writer.transport.abort()  # all was read, or nobody wants the rest


def fetch_blocking(url: str, *, timeout: float, largest: int = MAX_ANSWER) -> HttpAnswer:
    """As `fetch`, by http alone, in a thread: for programs that must not wait for a loop.

    `timeout`: seconds, of which looking the host up has its own. Raises as `fetch`.
    """
    target = _target(url, "GET", None)
    if target.secured:
        raise ValueError(f"{url!r} is not http")
    until = time.monotonic() + timeout
    data = bytearray()
    try:
        peer = socket.create_connection((target.host, target.port), timeout)
    except UnicodeError as error:  # as above
        raise ConnectionAbortedError(f"not a host name: {error}") from None
    with peer:
        peer.sendall(target.request)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            peer.settimeout(left)
            piece = peer.recv(_PIECE)
            if not piece:
                return _answer_untrusted(bytes(data))
            data += piece
            _check_size(data, largest)


def _check_size(data: bytearray, largest: int) -> None:
    if len(data) > largest:
        raise ConnectionAbortedError("the answer is too long")


def _target(url: str, method: str, headers: Mapping[str, str] | None) -> _HttpTarget:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL")
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    place = parts.netloc.rpartition("@")[2]
    fields = {"Host": place, "Connection": "close", **(headers or {})}
    lines = [f"{method} {path} HTTP/1.0", *(f"{name}: {value}" for name, value in fields.items())]
    if any(char in line for line in lines for char in "\r\n"):
        raise ValueError(f"{url!r} and its headers may have no line breaks")
    request = "\r\n".join([*lines, "", ""]).encode("ascii")
    port = parts.port or _PORTS[parts.scheme]
    return _HttpTarget(parts.hostname, port, parts.scheme == "https", request)


class _BytesSocket(io.BytesIO):
    """Bytes in place of the socket that `http.client` reads an answer from."""

    def makefile(self, *_: Any) -> io.BytesIO:
        return self


def _answer_untrusted(data: bytes) -> HttpAnswer:
    """The answer that these bytes are, parsed by the standard library."""
    if not data:
        raise NoAnswerError("it hangs up on HTTP")
    try:
        response = http.client.HTTPResponse(cast("socket.socket", _BytesSocket(data)))
        response.begin()
        return HttpAnswer(response.status, response.read(), response.getheader("Location") or "")
    except (http.client.HTTPException, ValueError, OverflowError) as error:
        raise NotHttpError(f"not an HTTP answer: {data[:40]!r}") from error
