"""A client or member that stays connected: one TCP connection after the other to one relay.

This file joins the parts (requests, topics, tunnels, a member's inbox) to the
current connection and says who learns what when it comes and goes. It knows no
packet's meaning: each part takes its own.

When a connection stands: topics are subscribed again, requests that had not left this
process are sent, then the member's handler hears `on_joined`. When it is lost:
requests that had left fail as "unknown", tunnels end, requests in hand are
dropped, the handler hears `on_lost`, once. The connector (connector.py) dials again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from actors.chance import default_random
from actors.clock import default_clock
from actors.errors import Overloaded
from actors.events import Events
from actors.texts import exc_info_of
from irismq_runtime.errors import MessageTooLarge
from irismq_runtime.observe.throttle import Throttle
from irismq_runtime.protocols.iris.encoders import WRITERS
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientRequest,
    Publish,
    RelayBroadcast,
    RelayReply,
    RelayRequest,
    RelayTunnelClose,
    RelayTunnelConfirm,
    RelayTunnelInit,
    TunnelAllow,
    TunnelTransfer,
)
from irismq_runtime.protocols.iris.primitives import IrisProtocolError
from irismq_runtime.pyiris.backlog import Waiting
from irismq_runtime.pyiris.connection import Connection
from irismq_runtime.pyiris.connector import Connector, tcp_dialler
from irismq_runtime.pyiris.current_connection import CurrentConnection
from irismq_runtime.pyiris.graceful_close import PING, close_gracefully
from irismq_runtime.pyiris.heartbeat import HeartbeatMonitor
from irismq_runtime.pyiris.inbox import Inbox
from irismq_runtime.pyiris.limits import Quota
from irismq_runtime.pyiris.options import (
    DEFAULT_PORT,
    LONGEST_NAME,
    Options,
    check_name,
    complaint,
    milliseconds,
)
from irismq_runtime.pyiris.requests import QUEUED, UNSENT, OutgoingRequests, failed
from irismq_runtime.pyiris.statistics import Statistics
from irismq_runtime.pyiris.subscriptions import Subscriptions
from irismq_runtime.pyiris.topics import Topics
from irismq_runtime.pyiris.tunnels import Tunnels

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.ports import MemberHandler, TransportHealth
    from irismq_runtime.pyiris.connection import PacketHandlers
    from irismq_runtime.pyiris.connector import Dial
    from irismq_runtime.pyiris.requests import ReplyFuture
    from irismq_runtime.pyiris.topics import Listener
    from irismq_runtime.pyiris.tunnel import Tunnel
    from irismq_runtime.pyiris.tunnel_memory import TunnelMemory

__all__ = ["ManagedConnection"]

logger = logging.getLogger(__name__)

#: On every message: values are written, a record is not made.
_encode_request: Final = WRITERS[ClientRequest]
_encode_broadcast: Final = WRITERS[ClientBroadcast]
_encode_event: Final = WRITERS[Publish]

#: Seconds for which a broadcast or an event waits for a relay that does not read.
_PATIENCE: Final = 5.0


class ManagedConnection:
    """A client of a relay, or, with `cluster`, one member of it, that stays connected.

    Made on the loop it is used on; connects with `start` and ends with `close`.

    Args:
        host: where the relay is.
        port: its TCP port.
        cluster: of which it is a member; empty for a client.
        handler: takes what reaches the member, on the loop.
        options: limits, timeouts and delays.
        clock: tells the time and sets timers; the loop's by default.
        rng: draws the jitter of reconnects.
        events: hears `iris.connected` and `iris.lost`.
        dial: connects a protocol to the relay, in place of TCP.
        reports: those that share it log one line a second for all losses.
        tunnel_memory: those that share it have one sum of bytes for their tunnels.
        heartbeat: gives the seconds between heartbeats, in place of `Options.heartbeat`.

    Raises:
        ValueError: `cluster` cannot be the name of one.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        cluster: str = "",
        handler: MemberHandler | None = None,
        options: Options | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        events: Events | None = None,
        dial: Dial | None = None,
        reports: Throttle | None = None,
        tunnel_memory: TunnelMemory | None = None,
        heartbeat: Callable[[], float] | None = None,
    ) -> None:
        if cluster:
            check_name(cluster)
        self.options = options or Options()
        self.cluster = cluster
        self._clock = clock = clock or default_clock()
        self._events = events or Events()
        self._handler = handler
        self._reports = reports or Throttle()
        self._limits = limits = self.options.limits
        self._current = current = CurrentConnection(
            f"iris relay {f'[{host}]' if ':' in host else host}:{port}"
        )
        self.requests = OutgoingRequests(clock, Quota(limits.calls), current.peer)
        self.topics = Topics(
            current,
            clock,
            Subscriptions(linger=self.options.linger, settle=self.options.settle),
        )
        take = handler.on_tunnel if handler else None
        self.tunnels = Tunnels(current, limits, clock, take, tunnel_memory)
        self.inbox = Inbox(current, limits, clock, handler) if handler else None
        self._connector = Connector(
            current,
            dial or tcp_dialler(host, port),
            self._make_connection,
            options=self.options,
            clock=clock,
            rng=rng or default_random(),
        )
        #: Broadcasts and events that were not written in their time.
        self.dropped = 0
        self._drops = Throttle()
        self._started = False
        self._connections = 0
        self._heartbeat: HeartbeatMonitor | None = None
        self._heartbeat_interval = heartbeat or (lambda: self.options.heartbeat)
        self._hold: TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None

    # Life -----------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and stay connected until `close`.

        Raises:
            NotConnected: no relay accepts it within `Options.connect_timeout` seconds.
            RuntimeError: it was started before.
        """
        if self._started:
            raise RuntimeError("a managed connection is started once; make another")
        self._started = True
        await self._connector.start()

    def health(self) -> TransportHealth:
        """Whether the connection stands now, and if not, why."""
        return self._current.health()

    def statistics(self) -> Statistics:
        """What was counted so far, and what is under way now."""
        requests, inbox, tunnels = self.requests, self.inbox, self.tunnels
        return Statistics(
            pending=len(requests),
            pending_bytes=requests.quota.size,
            overloaded=requests.quota.refused,
            dropped=self.dropped,
            timed_out=requests.timed_out,
            late_replies=requests.late,
            unwanted_replies=requests.unwanted,
            in_hand=len(inbox) if inbox is not None else 0,
            refused=inbox.requests.refused if inbox is not None else 0,
            expired=inbox.expired if inbox is not None else 0,
            answered_too_late=inbox.too_late if inbox is not None else 0,
            topics=len(self.topics),
            unheard_events=self.topics.unheard,
            tunnels=len(tunnels),
            tunnels_declined=tunnels.declined,
            tunnels_orphaned=tunnels.orphans,
            connections=self._connections,
        )

    async def close(self, drain: float = 5.0) -> None:
        """Finish and leave: no new requests, answer those at hand, flush, close.

        New requests to this member are refused with the fault "leaving"
        (graceful_close.py has the order). Idempotent: a second call waits for the first.

        Args:
            drain: seconds for each part of what is under way.
        """
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        try:
            await close_gracefully(
                self._current,
                self.requests,
                self.inbox,
                self.tunnels,
                clock=self._clock,
                drain=drain if self._current.connection is not None else 0,
            )
        finally:
            await self._connector.stop()
            self._end("closed by this side")
            self._closing.set_result(None)

    # Verbs ----------------------------------------------------------------------

    def request(
        self,
        cluster: str,
        body: bytes,
        timeout: float,
        on_done: Callable[[ReplyFuture], None] | None = None,
    ) -> ReplyFuture:
        """Send a request to one live member of a cluster.

        Args:
            cluster: 1 to 1,024 characters.
            body: at least one byte.
            timeout: seconds until the reply is not waited for any more.
            on_done: see `AddressTransport.request`.

        Returns:
            A future of the reply; cancelling it forgets the request. It fails with
            `AskTimeout`, `RemoteFault` (the member's fault text), `ConnectionLost`,
            `Overloaded` (`RelayTooSlow`: it would be too late) or `MessageTooLarge`.

        Raises:
            ValueError: an empty cluster or body (Iris carries neither), or a timeout
                that is not positive and finite.
        """
        if not (0 < len(cluster) <= LONGEST_NAME and body and 0 < timeout < math.inf):
            raise complaint(cluster, body, timeout)
        if (connection := self._current.connection) is None and self._hold is None:
            return failed(self._current.lost())
        if len(body) > self._limits.body:
            return failed(self._too_large(body))
        reply = self.requests.open(cluster, body, timeout)
        if connection is not None and not reply.done():
            self._put(connection, reply, timeout)
        reply.on_done = None if reply.done() else on_done
        return reply

    def broadcast(self, cluster: str, body: bytes) -> None:
        """Send to every live member, this one included.

        Args:
            cluster: 1 to 1,024 characters.
            body: at least one byte.

        Raises:
            ConnectionLost: there is no connection now; nothing was sent.
            Overloaded: too many bytes wait for the socket (`Limits.unsent`), or they would
                be read too late (`RelayTooSlow`). What is accepted waits for 5 s at most; it
                is then dropped, counted and told in the log.
            MessageTooLarge: the body is above `Limits.body`.
            ValueError: as `request`.
        """
        if not (0 < len(cluster) <= LONGEST_NAME and body):
            raise complaint(cluster, body, 1.0)
        self._send(_encode_broadcast, cluster, body)

    def publish(self, topic: str, body: bytes) -> None:
        """Send an event to who listens now. Raises as `broadcast`."""
        if not (0 < len(topic) <= LONGEST_NAME and body):
            raise complaint(topic, body, 1.0)
        self._send(_encode_event, topic, body)

    async def listen(
        self, topic: str, on_event: Callable[[bytes], None], *, timeout: float = 5.0
    ) -> Listener:
        """Call a function with each event of a topic, until the listener is closed.

        It hears again by itself after a reconnect; what is published meanwhile is missed.

        Args:
            topic: 1 to 1,024 characters.
            on_event: gets the bytes of an event, on the loop; it must return quickly.
            timeout: seconds until events have to be sure to arrive.

        Returns:
            The listener, once they are.

        Raises:
            NotConnected: it takes longer.
            ValueError: the name cannot be one of a topic.
        """
        check_name(topic)
        return await self.topics.listen(topic, on_event, timeout)

    async def tunnel(self, cluster: str, timeout: float) -> Tunnel:
        """Open a tunnel to one live member of a cluster.

        Args:
            cluster: 1 to 1,024 characters.
            timeout: seconds within which a member has to accept it.

        Raises:
            TunnelTimeout: none did.
            ConnectionLost: there is no connection, or it was lost meanwhile.
            Overloaded: too many tunnels are open, or they hold too many bytes.
            ValueError: as `request`.
        """
        check_name(cluster)
        if not 0 < timeout < math.inf:
            raise complaint(cluster, b"-", timeout)
        return await self.tunnels.open(cluster, timeout, milliseconds(timeout))

    # Inside: sending --------------------------------------------------------------

    def _put(self, connection: Connection, reply: ReplyFuture, timeout: float) -> None:
        if not connection.up:
            return  # its loss is about to be told: unsent, and so for the next connection
        backed_up = connection.backed_up
        if backed_up and (refusal := self._refusal(connection, len(reply.body), timeout)):
            self.requests.quota.refused += 1
            self.requests.end(reply, refusal)
            return
        try:
            data = _encode_request(reply.id, reply.cluster, reply.body, milliseconds(timeout))
        except (IrisProtocolError, TypeError) as error:
            self.requests.end(reply, error)
            raise ValueError(f"Iris cannot carry this: {error}") from error
        if backed_up:
            self._put_behind(connection, reply, len(data))
            return
        reply.turn = connection.turn
        connection.write(data)

    def _put_behind(self, connection: Connection, reply: ReplyFuture, size: int) -> None:
        """Send a request when its turn has come, with the time that is left to it then."""

        def encode() -> bytes:
            reply.turn = connection.turn
            left = max(0.001, reply.deadline - self._clock.monotonic())
            return _encode_request(reply.id, reply.cluster, reply.body, milliseconds(left))

        reply.turn = QUEUED
        connection.enqueue(Waiting(size, encode, reply.deadline, ended=reply.done))

    def _send(self, encode: Callable[[str, bytes], bytes], name: str, body: bytes) -> None:
        connection = self._current.require()
        if len(body) > self._limits.body:
            raise self._too_large(body)
        if not connection.up:
            raise connection.lost()
        backed_up = connection.backed_up
        if backed_up and (refusal := self._refusal(connection, len(body), _PATIENCE, name)):
            raise refusal
        try:
            data = encode(name, body)
        except (IrisProtocolError, TypeError) as error:
            raise ValueError(f"Iris cannot carry this: {error}") from error
        if backed_up:
            self._send_later(connection, data)
        else:
            connection.write(data)

    def _send_later(self, connection: Connection, data: bytes) -> None:
        until = self._clock.monotonic() + _PATIENCE
        connection.enqueue(Waiting(len(data), lambda: data, until, drop=self._dropped))

    def _dropped(self) -> None:
        """A broadcast or event was not written: its time was over, or the connection was."""
        self.dropped += 1
        if count := self._drops.note(self._clock.monotonic()):
            text = "%d broadcasts and events were not sent: %s read too slowly for %g s, or went"
            logger.warning(text, count, self._current.peer, _PATIENCE)

    def _ping(self) -> None:
        """Make a live relay say something; nobody waits for it."""
        self._current.send_if_up(ClientRequest(self.requests.new_id(), PING, b"ping", 1))

    def _too_large(self, body: bytes) -> MessageTooLarge:
        return MessageTooLarge(len(body), self._limits.body, limit_of="an Iris message")

    def _refusal(
        self, connection: Connection, size: int, timeout: float, kind: str = ""
    ) -> Overloaded | None:
        """Why nothing more may wait for the socket."""
        if connection.waiting > self._limits.unsent:
            return Overloaded(
                f"{connection.waiting:,} bytes wait for {self._current.peer}; nothing was sent"
            )
        return connection.refusal(size, timeout, kind)

    # Inside: connections come and go ----------------------------------------------------

    def _make_connection(self) -> Connection:
        handlers: PacketHandlers = {
            RelayReply: self.requests.on_reply,
            Publish: self.topics.on_event,
            RelayTunnelInit: self.tunnels.on_init,
            RelayTunnelConfirm: self.tunnels.on_confirm,
            TunnelAllow: self.tunnels.on_allow,
            TunnelTransfer: self.tunnels.on_transfer,
            RelayTunnelClose: self.tunnels.on_close,
        }
        if self.inbox is not None:
            handlers[RelayRequest] = self.inbox.on_request
            handlers[RelayBroadcast] = self.inbox.on_broadcast
        return Connection(
            self._current.peer, self.cluster, handlers, self._up, self._down, clock=self._clock
        )

    def _up(self, connection: Connection) -> None:
        """A connection stands: say again what the relay has to know."""
        self._current.connection = connection
        self._connections += 1
        self._heartbeat = HeartbeatMonitor(
            connection, self._heartbeat_interval, self._clock, self._ping
        )
        self._stop_holding()
        self.topics.connected()
        now = self._clock.monotonic()
        for reply in self.requests.unsent():
            self._put(connection, reply, max(0.001, reply.deadline - now))
        self._tell("iris.connected")
        if self._handler is not None:
            try:
                self._handler.on_joined()
            except BaseException as error:  # the user's: the connection stands all the same
                seen = exc_info_of(error)
                logger.exception("on_joined of a member of %r failed", self.cluster, exc_info=seen)

    def _down(self, connection: Connection, reason: str) -> None:
        """The connection is lost: everybody learns it now."""
        self._current.connection = None
        self._current.reason = reason
        self._stop_heartbeat()
        unsent, sent = self.requests.unsent(connection.turn), self.requests.sent(connection.turn)
        if self._closing is None:  # first of all: who learns of the loss may ask anew at once
            for reply in unsent:
                reply.turn = UNSENT
            self._hold = self._clock.call_later(self.options.hold, self._hold_over)
        self.requests.cut(sent, "unknown", reason)
        self.topics.disconnected()
        self.tunnels.disconnected(self._current.peer, reason)
        if self.inbox is not None:
            self.inbox.disconnected()
        if self._closing is not None:
            return
        self._tell("iris.lost", reason=reason)
        count = self._reports.note(self._clock.monotonic())
        if count:
            text = "connection to %s lost (%s), %d since the last such line; dialling again"
            logger.warning(text, self._current.peer, reason, count)
        if self._handler is not None:
            try:
                self._handler.on_lost(reason)
            except BaseException as error:  # as in _up
                seen = exc_info_of(error)
                logger.exception("on_lost of a member of %r failed", self.cluster, exc_info=seen)

    def _hold_over(self) -> None:
        """The relay has not come back soon: nobody waits for it any longer."""
        self._hold = None
        self.requests.cut(self.requests.unsent(), "not sent", self._current.reason)

    def _stop_holding(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _tell(self, name: str, **fields: object) -> None:
        if self._events.active:
            self._events.emit(name, peer=self._current.peer, cluster=self.cluster, **fields)

    # Inside: the end ----------------------------------------------------------------
    def _end(self, reason: str) -> None:
        """Nothing waits, and no timer runs, from now on."""
        self._current.connection = None
        self._current.reason = reason
        self._stop_heartbeat()
        self._stop_holding()
        unsent = self.requests.unsent()
        self.requests.cut(unsent, "not sent", reason)
        self.requests.cut(self.requests.sent(QUEUED), "unknown", reason)
        self.requests.stop()
        self.topics.close()
        self.tunnels.disconnected(self._current.peer, reason)
        if self.inbox is not None:
            self.inbox.stop()
