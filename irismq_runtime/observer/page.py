"""The observer page: one small HTTP server in front of a gatherer.

Listens on loopback unless it is told another host. Serves files that are part of
the package and nothing from anywhere else; see handlers for what it answers and
guard for whom.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from importlib import resources
from typing import TYPE_CHECKING, Final, Self

from tornado.netutil import bind_sockets
from tornado.web import Application

from irismq_runtime.observe.http_server import bounded
from irismq_runtime.observer.dead_letter_service import DeadLetterService
from irismq_runtime.observer.guard import Guard
from irismq_runtime.observer.handlers import PageContext, routes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tornado.web import RequestHandler

    from irismq_runtime.mailbox import MailboxConfig
    from irismq_runtime.namespace import Namespace
    from irismq_runtime.observe.http_server import BoundedServer
    from irismq_runtime.observer.gatherer import Gatherer

__all__ = ["ObserverPage", "new_token"]

_LOG = logging.getLogger("irismq.observer")
_MOST_BODY: Final = 256 * 1024
#: Connections at once, in all and from one address: a browser takes six and a stream.
_MOST: Final = 192
_MOST_OF_ONE: Final = 128
#: Seconds for the headers of a request, for its body, and between two requests.
_LIMIT: Final = 15
#: Seconds for streams to notice the end.
_GRACE: Final = 2.0
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def new_token() -> str:
    """Return a new token: 18 random bytes as text."""
    return secrets.token_urlsafe(18)


class ObserverPage:
    """Serves what `gatherer` sees while it is entered.

    `nsqd`: the brokers ("host:port") in which dead letters are looked for, in the order
    of those that the gatherer asks; `config`: how they are reached; `namespace`: that of the
    nodes. `port` of 0 takes a free one. Entering raises `OSError` when the port is taken.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        *,
        nsqd: Iterable[str],
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        config: MailboxConfig | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self._gatherer = gatherer
        self._nsqd = tuple(nsqd)
        self._dead_letters = DeadLetterService(
            self._nsqd,
            config=config,
            holding=self._holding,
            sign_anew=self._sign_anew,
            namespace=namespace,
        )
        self._guard = Guard(token, host)
        self._token = token
        self._host = host
        self.port = port
        self._server: BoundedServer | None = None
        self._context: PageContext | None = None

    def _sign_anew(self, data: bytes, topic: str, to: str) -> bytes:
        return self._gatherer.renewed(data, topic, to)

    def _holding(self, address: str) -> Iterable[str]:
        """The brokers with letters of `address`; all, where it is not known which is which."""
        holds = self._gatherer.holding(address)
        if len(holds) != len(self._nsqd):
            return self._nsqd
        return [broker for broker, has in zip(self._nsqd, holds, strict=True) if has]

    @property
    def url(self) -> str:
        """The address for a browser; whoever has it may read, not act."""
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host  # noqa: S104  # for showing
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def acting_url(self) -> str:
        """The same for somebody who may act: browsers do not send what follows the #."""
        return f"{self.url}#token={self._token}"

    async def __aenter__(self) -> Self:
        files = await asyncio.to_thread(_files)
        self._context = PageContext(self._gatherer, self._dead_letters, self._guard, files)
        application = Application(routes(self._context), log_function=_log, compress_response=False)
        sockets = await asyncio.to_thread(bind_sockets, self.port, self._host)
        self._server = bounded(
            application,
            most=_MOST,
            most_of_one=_MOST_OF_ONE,
            seconds=_LIMIT,
            max_body_size=_MOST_BODY,
            max_header_size=16 * 1024,
        )
        self._server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is None or self._context is None:
            return
        self._context.closing.set()
        self._server.stop()
        if self._context.streams:
            await asyncio.wait(self._context.streams, timeout=_GRACE)
        await self._server.close_all_connections()


def _files() -> dict[str, tuple[str, bytes]]:
    """Return the static files: path to content type and bytes."""
    found = {}
    for entry in resources.files("irismq_runtime.observer").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            found[path] = (kind, entry.read_bytes())
    return found


def _log(handler: RequestHandler) -> None:
    if _LOG.isEnabledFor(logging.DEBUG):
        _LOG.debug("%s %s: %s", handler.request.method, handler.request.path, handler.get_status())
