"""EmbeddedNsqd: the broker on real sockets, on loopback unless told otherwise.

One process, one loop, one owner. It speaks nsqd's protocol, so whatever talks
to nsqd talks to it; it is not made to be a cluster: for more than one machine
run nsqd itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.chance import default_random
from actors.clock import Clock, default_clock
from irismq_runtime.embedded.accepting import Accepting
from irismq_runtime.embedded.nsqd.broker import Broker
from irismq_runtime.embedded.nsqd.client_connection import ClientConnection
from irismq_runtime.embedded.nsqd.context import ServerContext
from irismq_runtime.embedded.nsqd.data_folder import DataFolder, DiskFolder
from irismq_runtime.embedded.nsqd.directory import DataDirectoryError
from irismq_runtime.embedded.nsqd.faults import NsqdFaultInjector, NsqdFaults
from irismq_runtime.embedded.nsqd.http_api import HttpApi
from irismq_runtime.embedded.nsqd.journal import MemoryJournal
from irismq_runtime.embedded.nsqd.options import NsqdOptions
from irismq_runtime.embedded.nsqd.stats import stats_value
from irismq_runtime.embedded.nsqd.store import Store
from irismq_runtime.embedded.nsqd.writer import StoreWriter

if TYPE_CHECKING:
    import random

    from irismq_runtime.embedded.nsqd.journal import Journal

__all__ = ["EmbeddedNsqd"]

_NOT_STARTED = "the embedded nsqd is not started: await start() first"


class EmbeddedNsqd:
    """An nsqd inside the process, on real sockets. Used on the thread of one loop.

    Args:
        host: Where it listens; an address of this host.
        port: Its TCP port; 0 takes a free one, and the attribute `port` says which, after
            `start`.
        http_port: The port of its HTTP API, likewise; None: it has none.
        data: A folder that keeps what was published, by its path or as a `DataFolder`; None:
            memory, until the process ends.
        clock: Where time comes from; None: the running loop's.
        options: Limits, TLS and AUTH; None: nsqd's defaults.
        rng: Where the choice among subscribers comes from; None: a new one.
        faults: What it does wrong on purpose.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        http_port: int | None = 0,
        data: Path | DataFolder | None = None,
        clock: Clock | None = None,
        options: NsqdOptions | None = None,
        rng: random.Random | None = None,
        faults: NsqdFaults | None = None,
    ) -> None:
        self._faults = faults or NsqdFaults()
        self.host = host
        self.port = port
        self.http_port = http_port
        self._folder = DiskFolder(data) if isinstance(data, Path) else data
        self.options = options or NsqdOptions()
        self.clock: Clock = clock or default_clock()
        self._rng = rng or default_random()
        self._context: ServerContext | None = None
        #: As `_context`, and kept after the end: a loop hands over what it has accepted.
        self._served: ServerContext | None = None
        self._server: asyncio.Server | None = None
        self._accepting = Accepting(self._connection)
        self._client_ids = count(1)
        self._http: HttpApi | None = None
        self._writer: StoreWriter | None = None
        #: The folder, while it is ours.
        self._owned: DataFolder | None = None

    @property
    def context(self) -> ServerContext:
        """The running server, for the HTTP API and tests.

        Raises:
            RuntimeError: It is not started.
        """
        if self._context is None:
            raise RuntimeError(_NOT_STARTED)
        return self._context

    @property
    def faults(self) -> NsqdFaults:
        """What it does wrong on purpose; may be replaced at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: NsqdFaults) -> None:
        self._faults = faults
        if self._context is not None:
            self._context.injector = self._injector()

    def _injector(self) -> NsqdFaultInjector | None:
        plain = self._faults == NsqdFaults(seed=self._faults.seed)
        return None if plain else NsqdFaultInjector(self._faults)

    async def start(self) -> None:
        """Open the data folder, take over what it holds, and listen.

        Raises:
            OSError: A port is taken.
            DataDirectoryError: The folder cannot be used.
            DirectoryInUse: The folder belongs to another server.
            RuntimeError: It is started already.
        """
        if self._context is not None:
            raise RuntimeError("the embedded nsqd is started already")
        loop = asyncio.get_running_loop()
        server = await self._bind(loop)
        listener: socket.socket | None = None
        try:
            port = server.sockets[0].getsockname()[1]
            if self.http_port is not None:
                listener = _listen(self.host, self.http_port)
            broker = await self._open_broker(loop, port)
            http_port = 0 if listener is None else listener.getsockname()[1]
            self._served = context = self._context_of(broker, loop, port, http_port)
            context.injector = self._injector()
            await server.start_serving()
        except BaseException:
            server.close()
            if listener is not None:
                listener.close()
            folder, self._owned = self._owned, None
            await self._close_store(folder, flush=False)
            raise
        self.port, self._server, self._context = port, server, context
        self._accepting.begin(server)
        if listener is not None:
            self.http_port = http_port
            self._http = HttpApi(context, listener)
            self._http.start()

    async def _bind(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        """Take the TCP port, and no connections yet."""
        try:
            return await loop.create_server(
                self._accepting.connection,
                self.host,
                self.port,
                family=socket.AF_INET6 if ":" in self.host else socket.AF_INET,
                backlog=1024,
                start_serving=False,
            )
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"{self.host}:{self.port}: {problem}") from error

    def _connection(self) -> ClientConnection:
        if self._served is None:
            raise RuntimeError(_NOT_STARTED)
        return ClientConnection(self._served, next(self._client_ids))

    def _context_of(
        self, broker: Broker, loop: asyncio.AbstractEventLoop, port: int, http_port: int
    ) -> ServerContext:
        return ServerContext(
            broker,
            self.options,
            self.clock,
            loop,
            started_at=self.clock.time(),
            host=self.host,
            tcp_port=port,
            http_port=http_port,
        )

    async def _open_broker(self, loop: asyncio.AbstractEventLoop, port: int) -> Broker:
        def broker(journal: Journal) -> Broker:
            return Broker(clock=self.clock, rng=self._rng, journal=journal, options=self.options)

        folder = self._folder
        if folder is None:
            return broker(MemoryJournal())
        await asyncio.to_thread(
            folder.acquire, address=f"{self.host}:{port}", wall_time=self.clock.time()
        )
        try:
            store = await asyncio.to_thread(Store, folder, sync=self.options.sync)
            self._writer = StoreWriter(store, loop)
            opened = broker(self._writer)
            await asyncio.to_thread(opened.recover, store)
            opened.place_restored()
        except BaseException as error:
            await self._close_store(folder, flush=False)
            if isinstance(error, sqlite3.Error):
                raise DataDirectoryError(folder.path, str(error)) from error
            raise
        self._owned = folder
        return opened

    async def _close_store(self, folder: DataFolder | None, *, flush: bool) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close(flush=flush)
        if folder is not None:
            await asyncio.to_thread(folder.release)

    async def stop(self) -> None:
        """Close every connection and stop listening, in well under a second."""
        await self._end(flush=True)

    def stats(self) -> dict[str, Any]:
        """What the broker holds now, in the shape of nsqd's `/stats?format=json`."""
        return stats_value(self.context)

    async def crash(self) -> None:
        """Test aid: drop all connections at once and flush nothing, then stop."""
        await self._end(flush=False)

    async def _end(self, *, flush: bool) -> None:
        context, self._context = self._context, None
        server, self._server = self._server, None
        if context is None or server is None:
            return
        self._accepting.close()
        server.close()
        # A loop may hand over a connection that it accepted before the close.
        context.ended = True
        http, self._http = self._http, None
        if http is not None:
            await http.stop()
        if flush:
            for connection in list(context.connections.values()):
                connection.close()
            await asyncio.sleep(0)
        while context.connections:
            for connection in list(context.connections.values()):
                connection.abort()
            await asyncio.sleep(0)
        context.broker.close()
        await server.wait_closed()
        folder, self._owned = self._owned, None
        await self._close_store(folder, flush=flush)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{host}:{port}: {error.strerror}") from error
    return listener
