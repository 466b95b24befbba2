"""Dials, waits for the handshake, and dials again when a connection has ended.

One task, from `start` to `stop`. Each attempt is bounded, and after a handshake that was late
the next one may take longer; between attempts it waits as reconnect.py decides. What answers
but will not have us (a refusal, or something that is not a relay) ends the first connect at
once, for the same attempt would end the same way; after a connection has stood once, nothing
ends the attempts but `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import NotConnected
from irismq_runtime.pyiris.current_connection import NEVER
from irismq_runtime.pyiris.reconnect import Attempts, patience
from irismq_runtime.pyiris.timeouts import done_within, sleep

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeAlias

    from actors.clock import Clock
    from irismq_runtime.pyiris.connection import Connection
    from irismq_runtime.pyiris.current_connection import CurrentConnection
    from irismq_runtime.pyiris.options import Options

    Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Any]]

__all__ = ["Connector", "tcp_dialler"]

#: Seconds after which an attempt is given up and the next one made: a relay is
#: on this host, so one that has not answered by then is stuck or overrun; see `patience`.
_ATTEMPT: Final = 3.0


def tcp_dialler(host: str, port: int) -> Dial:
    """Dial `host` and `port` by TCP on the running loop."""

    async def dial(factory: Callable[[], asyncio.Protocol]) -> object:
        return await asyncio.get_running_loop().create_connection(factory, host, port)

    return dial


class Connector:
    """Makes connections, one after the other; each tells its own end."""

    def __init__(
        self,
        current: CurrentConnection,
        dial: Dial,
        make_connection: Callable[[], Connection],
        *,
        options: Options,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._current = current
        self._dial = dial
        self._make_connection = make_connection
        self._options = options
        self._clock = clock
        self._rng = rng
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        #: Handshakes that were overdue since the last one that was not.
        self._overdue = 0

    async def start(self) -> None:
        """Connect for the first time. Raises `NotConnected`, with nothing left running."""
        self._task = asyncio.create_task(self._keep(), name=f"pyiris to {self._current.peer}")
        patience = self._options.connect_timeout
        try:
            if not await done_within(self._first, patience, self._clock):
                self._first.set_exception(self._nobody())
            self._first.result()
        except BaseException:
            await self.stop()
            raise

    def _nobody(self) -> NotConnected:
        remedy = "see that a relay runs there, or give the host and port of one"
        reason = self._current.reason
        if reason == NEVER:
            reason = f"no answer within {self._options.connect_timeout:g} s"
        return NotConnected(self._current.peer, reason, remedy=remedy)

    async def stop(self) -> None:
        """End the attempts; a connection that stands is left as it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self) -> None:
        attempts = Attempts(self._options.backoff)
        while True:
            stood = 0.0
            connection = await self._attempt()
            if connection is not None:
                began = self._clock.monotonic()
                if not self._first.done():
                    self._first.set_result(None)
                await asyncio.shield(connection.ended)
                stood = self._clock.monotonic() - began
            attempts, delay = attempts.after_loss(stood).next(self._rng.random())
            await sleep(delay, self._clock)

    async def _attempt(self) -> Connection | None:
        """One try; the reason of a failure is left in `current`."""
        connection = self._make_connection()
        try:
            await self._open(connection)
        except Exception as error:  # whatever dialling raises, the next attempt has to come
            connection.abort("given up")
            known = error.reason if isinstance(error, NotConnected) else str(error)
            self._current.reason = known or type(error).__name__
            if connection.refused and not self._first.done():
                self._first.set_exception(NotConnected(self._current.peer, self._current.reason))
            return None
        except asyncio.CancelledError:
            connection.abort("closed by this side")
            raise
        return connection

    async def _open(self, connection: Connection) -> None:
        usual = min(self._options.connect_timeout, _ATTEMPT)
        dialling = asyncio.ensure_future(self._dial(lambda: connection))
        try:
            if not await done_within(dialling, usual, self._clock):
                raise NotConnected(self._current.peer, f"no connection within {usual:g} s")
            dialling.result()
            most = patience(usual, self._overdue)
            if not await done_within(connection.opened, most, self._clock):
                self._overdue += 1
                reason = f"connected, but no Iris handshake within {most:g} s"
                raise NotConnected(self._current.peer, reason)
            self._overdue = 0
            connection.opened.result()
        finally:
            if not dialling.done():
                dialling.cancel()
                await asyncio.wait([dialling])
