"""An HTTP endpoint for whoever watches the process: /live, /ready, /metrics.

Answers GET with what the callables say at that moment; 200 or 503 for the two
probes, with the reasons as JSON. One request per connection, small and bounded in
time and size, so that a hostile client costs nothing. It knows no node.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.observe.health import Health

__all__ = ["Endpoint"]

_LIMIT: Final = 5.0
_MAX_REQUEST: Final = 8192
_WORDS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}


class Endpoint:
    """Serves on `host`:`port` (0: chosen freely) between `start` and `stop`."""

    def __init__(
        self,
        *,
        health: Callable[[], Health],
        metrics: Callable[[], str],
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise RuntimeError("the endpoint has not been started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=_MAX_REQUEST
        )

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_LIMIT):
                request = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._answer(request)
                writer.write(
                    f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a client that is slow, gone or talks too much gets no answer
        finally:
            writer.close()

    def _answer(self, request: bytes) -> tuple[int, str, bytes]:
        method, _, rest = request.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method not in {b"GET", b"HEAD"}:
            return 405, "text/plain", b"only GET is answered here\n"
        if path == b"/metrics":
            return 200, "text/plain; version=0.0.4", self._metrics().encode()
        if path not in {b"/live", b"/ready"}:
            return 404, "text/plain", b"there are /live, /ready and /metrics\n"
        health = self._health()
        good = health.live if path == b"/live" else health.ready
        body = json.dumps(health.to_dict()).encode() + b"\n"
        return (200 if good else 503), "application/json", body
