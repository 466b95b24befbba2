"""The tunnels of one connection: opened here, asked for by others, and their ends.

Ids of our ends are used once in the life of a connection, for both kinds. A
tunnel exists only once the relay has confirmed it; a confirmation that comes
after its caller has gone is answered by a close, so neither end is left over.
An inbound tunnel must be confirmed within 3 s or the relay drops the whole
connection, and there is no word for "no": one that nobody accepts in time, or
for which there is no room, is confirmed and closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from actors.errors import Overloaded
from actors.texts import exc_info_of
from irismq_runtime.errors import ConnectionLost, TunnelClosed, TunnelTimeout
from irismq_runtime.protocols.iris.packets import (
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
)
from irismq_runtime.protocols.iris.tunnel import CONFIRM_SECONDS
from irismq_runtime.pyiris.tunnel import Tunnel
from irismq_runtime.pyiris.tunnel_memory import TunnelMemory, TunnelWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.protocols.iris.packets import (
        RelayTunnelClose,
        RelayTunnelConfirm,
        RelayTunnelInit,
        TunnelAllow,
        TunnelTransfer,
    )
    from irismq_runtime.pyiris.connection import Connection
    from irismq_runtime.pyiris.current_connection import CurrentConnection
    from irismq_runtime.pyiris.limits import Limits

__all__ = ["TunnelOffer", "Tunnels"]

logger = logging.getLogger(__name__)

#: Accept later than this and the relay may have dropped the connection meanwhile.
_ACCEPT_SECONDS: Final = CONFIRM_SECONDS - 0.5


class _PendingTunnel:
    """A tunnel that we asked for and the relay has not confirmed yet."""

    __slots__ = ("cluster", "granted", "made", "timeout", "window")

    def __init__(self, cluster: str, timeout: float, window: TunnelWindow) -> None:
        self.cluster = cluster
        self.window: TunnelWindow | None = window
        self.timeout = timeout
        #: A grant may overtake the confirmation.
        self.granted = 0
        self.made: asyncio.Future[Tunnel] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.made.done():
            self.made.set_exception(error)


class TunnelOffer:
    """A tunnel that somebody asks this member for (`ports.InboundTunnel`)."""

    __slots__ = (
        "_chunk_limit",
        "_connection",
        "_init_id",
        "_settled",
        "_timer",
        "_tunnels",
        "_window",
    )

    def __init__(
        self,
        tunnels: Tunnels,
        connection: Connection,
        init: RelayTunnelInit,
        clock: Clock,
        window: TunnelWindow | None,
    ) -> None:
        self._window = window
        self._tunnels = tunnels
        self._connection = connection
        self._init_id = init.init_id
        self._chunk_limit = init.chunk_limit
        self._settled = False
        self._timer: TimerHandle = clock.call_later(_ACCEPT_SECONDS, self.decline)

    async def accept(self) -> Tunnel:
        """Confirm, and return this end of the tunnel.

        Raises `TunnelClosed` when it is too late, or the connection is gone.
        """
        if self._settled or not self._connection.up:
            raise TunnelClosed("not accepted in time" if self._connection.up else "connection lost")
        return self._confirm()

    def decline(self) -> None:
        """Let the caller know that there will be no tunnel: confirmed, then closed."""
        if not self._settled and self._connection.up:
            self._tunnels.declined += 1
            self._confirm().begin_close()
        self.drop()

    def drop(self) -> None:
        """Forget it without a word: the connection is gone."""
        self._settled = True
        self._timer.cancel()
        self._tunnels.offers.pop(self, None)
        if self._window is not None:
            self._window.close()
            self._window = None

    def _confirm(self) -> Tunnel:
        window, self._window = self._window, None
        self.drop()
        return self._tunnels.confirm(self._connection, self._init_id, self._chunk_limit, window)


class Tunnels:
    """All ends at this side of one connection. Loop thread only.

    `take` gets what others offer; None on a connection that is not a member. `memory`
    is what these tunnels may hold together, with others that share it; None: their own.
    """

    def __init__(
        self,
        current: CurrentConnection,
        limits: Limits,
        clock: Clock,
        take: Callable[[TunnelOffer], None] | None,
        memory: TunnelMemory | None = None,
    ) -> None:
        self._memory = memory or TunnelMemory.of(limits)
        #: Inbound tunnels that were not accepted: no room, nobody, or too late.
        self.declined = 0
        #: Confirmations whose caller had gone; each was closed again.
        self.orphans = 0
        self.offers: dict[TunnelOffer, None] = {}
        self._current = current
        self._limits = limits
        self._clock = clock
        self._take = take
        self._opening: dict[int, _PendingTunnel] = {}
        self._open: dict[int, Tunnel] = {}
        self._next_id = 0
        self._closing = False

    def __len__(self) -> int:
        """Ends open, being opened or being closed, and offers not yet answered."""
        return len(self._open) + len(self._opening) + len(self.offers)

    async def open(self, cluster: str, timeout: float, timeout_ms: int) -> Tunnel:
        """Ask for a tunnel. See `ManagedConnection.tunnel`."""
        if len(self) >= self._limits.tunnels:
            raise Overloaded(f"{len(self)} tunnels are open on this connection already")
        connection = self._current.require()
        window = self._memory.open()
        if window is None:
            raise Overloaded(
                f"open tunnels hold all of the {self._memory.total:,} bytes that they may: close "
                "some, or allow more (tunnel_bytes)"
            )
        opening = _PendingTunnel(cluster, timeout, window)
        tunnel_id = self._new_id()
        self._opening[tunnel_id] = opening
        late = self._clock.call_later(timeout, opening.fail, TunnelTimeout(cluster, timeout))
        try:
            connection.send(ClientTunnelInit(tunnel_id, cluster, timeout_ms))
            return await opening.made
        except asyncio.CancelledError:
            if opening.made.done() and not opening.made.cancelled():
                with contextlib.suppress(Exception):
                    opening.made.result().begin_close()
            raise
        finally:
            late.cancel()
            self._opening.pop(tunnel_id, None)
            if opening.window is not None:
                opening.window.close()

    def confirm(
        self, connection: Connection, init_id: int, chunk_limit: int, window: TunnelWindow | None
    ) -> Tunnel:
        """Take an offer; without a window only to be closed."""
        tunnel_id = self._new_id()
        connection.send(ClientTunnelConfirm(init_id, tunnel_id))
        return self._made(tunnel_id, connection, chunk_limit, window)

    # Packets --------------------------------------------------------------------

    def on_init(self, init: RelayTunnelInit) -> None:
        """Somebody asks this member for a tunnel."""
        full = len(self) >= self._limits.tunnels
        window = None if full else self._memory.open()
        offer = TunnelOffer(self, self._current.require(), init, self._clock, window)
        self.offers[offer] = None
        if window is None or self._take is None or self._closing:
            offer.decline()
            return
        try:
            self._take(offer)
        except BaseException as error:  # the user's: it must not end the connection for all others
            text = "the handler of inbound tunnels failed; this one is declined"
            logger.exception(text, exc_info=exc_info_of(error))
            offer.decline()

    def on_confirm(self, confirm: RelayTunnelConfirm) -> None:
        """The result of a tunnel init: the timeout flag wins over everything else."""
        opening = self._opening.pop(confirm.tunnel_id, None)
        if opening is None or opening.made.done():
            if not confirm.timeout:
                self.orphans += 1
                self._current.send_if_up(ClientTunnelClose(confirm.tunnel_id))
        elif confirm.timeout or not confirm.chunk_limit:
            opening.fail(TunnelTimeout(opening.cluster, opening.timeout))
        else:
            connection = self._current.require()
            window, opening.window = opening.window, None
            tunnel = self._made(confirm.tunnel_id, connection, confirm.chunk_limit, window)
            if opening.granted:
                tunnel.on_allow(opening.granted)
            opening.made.set_result(tunnel)

    def on_allow(self, allow: TunnelAllow) -> None:
        """Room at the other end; nothing to do for an end that is gone."""
        tunnel = self._open.get(allow.tunnel_id)
        if tunnel is not None:
            tunnel.on_allow(allow.granted)
        elif (opening := self._opening.get(allow.tunnel_id)) is not None:
            opening.granted += allow.granted

    def on_transfer(self, transfer: TunnelTransfer) -> None:
        """A chunk; one for an end that is gone was under way when it closed."""
        tunnel = self._open.get(transfer.tunnel_id)
        if tunnel is not None:
            tunnel.on_transfer(transfer.size, transfer.chunk)

    def on_close(self, close: RelayTunnelClose) -> None:
        """The other end has closed, or answers our close."""
        tunnel = self._open.get(close.tunnel_id)
        if tunnel is not None:
            tunnel.on_close(close.reason)
        elif (opening := self._opening.pop(close.tunnel_id, None)) is not None:
            opening.fail(TunnelClosed(close.reason or "closed before it was open"))

    # The connection -------------------------------------------------------------

    def disconnected(self, peer: str, reason: str) -> None:
        """The connection is gone, and every tunnel with it."""
        for offer in list(self.offers):
            offer.drop()
        openings, self._opening = self._opening, {}
        for opening in openings.values():
            opening.fail(ConnectionLost(peer, "unknown", reason))
        for tunnel in list(self._open.values()):
            lost = ConnectionLost(peer, "unknown", reason)
            tunnel.on_close(str(lost), lost)

    async def close(self) -> None:
        """Decline what is offered, and close every end after what it has sent."""
        self._closing = True
        for offer in list(self.offers):
            offer.decline()
        for tunnel in list(self._open.values()):
            await tunnel.close()

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _made(
        self, tunnel_id: int, connection: Connection, chunk_limit: int, window: TunnelWindow | None
    ) -> Tunnel:
        tunnel = self._open[tunnel_id] = Tunnel(
            tunnel_id,
            connection,
            chunk_limit=chunk_limit,
            buffer=min(self._limits.tunnel, self._limits.tunnel_message),
            clock=self._clock,
            on_end=self._forget,
            window=TunnelWindow(self._memory, 0, 0, verified=True) if window is None else window,
        )
        return tunnel

    def _forget(self, tunnel: Tunnel) -> None:
        self._open.pop(tunnel.id, None)
