"""The embedded relay: an Iris relay in this process, on loopback.

It speaks the relay protocol v1.0-draft2 on a real socket, for development and
tests. Single node by design: it joins no overlay, scans nothing, and listens on
loopback only. For more than one machine run real Iris nodes, or give it a back
end (router.py) that reaches further.

The relay belongs to the loop on which it was started. `stop` returns within a
second whatever its clients do, and the port can be bound again at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Self

from actors.clock import Clock, default_clock
from irismq_runtime.embedded.accepting import Accepting
from irismq_runtime.embedded.relay.calls import Timeouts
from irismq_runtime.embedded.relay.client_connection import ClientConnection
from irismq_runtime.embedded.relay.context import RelayContext
from irismq_runtime.embedded.relay.faults import FaultInjector, Faults
from irismq_runtime.embedded.relay.options import RelayOptions
from irismq_runtime.embedded.relay.router import BackEnd, InMemoryBackEnd
from irismq_runtime.embedded.relay.session import Session
from irismq_runtime.embedded.relay.stats import RelayStats, RelayTotals
from irismq_runtime.embedded.relay.turns import Turns
from irismq_runtime.protocols.iris import ConnectionState

if TYPE_CHECKING:
    from types import TracebackType

    from irismq_runtime.ports import TransportHealth

__all__ = ["EmbeddedRelay"]

_DEFAULT_OPTIONS = RelayOptions()
_NO_FAULTS = Faults()


class EmbeddedRelay:
    """An Iris relay in this process.

    Args:
        host: where to listen; a loopback address, or a name of one.
        port: 0 lets the system choose; `port` tells what it chose and a relay
            that is started again keeps it.
        clock: for deadlines; the loop's by default.
        faults: what it does wrong on purpose.
        options: its bounds.
        back_end: who carries traffic; the connections of this relay by default.
        open_to_network: a `host` that is not loopback is refused without this:
            whoever reaches the port can call every member of every cluster.

    Raises ValueError for a host that is not loopback.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        faults: Faults = _NO_FAULTS,
        options: RelayOptions = _DEFAULT_OPTIONS,
        back_end: BackEnd | None = None,
        open_to_network: bool = False,
    ) -> None:
        if not open_to_network and not _is_loopback(host):
            raise ValueError(
                f"the embedded relay listens on loopback only, not on {host!r}: a relay asks no "
                "one who they are. Say open_to_network=True if you mean it"
            )
        self.host = host
        self.options = options
        self.clock: Clock = default_clock() if clock is None else clock
        self.overrun = False
        self._port = port
        self._server: asyncio.Server | None = None
        self._accepting = Accepting(lambda: ClientConnection(self))
        self._connections: dict[ClientConnection, Session | None] = {}
        self.turns = Turns(self.clock)
        self._emptied: asyncio.Event | None = None
        self._back_end = InMemoryBackEnd() if back_end is None else back_end
        self._counters = RelayTotals()
        self._context = RelayContext(
            options=options,
            clock=self.clock,
            back_end=self._back_end,
            counters=self._counters,
            timeouts=Timeouts(self.clock, self.turns.end),
            faults=faults,
            injector=None,
            end_turn=self.turns.end,
            overrun=self._overrun,
        )
        self.faults = faults

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start when none was chosen."""
        return self._port

    @property
    def back_end(self) -> BackEnd:
        """Who carries the traffic."""
        return self._back_end

    @property
    def running(self) -> bool:
        """True while it listens."""
        return self._server is not None

    @property
    def faults(self) -> Faults:
        """What it does wrong on purpose; may be replaced at any time."""
        return self._context.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._context.faults = faults
        self._context.injector = FaultInjector(faults) if faults.names else None

    async def start(self) -> None:
        """Listen; clients are served when this returns.

        Raises OSError when the address cannot be bound, RuntimeError when it
        is running already, and what the back end does when it cannot carry;
        nothing is left running then.
        """
        if self._server is not None:
            raise RuntimeError(f"the relay runs already, on {self.host}:{self._port}")
        await self._back_end.start(self._context)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._accepting.connection, self.host, self._port, backlog=1024
            )
        except BaseException:
            await self._back_end.stop()
            raise
        self._port = self._server.sockets[0].getsockname()[1]
        self._accepting.begin(self._server)
        self._context.wills.begin()

    async def stop(self, reason: str = "the relay is stopping") -> None:
        """Say goodbye to every client, and end. Idempotent.

        Under a second, and what the back end needs to end.
        """
        server, self._server = self._server, None
        if server is None:
            await self._back_end.stop()
            return
        self._accepting.close()
        server.close()
        self._context.wills.forget()
        if self._connections:
            self._emptied = asyncio.Event()
            for connection, session in list(self._connections.items()):
                if session is None or session.state in {
                    ConnectionState.NEW,
                    ConnectionState.OFFERED,
                }:
                    connection.abort()
                else:
                    session.say_goodbye(reason)
            self.turns.end()
            give_up = self.clock.call_later(self.options.stop_seconds, self._abort_all)
            await self._emptied.wait()
            give_up.cancel()
            self._emptied = None
        self.turns.stop()
        self._context.timeouts.stop()
        await self._back_end.stop()
        await server.wait_closed()

    def crash(self) -> None:
        """Cut every connection at once and stop listening: a relay that was killed."""
        server, self._server = self._server, None
        if server is not None:
            self._accepting.close()
            server.close()
        self._context.wills.forget()
        self.turns.stop()
        self._abort_all()
        self._context.timeouts.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def health(self) -> TransportHealth:
        """Whether what clients send is carried as far as it should, and if not, why."""
        return self._back_end.health()

    def stats(self) -> RelayStats:
        """What it holds at this moment. Loop thread only."""
        sessions = [session for session in self._connections.values() if session is not None]
        return RelayStats(
            connections=sum(
                session.state in {ConnectionState.OPEN, ConnectionState.DRAINING}
                for session in sessions
            ),
            members=dict(self._back_end.members()),
            topics=dict(self._back_end.topics()),
            pending_requests=sum(session.pending for session in sessions),
            tunnel_ends=sum(session.tunnel_ends for session in sessions),
            bytes_waiting=sum(connection.waiting for connection in self._connections),
            slow_readers=sum(connection.congested for connection in self._connections),
            totals=self._counters.copy(),
        )

    # What its connections say

    def admit(self, connection: ClientConnection) -> Session | None:
        """A session for a new connection."""
        if self._server is None or len(self._connections) >= self.options.max_connections:
            self._counters.drop("too many connections")
            return None
        session = Session(self._context, connection)
        self._connections[connection] = session
        session.handshake_timer = self.clock.call_later(
            self.options.handshake_seconds, session.handshake_expired
        )
        return session

    def wrote(self, length: int) -> None:
        """Count bytes written."""
        self._counters.bytes_out += length

    def stalled(self) -> None:
        """Count a sender held back."""
        self._counters.stalls += 1

    def _overrun(self) -> None:
        self.overrun = True

    def gone(self, connection: ClientConnection) -> None:
        """Forget a connection that is over."""
        self._connections.pop(connection, None)
        if not self._connections and self._emptied is not None:
            self._emptied.set()

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
