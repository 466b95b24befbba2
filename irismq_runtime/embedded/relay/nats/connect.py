"""Makes and ends connections to NATS: the login, the servers, TLS, and how long it takes.

With connection.py and client.py the one place that knows nats-py. A connector makes
clients that are connected, one at a time; what goes wrong on the way is an error with a text for a
person: `ConfigError` when a server will not have us, or has no TLS where that was
asked for, which no trying again changes, and `NotConnected` when none answers in
time. Nothing is left behind then.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.delays import exponential_delay
from irismq_runtime.endpoints import parse_nats_server
from irismq_runtime.errors import ConfigError, NotConnected

try:
    from nats import errors

    from irismq_runtime.embedded.relay.nats.client import Client, NoTlsError
except ImportError as error:
    raise ConfigError(
        "nats",
        "routing over NATS needs nats-py, which is not installed",
        "install the extra: pip install 'irismq-runtime[nats]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from nats.aio.subscription import Subscription

    from irismq_runtime.embedded.relay.nats.context import NatsSetup

__all__ = [
    "Client",
    "ConnectionEvents",
    "Login",
    "NatsConnector",
    "abort_socket",
    "cancel_task",
    "drain_subscription",
    "error_text",
    "errors",
]

#: Words with which a server refuses this relay, however often it is tried again.
_REFUSALS: Final = ("authorization", "authentication", "nkey")
#: A task that is cancelled ends within so many turns: nats-py swallows one now and then.
_TURNS_TO_END: Final = 20


@dataclass(frozen=True, slots=True)
class Login:
    """What the relay tells NATS of itself. All of it optional; a URL may have a login, too."""

    credentials: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    async def check(self) -> None:
        """Raises `ConfigError` when the credentials file cannot be read."""
        if self.credentials is None:
            return
        try:
            await asyncio.to_thread(self.credentials.read_bytes)
        except OSError as error:
            raise ConfigError(
                "nats", f"the credentials file cannot be read: {error}", "check its path and rights"
            ) from error

    def options(self) -> dict[str, Any]:
        """What nats-py is told of it."""
        given = {
            "user_credentials": self.credentials,
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "tls": self.tls,
        }
        return {name: value for name, value in given.items() if value is not None}


class ConnectionEvents(Protocol):
    """Who is told what becomes of a client once it is connected."""

    async def on_error(self, error: Exception) -> None:
        """Something went wrong that need not be the end."""
        ...

    async def on_disconnected(self) -> None:
        """The connection is lost; nats-py looks for another server."""
        ...

    async def on_reconnected(self) -> None:
        """The connection stands again, with its subscriptions."""
        ...

    async def on_closed(self) -> None:
        """nats-py has given the client up for good."""
        ...


class _ConnectAttempt:
    """One attempt to make a client, and the client's events once it stands."""

    def __init__(
        self, events: ConnectionEvents, refused: asyncio.Future[None], servers: int
    ) -> None:
        self.refused = refused
        self.trouble = ""
        self.stands = False
        self._events = events
        self._servers = servers
        #: Servers without TLS where it was asked for.
        self._bare: set[str] = set()

    @property
    def only_bare(self) -> bool:
        """Whether every server that there is lacks the TLS that was asked for."""
        return len(self._bare) >= self._servers

    async def on_error(self, error: Exception) -> None:
        if self.stands:
            await self._events.on_error(error)
            return
        self.trouble = error_text(error)
        if isinstance(error, NoTlsError):  # another one may have it
            self._bare.add(error.server)
        lost = _is_refusal(error) or self.only_bare
        if lost and not self.refused.done():
            self.refused.set_result(None)

    async def on_disconnected(self) -> None:
        if self.stands:
            await self._events.on_disconnected()

    async def on_reconnected(self) -> None:
        if self.stands:
            await self._events.on_reconnected()

    async def on_closed(self) -> None:
        if self.stands:
            await self._events.on_closed()


