"""An HTTP server for probes and scrapers: /live, /ready, /metrics.

Answers GET with what the callables say at that moment; 200 or 503 for the two
probes, with the reasons as JSON. Requests are small and bounded in time and
size, so that a hostile client costs nothing. It knows no node.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from irismq_runtime.errors import ConfigError
from irismq_runtime.json_text import json_text
from irismq_runtime.observe.http_server import bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.observe.health import Health
    from irismq_runtime.observe.http_server import BoundedServer

__all__ = ["StatusServer"]

#: Seconds that a client has for its request, or stays silent.
_LIMIT: Final = 5
_MAX_REQUEST: Final = 8192
#: Connections at once; for one more the oldest is closed, and a probe is answered.
_MOST: Final = 64


class StatusServer:
    """An HTTP server for probes and scrapers. For one loop.

    Listens from `start` to `stop`. `/live` and `/ready` answer 200 or 503 with the checks
    as JSON, `/metrics` the text for Prometheus (501 without the extra `metrics`). A request
    has 5 s and 8,192 bytes; of more than 64 connections the oldest is closed.

    Args:
        health: Gives the health, called for each probe, on the loop.
        metrics: Gives the text of `/metrics`, called for each scrape, on the loop.
        host: The name or address to listen at. The default is this machine alone.
        port: The port to listen at; 0 has the system choose one, see `port`.
    """

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
        self._server: BoundedServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            RuntimeError: It does not listen.
        """
        if self._server is None:
            raise RuntimeError("the server has not been started")
        return self._port

    async def start(self) -> None:
        """Listen. On the loop that is to answer.

        Raises:
            OSError: The port is taken, or the host is not of this machine.
        """
        application = Application(
            [(r".*", _StatusHandler, {"answer": self._answer})],
            log_function=_say_nothing,
        )
        sockets = await asyncio.to_thread(bind_sockets, self._port, self._host)
        self._port = sockets[0].getsockname()[1]
        self._server = bounded(
            application,
            most=_MOST,
            most_of_one=_MOST,
            seconds=_LIMIT,
            makes_room=True,
            no_keep_alive=True,
            max_header_size=_MAX_REQUEST,
            max_body_size=_MAX_REQUEST,
        )
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        """Stop listening and close what is open. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            await server.close_all_connections()

    def _answer(self, path: str) -> tuple[int, str, str]:
        if path == "/metrics":
            try:
                return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
            except ConfigError as error:  # the extra is not installed: say so to who asks
                return 501, "text/plain", f"{error}\n"
        if path not in {"/live", "/ready"}:
            return 404, "text/plain", "there are /live, /ready and /metrics\n"
        health = self._health()
        good = health.live if path == "/live" else health.ready
        body = json_text(health.to_dict()) + "\n"
        return (200 if good else 503), "application/json", body


class _StatusHandler(RequestHandler):
    """Answers GET and HEAD, nothing else."""

    def initialize(self, answer: Callable[[str], tuple[int, str, str]]) -> None:
        """Take the function that answers a path."""
        self._answer = answer

    def get(self) -> None:
        """Answer a GET or a HEAD with what the path stands for."""
        status, kind, body = self._answer(self.request.path)
        self.set_status(status)
        self.set_header("Content-Type", kind)
        self.finish(body)

    head = get

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say what is answered here instead of Tornado's page."""
        self.set_header("Content-Type", "text/plain")
        self.finish("only GET is answered here\n" if status_code == 405 else "")


def _say_nothing(handler: RequestHandler) -> None:
    """Log nothing: a probe a second is not worth a line."""
