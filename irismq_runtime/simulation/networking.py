"""What a loop does on the network: dial, listen, look names up.

Everything above it is asyncio's own: `asyncio.open_connection`, `asyncio.start_server`
and protocols written for real sockets work as they are. TLS is refused by name: it would
add nothing that a simulation can break, and its bytes come from chance of its own.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from irismq_runtime.simulation.errors import NotSimulated
from irismq_runtime.simulation.transport import SimulatedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.simulation.digest import RunDigest
    from irismq_runtime.simulation.loop import SimulatedLoop
    from irismq_runtime.simulation.network import Access, ListeningPort
    from irismq_runtime.simulation.stream import Place, StreamEnd

__all__ = ["NetworkCalls", "SimulatedServer"]

_NO_TLS = "connect without TLS here, and leave the tests of TLS to real sockets"
_NO_SOCKET = "give a host and a port, and let the loop open the connection"


class _BoundPort(NamedTuple):
    """What a server tells of where it listens, in place of its socket."""

    place: Place

    def getsockname(self) -> Place:
        """Return the address and the port."""
        return self.place


class SimulatedServer(asyncio.AbstractServer):
    """A listening port, as `asyncio.Server` is one."""

    def __init__(
        self, loop: SimulatedLoop, digest: RunDigest, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._digest = digest
        self._factory = factory
        self._listener: ListeningPort | None = None
        self._place: Place = ("", 0)
        self._closed = False
        #: Accepted by the system and not by the process yet.
        self._waiting: list[StreamEnd] = []
        self._active = 0
        self._context = copy_context()
        self._waiters: list[asyncio.Future[None]] = []

    def bind(self, access: Access, host: str, port: int) -> None:
        """Take the port. Raises `OSError`."""
        self._listener = access.listen(host, port, self._accept)
        address = "127.0.0.1" if self._listener.local else access.address
        self._place = (address, self._listener.port)

    @property
    def sockets(self) -> tuple[_BoundPort, ...]:
        """Where it listens."""
        return () if self._listener is None else (_BoundPort(self._place),)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return its loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether it takes connections."""
        return self._listener is not None and self._listener.open

    async def start_serving(self) -> None:
        """Take connections from now on."""
        if self._listener is not None:
            self._listener.open = True

    async def serve_forever(self) -> None:
        """Take connections until it is cancelled."""
        await self.start_serving()
        try:
            await self._loop.create_future()
        finally:
            self.close()

    def close(self) -> None:
        """Take no more; who is connected stays so, who was not accepted yet is refused."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.access.unlisten(listener)
            waiting, self._waiting = self._waiting, []
            for end in waiting:
                self._loop.access.release(end)
                end.close(self._loop.at)
        self._closed = True
        self._wake()

    async def wait_closed(self) -> None:
        """Wait until it is closed and nobody is connected any more."""
        if not self._closed or self._active:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        if self._closed and not self._active:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _accept(self, end: StreamEnd) -> None:
        """The system has completed a dial: the process takes it in a turn of its own."""
        self._waiting.append(end)
        self._loop.notice(self._serve)

    def _serve(self) -> None:
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            self._loop.call_soon(self._serve_one, end, context=self._context)

    def _serve_one(self, end: StreamEnd) -> None:
        try:
            protocol = self._factory()
        except BaseException:
            self._loop.access.release(end)
            end.close(self._loop.at)
            raise
        self._active += 1
        lost = partial(self._left, end)
        SimulatedTransport(self._loop, end, protocol, digest=self._digest, on_lost=lost)

    def _left(self, end: StreamEnd) -> None:
        self._loop.access.release(end)
        self._active -= 1
        self._wake()


class NetworkCalls:
    """The methods of a loop that reach the network. Mixed into `SimulatedLoop`."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a host of the simulation.

        Args:
            protocol_factory: Makes the protocol.
            host: A name or address of a host.
            port: Its port.
            ssl: Refused.
            sock: Refused.
            options: Of address families and the like: without meaning here.

        Raises:
            OSError: As real networks do: refused, unknown, no answer.
            NotSimulated: For `ssl` and `sock`.
        """
        del options
        if ssl:
            raise NotSimulated("TLS (create_connection(ssl=...))", _NO_TLS)
        if sock is not None or host is None or port is None:
            raise NotSimulated("create_connection(sock=...)", _NO_SOCKET)
        loop = cast("SimulatedLoop", self)
        target = loop.access.resolve(host)
        dialled: asyncio.Future[StreamEnd] = loop.create_future()

        def settle(answer: StreamEnd | OSError) -> None:
            if loop.alive:
                loop.notice(_settle_dial, loop, dialled, answer)
            else:
                _hang_up(loop, answer)

        loop.access.dial(target, int(port), loop.at, settle)
        end = await dialled
        made: asyncio.Future[None] = loop.create_future()
        protocol = protocol_factory()
        transport = SimulatedTransport(
            loop,
            end,
            protocol,
            digest=loop.digest,
            on_made=partial(_settle, made),
            on_lost=lambda: loop.access.release(end),
        )
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        start_serving: bool = True,
        **options: Any,
    ) -> SimulatedServer:
        """Listen at a port of this host; 0 or None: a free one.

        Args:
            protocol_factory: Makes the protocol of each connection.
            host: A name or address of this host; None: all of them.
            port: The port.
            ssl: Refused.
            sock: Refused.
            start_serving: Whether dials are taken at once.
            options: Of address families and the like: without meaning here.

        Raises:
            OSError: The port is taken, or `host` is not this one.
            NotSimulated: For `ssl` and `sock`.
        """
        del options
        if ssl:
            raise NotSimulated("TLS (create_server(ssl=...))", _NO_TLS)
        if sock is not None or (host is not None and not isinstance(host, str)):
            raise NotSimulated("create_server(sock=...), or at several hosts", _NO_SOCKET)
        loop = cast("SimulatedLoop", self)
        server = SimulatedServer(loop, loop.digest, protocol_factory)
        server.bind(loop.access, host or "", port or 0)
        if start_serving:
            await server.start_serving()
            await asyncio.sleep(0)
        return server

    async def getaddrinfo(
        self, host: str | bytes | None, port: str | int | None, **hints: Any
    ) -> list[tuple[Any, ...]]:
        """Look a host up. Raises `socket.gaierror`."""
        del hints
        loop = cast("SimulatedLoop", self)
        name = host.decode() if isinstance(host, bytes) else host or "127.0.0.1"
        await asyncio.sleep(0)
        found = (
            "127.0.0.1" if name in {"localhost", "127.0.0.1"} else loop.access.resolve(name).address
        )
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (found, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Place, flags: int = 0) -> tuple[str, str]:
        """Return the name of an address. Raises `socket.gaierror`."""
        del flags
        loop = cast("SimulatedLoop", self)
        await asyncio.sleep(0)
        return loop.access.resolve(sockaddr[0]).name, str(sockaddr[1])

    async def start_tls(self, *_: Any, **__: Any) -> asyncio.Transport:
        """Refuse. Raises `NotSimulated`."""
        raise NotSimulated("TLS (loop.start_tls)", _NO_TLS)


def _settle(made: asyncio.Future[None]) -> None:
    if not made.done():
        made.set_result(None)


def _settle_dial(
    loop: SimulatedLoop, dialled: asyncio.Future[StreamEnd], answer: StreamEnd | OSError
) -> None:
    if dialled.done():
        _hang_up(loop, answer)
    elif isinstance(answer, OSError):
        dialled.set_exception(answer)
    else:
        dialled.set_result(answer)


def _hang_up(loop: SimulatedLoop, answer: StreamEnd | OSError) -> None:
    """Nobody waits for this connection any more."""
    if not isinstance(answer, OSError):
        loop.access.release(answer)
        answer.close(loop.at)
