"""nats-py's client, hardened: TLS is kept, and a login goes only to whom it is for.

Left to itself nats-py speaks TLS where the server's first line, which anybody on the
way can write, says so, and sends the login in the clear where it does not, also
when tls:// or certificates were given. Here what was asked for is kept, at the first
connection and at every later one, to the servers given and to those found:

- without TLS, or an offer of it, the connection ends before a byte is sent;
- which other servers there are is believed only when it came by TLS;
- logins are not part of a URL, so none shows in one, and every one can be written.

The connection's own state is asked, right before the login leaves, not what anybody
said of it. A server found by others has the first given one's login. A login that
is given apart from the URLs, or a credentials file, goes before all of them.

What dials again is known here (`reconnects`), for who closes it: nats-py cancels it once,
and a cancellation that meets the end of a dial is lost; it would dial for ever.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats import errors
from nats.aio.client import Client as NatsClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.endpoints import NatsServer

__all__ = ["Client", "NoTlsError"]


class NoTlsError(errors.Error):
    """A server offers no TLS, and it was asked for. `server`: its URL."""

    def __init__(self, server: str) -> None:
        self.server = server
        super().__init__(f"the server at {server} offers no TLS")


class Client(NatsClient):
    """A client for `servers`. Loop thread only.

    `encrypted`: TLS was asked for, and is kept. `by_url`: the login is the servers'
    own, and not one of nats-py's options.
    """

    def __init__(self, servers: Sequence[NatsServer], *, encrypted: bool, by_url: bool) -> None:
        super().__init__()
        self._servers = {_place(*server.endpoint): server for server in servers}
        self._first = servers[0]
        self._by_url = by_url
        self._encrypted = encrypted
        self._reconnects: set[asyncio.Task[Any]] = set()

    @property
    def reconnects(self) -> list[asyncio.Task[Any]]:
        """What dials again now, but for the task that asks."""
        return [task for task in self._reconnects if task is not asyncio.current_task()]

    async def _attempt_reconnect(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._reconnects.add(task)
            task.add_done_callback(self._reconnects.discard)
        # Whoever has two of these tells one future twice that they have ended.
        with suppress(asyncio.InvalidStateError):
            await super()._attempt_reconnect()

    # The three steps of nats-py from a connection to a login. Its own names: there
    # is no public way in between.

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except OSError:  # those of TLS are ValueErrors as well
            raise
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            # An INFO that is JSON of another kind; nats-py would never dial again.
            raise errors.Error(f"what the server says has no meaning ({error})") from error

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._encrypted and not self._is_by_tls:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise NoTlsError(self._server_url)
            info["tls_required"] = True
            info.pop("connect_urls", None)  # it is told again, by TLS
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        if self._encrypted and not self._is_by_tls:
            raise NoTlsError(self._server_url)
        if self._by_url and self._current_server is not None:
            uri = self._current_server.uri
            login = self._servers.get(_place(uri.hostname, uri.port), self._first)
            self._auth_configured = login.user is not None
            # Each anew: what one server is told is not for the next.
            is_token = login.password is None
            self.options |= {
                "user": None if is_token else login.user,
                "password": login.password,
                "token": login.user if is_token else None,
            }
        return super()._connect_command()

    @property
    def _is_by_tls(self) -> bool:
        """Whether the connection is encrypted, as the socket has it."""
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    @property
    def _server_url(self) -> str:
        return self._current_server.uri.geturl() if self._current_server else "?"


def _place(host: str | None, port: int | None) -> tuple[str, int | None]:
    return (host or "").lower(), port
