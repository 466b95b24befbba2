"""Tornado's HTTP server, bounded before a request is read: for every page of ours.

A connection that says too little for too long is closed: its headers have `seconds`,
its body too. There are `most` connections at once, and `most_of_one` from one address;
one more is closed as it comes, so that descriptors are left for what the process is
for. Where `makes_room` is set, the oldest one is closed instead and the new one is
served: for probes, which must be answered whoever else knocks.

Where the system has no descriptor left (EMFILE and its kin), accepting pauses for a
second, and one line says so: trying at once again is a busy loop that logs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Any, Final

from tornado.httpserver import HTTPServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from tornado.iostream import IOStream

__all__ = ["BoundedServer", "bounded"]

_LOG: Final = logging.getLogger("irismq.http")
#: Errors of accept() that trying again at once does not change.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Seconds between two tries then.
_PAUSE: Final = 1.0
#: Connections taken in one turn of the loop.
_AT_ONCE: Final = 64


def bounded(
    application: Any,
    *,
    most: int,
    most_of_one: int,
    seconds: float,
    idle: float | None = None,
    makes_room: bool = False,
    **options: Any,
) -> BoundedServer:
    """Return a server for `application`; `options` are Tornado's.

    `idle`: seconds between two requests of a connection, and for the headers of one,
    where clients keep connections; else these have `seconds`, too.
    """
    patience = seconds if idle is None else idle
    server = BoundedServer(
        application, idle_connection_timeout=patience, body_timeout=seconds, **options
    )
    server.most, server.most_of_one, server.makes_room = most, most_of_one, makes_room
    return server


class BoundedServer(HTTPServer):
    """See `bounded`. Loop thread only."""

    most = 1
    most_of_one = 1
    makes_room = False
    #: The streams that are open, the oldest first, and where each is from.
    _open: dict[IOStream, str]

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept. Tornado's own raises into the loop where descriptors are out."""
        self._open = {}
        for each in sockets:
            self._sockets[each.fileno()] = each
            self._handlers[each.fileno()] = self._accepting(each)

    def _accepting(self, listener: socket.socket) -> Callable[[], None]:
        """Accept from `listener` until the function that is returned is called."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.TimerHandle] = []

        def begin() -> None:
            waiting.clear()
            loop.add_reader(listener.fileno(), accept)

        def accept() -> None:
            for _ in range(_AT_ONCE):
                try:
                    connection, address = listener.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        raise
                    _LOG.warning("accepting at %s pauses: %s", listener.getsockname(), error)
                    loop.remove_reader(listener.fileno())
                    waiting.append(loop.call_later(_PAUSE, begin))
                    return
                self._handle_connection(connection, address)

        def end() -> None:
            for timer in waiting:
                timer.cancel()
            loop.remove_reader(listener.fileno())

        begin()
        return end

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a connection, or close it where there are too many."""
        source = str(address[0]) if address else ""
        for known in [known for known in self._open if known.closed()]:
            del self._open[known]
        of_one = [known for known, where in self._open.items() if where == source]
        crowd = of_one if len(of_one) >= self.most_of_one else list(self._open)
        if len(of_one) >= self.most_of_one or len(self._open) >= self.most:
            if not self.makes_room:
                stream.close()
                return
            crowd[0].close()
            del self._open[crowd[0]]
        self._open[stream] = source
        super().handle_stream(stream, address)