class NatsConnector:
    """Makes connected clients. Loop thread only."""

    def __init__(self, setup: NatsSetup, *, events: ConnectionEvents) -> None:
        self._servers = tuple(dict.fromkeys(map(parse_nats_server, setup.servers)))
        self._login = setup.login
        self._name = setup.name
        self._rng = setup.rng
        self._options = setup.options
        self._events = events
        by_url = any(server.scheme == "tls" for server in self._servers)
        #: TLS was asked for: no server without it is told a login, or anything else.
        self._encrypted = by_url or setup.login.tls is not None

    @property
    def where(self) -> str:
        """The servers' addresses, without logins."""
        return ", ".join(server.url for server in self._servers)

    async def dial(self) -> Client:
        """Return a connected client. Raises `NotConnected` or `ConfigError`."""
        await self._login.check()
        loop = asyncio.get_running_loop()
        call = _ConnectAttempt(
            self._events, loop.create_future(), len({one.url for one in self._servers})
        )
        by_url = not self._login.options().keys() & {"user", "token", "user_credentials"}
        client = Client(self._servers, encrypted=self._encrypted, by_url=by_url)
        attempt = loop.create_task(self._connect(client, call))
        try:
            await asyncio.wait(
                [attempt, call.refused],
                timeout=self._options.connect_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if attempt.done():
                attempt.result()
                call.stands = True
                return client
        except (errors.Error, OSError, ValueError) as error:
            call.trouble = error_text(error)
        except ImportError as error:
            await self._give_up(attempt, client)
            raise ConfigError(
                "nats",
                f"a credentials file cannot be used: {error}",
                "install the extra: pip install 'irismq-runtime[nats]'",
            ) from error
        except BaseException:
            await self._give_up(attempt, client)
            raise
        await self._give_up(attempt, client)
        raise self._failure(call)

    async def discard(self, client: Client) -> None:
        """Close a client, whatever state it is in, soon after `stop_seconds` at the latest."""
        closing = asyncio.create_task(client.close())
        await asyncio.wait([closing], timeout=self._options.stop_seconds)
        if not closing.done():
            abort_socket(client)
            await asyncio.wait([closing], timeout=self._options.stop_seconds)
        for task in (closing, *client.reconnects):
            await cancel_task(task)
        abort_socket(client)  # a dial was through meanwhile, or nats-py was cut short in its close
        await asyncio.sleep(0)  # its tasks, cancelled by now, end in the next turn

    async def _give_up(self, attempt: asyncio.Task[None], client: Client) -> None:
        await cancel_task(attempt)
        await self.discard(client)

    def _failure(self, call: _ConnectAttempt) -> ConfigError | NotConnected:
        if call.refused.done() and call.only_bare:
            return ConfigError(
                "nats",
                f"{call.trouble}, and it was asked for; nothing was sent",
                "give the server a certificate, or take tls:// and the tls options away",
            )
        if call.refused.done():
            return ConfigError(
                "nats",
                f"the server at {self.where} refused this relay ({call.trouble})",
                "check the credentials file, user, password, token or TLS certificates",
            )
        return NotConnected(
            f"NATS at {self.where}",
            call.trouble or f"no answer within {self._options.connect_timeout:g} s",
            remedy="is nats-server running there, and is the address right?",
        )

    def _connect(self, client: Client, call: _ConnectAttempt) -> Coroutine[Any, Any, None]:
        options, pause = self._options, self._options.reconnect_pause
        # Said to be whole seconds there, but only ever slept for.
        pauses: dict[str, Any] = {
            "reconnect_time_wait": exponential_delay(0, pause, pause, self._rng.random()),
            "ping_interval": options.ping_interval,
        }
        return client.connect(
            servers=[server.url for server in self._servers],
            name=self._name,
            error_cb=call.on_error,
            disconnected_cb=call.on_disconnected,
            reconnected_cb=call.on_reconnected,
            closed_cb=call.on_closed,
            max_reconnect_attempts=-1,
            max_outstanding_pings=2,
            **pauses,
            **self._login.options(),
        )


def abort_socket(client: Client) -> None:
    """End the socket of a client, whatever is still to be written to it.

    nats-py waits until the server has read everything, which one that hangs never
    does, and forgets sockets whose server did not greet it; it has no way to end one.
    """
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


async def drain_subscription(client: Client, subscription: Subscription) -> None:
    """End a subscription when all that the server had sent for it by then is handled."""
    try:
        await subscription.drain()  # type: ignore[no-untyped-call]  # it has no annotations
    except (errors.Error, OSError):
        # nats-py marks it as closed, and makes it again on the next connection all the same.
        client._remove_sub(subscription._id)  # noqa: SLF001  # no public way is left
        subscription._stop_processing()  # noqa: SLF001  # as the line above


async def cancel_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended, and take what it ended with."""
    for _ in range(_TURNS_TO_END):
        if task.done():
            break
        task.cancel()
        await asyncio.sleep(0)
    if task.done() and not task.cancelled():
        with suppress(Exception):
            task.result()


def error_text(error: BaseException) -> str:
    """What an error of nats-py says, without its decoration."""
    text = str(error).removeprefix("nats: ").strip("'\" ")
    return text or type(error).__name__


def _is_refusal(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, (errors.AuthorizationError, ssl.SSLError)) or any(
        word in text for word in _REFUSALS
    )
