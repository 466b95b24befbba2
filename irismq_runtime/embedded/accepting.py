"""Takes all connections that wait at a listening socket, where the loop takes one in a turn.

uvloop accepts one connection in each turn of the loop (libuv, from 1.45 on). Where turns are
short nobody sees that. When a whole fleet comes back at once, in the process of its server or
at a server that has much else to do, turns are long and the rest of the fleet waits for
seconds: its handshakes time out, it dials again, and what it has left in the queue is taken
all the same, and found dead. So whenever a connection has come, the others that wait are
taken with it. asyncio's own loop takes them by itself, and leaves nothing here.

It knows the listening socket and the loop, and nothing of what connections say. Loop
thread only. On a loop whose servers have no socket (a simulated one) it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Accepting"]

_LOG = logging.getLogger("irismq.embedded")

#: Connections that are taken in one turn: as many as may wait, as with the loop of asyncio.
_MOST: Final = 1024


class Accepting:
    """The listening sockets of one server, from its start to its end.

    Args:
        protocol: Makes the protocol of a connection.
    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sockets: list[socket.socket] = []
        self._due = False

    def begin(self, server: asyncio.AbstractServer) -> None:
        """`server` listens, and makes its connections with `connection`."""
        self._loop = asyncio.get_running_loop()
        self._sockets = _same_sockets(server)
        self._due = False

    def connection(self) -> asyncio.Protocol:
        """For the loop's `create_server`; the others that wait are taken too, in this turn."""
        if self._sockets and not self._due:
            self._due = True
            self._loop.call_soon(self._take)
        return self._protocol()

    def close(self) -> None:
        """Take no more. Idempotent; those that have been taken are the server's."""
        listening, self._sockets = self._sockets, []
        for each in listening:
            each.close()

    def _take(self) -> None:
        self._due = False
        for each in self._sockets:
            for _ in range(_MOST):
                try:
                    taken, _ = each.accept()
                except OSError:  # none waits; or no room for it, of which the loop complains
                    break
                taken.setblocking(False)
                task = self._loop.create_task(self._serve(taken))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self.connection, taken)
        except OSError as error:  # it has gone meanwhile
            _LOG.debug("A connection was gone before it was served: %s", error)
            with contextlib.suppress(OSError):
                taken.close()


def _same_sockets(server: asyncio.AbstractServer) -> list[socket.socket]:
    """Its sockets under descriptors of our own: through those of the loop none can be taken."""
    listening: list[Any] = list(getattr(server, "sockets", ()))
    same = [socket.socket(fileno=os.dup(s.fileno())) for s in listening if hasattr(s, "fileno")]
    for each in same:
        each.setblocking(False)
    return same
