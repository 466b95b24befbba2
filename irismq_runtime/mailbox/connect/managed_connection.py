"""What keeps a connection to one nsqd up, in one role: it dials, and dials again.

The decisions are in `reconnect`, the bytes in `connection`; this is the glue:
it owns the dial task, the timers and the current connection, and tells its role
`connection_up` and `connection_down` in turns. After `close` there is no timer, no task
and no connection, and nothing comes back to life: a late answer to a dial ends it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.mailbox.connect.connection import Connection
from irismq_runtime.mailbox.connect.handshake import FOR_TLS, Handshake
from irismq_runtime.mailbox.connect.network import explain
from irismq_runtime.mailbox.connect.reconnect import DialState

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import TimerHandle
    from irismq_runtime.endpoints import Endpoint
    from irismq_runtime.mailbox.connect.handshake import Terms
    from irismq_runtime.mailbox.context import MailboxContext
    from irismq_runtime.protocols.nsq import Frame

__all__ = ["ConnectionRole", "ManagedConnection"]

_NOT_YET: Final = "not connected yet"


class ConnectionRole(Protocol):
    """What a managed connection is for."""

    def connection_up(self, managed: ManagedConnection, terms: Terms) -> None:
        """The broker can be written to."""
        ...

    def frames(self, frames: list[Frame]) -> None:
        """What the broker sent."""
        ...

    def connection_down(self, managed: ManagedConnection, reason: str) -> None:
        """The connection of the last `connection_up` ended; it is dialled again by itself."""
        ...


class ManagedConnection:
    """See the module. Loop thread only."""

    def __init__(
        self,
        context: MailboxContext,
        endpoint: Endpoint,
        role: ConnectionRole,
        subscribe: tuple[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        #: Why it is not ready; empty while it is.
        self.reason = _NOT_YET
        #: What to do about it, where the broker said it; empty: nothing answers as nsqd does.
        self.remedy = ""
        self._refusal = ""
        self.connection: Connection | None = None
        #: Times it became ready.
        self.connects = 0
        #: It has not stood yet and may soon: it is dialled for the first time, or was
        #: answered by nsqd and not let in. False once it stood, or nobody answered.
        self.awaited = True
        #: Called when a dial has come to its end.
        self.on_dialled: Callable[[], None] = _nothing
        self._context = context
        self._role = role
        self._subscribe = subscribe
        self._machine = context.reconnect()
        self._timer: TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._dialled: Connection | None = None
        self._ended: asyncio.Event = asyncio.Event()
        self._again = False

    @property
    def ready(self) -> bool:
        """Whether the broker can be written to."""
        return self._machine.state is DialState.READY and not self._refusal

    @property
    def refused(self) -> bool:
        """Whether the broker lets it in and takes nothing from it."""
        return bool(self._refusal)

    def refuse(self, refusal: str) -> None:
        """What the broker says that takes nothing on this connection; empty: it takes all."""
        self._refusal = refusal
        if self._machine.state is DialState.READY:
            self.reason = f"nsqd refused: {refusal} (give an ssl context as tls)" if refusal else ""
            self.remedy = FOR_TLS if refusal else ""

    @property
    def state(self) -> DialState:
        """Where it is in its life."""
        return self._machine.state

    def start(self) -> None:
        """Dial for the first time."""
        self._machine.start()
        self._dial()

    def write(self, data: bytes) -> None:
        """Send `data`, if there is a connection."""
        if self.connection is not None:
            self.connection.write(data)

    def drop(self, reason: str) -> None:
        """End the connection of now; it is dialled again."""
        if self.connection is not None:
            self.connection.drop(reason)

    def tick(self, now: float) -> None:
        """Look whether the broker has gone silent."""
        if self.connection is not None and self.connection.too_silent(now):
            self.connection.drop("no heartbeat from the broker")

    async def close(self, timeout: float) -> None:
        """Send what waits and end for good, within about `timeout` seconds."""
        self._machine.close()
        self.reason = "closed"
        self._cancel_timer()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        connection = self.connection or self._dialled
        if connection is None:
            return
        timer = self._context.clock.call_later(timeout, connection.drop, "not closed in time")
        connection.close()
        try:
            await self._ended.wait()
        finally:
            timer.cancel()
            connection.drop("closed by us")

    # What the connection reports -------------------------------------------

    def connection_ready(self, connection: Connection, terms: Terms) -> None:
        """The handshake is through."""
        if self.state is not DialState.DIALING:
            connection.drop("closed by us")
            return
        if self._context.lease_learned(self.endpoint, terms) and self._subscribe is not None:
            self._again = True
            connection.drop("asking again for a lease that the broker grants")
            return
        self._cancel_timer()
        self._machine.ready(self._context.clock.monotonic())
        self.connection = connection
        self.reason = self._refusal
        self.connects += 1
        self.awaited = False
        self._role.connection_up(self, terms)
        self.on_dialled()

    def frames(self, frames: list[Frame]) -> None:
        """Pass frames on."""
        if self.connection is not None:
            self._role.frames(frames)

    def connection_ended(self, connection: Connection, reason: str) -> None:
        """Report the loss, and plan the next dial."""
        was_ready = self.connection is not None
        self.connection = self._dialled = None
        self._ended.set()
        refused = connection.handshake.refused_wish
        if refused and self._context.concede(self.endpoint, refused, self._subscribe):
            self._again = True
        self.remedy = connection.handshake.remedy
        if self.state is DialState.CLOSED:
            if was_ready:
                self._role.connection_down(self, reason)
            return
        self.reason = reason
        if was_ready:
            delay = self._machine.lost(self._context.clock.monotonic())
        elif self.state is DialState.DIALING:
            delay = self._machine.failed()
        else:
            return
        if not self._again:
            self.awaited = self.awaited and connection.handshake.may_be_let_in
        self._wait(0.0 if self._again else delay)
        self._again = False
        self._complain(was_ready, reason)
        if was_ready:
            self._role.connection_down(self, reason)
        self.on_dialled()

    def start_tls(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Upgrade in a task of its own."""
        self._task = asyncio.create_task(self._context.upgrade(connection, transport))

    # Dialling --------------------------------------------------------------

    def _dial(self) -> None:
        context = self._context
        handshake = Handshake(context.wishes(self.endpoint, self._subscribe))
        connection = Connection(
            self,
            self.endpoint,
            handshake,
            clock=context.clock,
            silence=2.5 * context.heartbeat(self.endpoint, self._subscribe),
        )
        self._ended.clear()
        self._dialled = connection
        timeout = context.config.connect_timeout
        self._cancel_timer()
        self._timer = context.clock.call_later(timeout, self._too_slow, connection)
        self._task = asyncio.create_task(self._connect(connection))

    async def _connect(self, connection: Connection) -> None:
        context = self._context
        try:
            async with context.dials:
                await context.network.connect(lambda: connection, self.endpoint)
            if self.state is DialState.DIALING and self.reason == _NOT_YET:
                # Said of a first attempt alone: what an earlier one was told says more.
                self.reason = "something listens there, but has not answered as nsqd does"
        except OSError as error:
            connection.drop(explain(error))
        except asyncio.CancelledError:
            connection.drop("the attempt was given up")
            raise

    def _too_slow(self, connection: Connection) -> None:
        self._timer = None
        seconds = self._context.config.connect_timeout
        connection.drop(
            f"no complete handshake within {seconds:g} s: what listens there is slow, "
            "or is not nsqd's TCP port (4150)"
        )
        if self._task is not None:
            self._task.cancel()

    def _wait(self, delay: float) -> None:
        self._cancel_timer()
        self._timer = self._context.clock.call_later(delay, self._due)

    def _due(self) -> None:
        """Dial, or wait for a place among all who dial."""
        self._timer = None
        wait = self._context.budget.take(self._context.clock.monotonic())
        if wait > 0:
            self._timer = self._context.clock.call_later(wait, self._redial)
        else:
            self._redial()

    def _redial(self) -> None:
        self._timer = None
        self._machine.due()
        self._dial()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _complain(self, was_ready: bool, reason: str) -> None:
        what = "lost" if was_ready else "not made"
        text = "connection to nsqd %s %s: %s; dialling again"
        self._context.log.write(
            logging.WARNING, f"{what} {self.endpoint}", text, self.endpoint, what, reason
        )


def _nothing() -> None:
    return
