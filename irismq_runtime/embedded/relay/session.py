"""One connection as the relay sees it: packets in, packets out, by the specification.

A session turns what its client sends into calls on the back end, and is the
`Recipient` that the back end calls back. It keeps what the two sides have open
together (calls, subscriptions, tunnels) and takes all of it along when the
connection ends. It reads no socket and sets no timer of its own but those of
tunnels; bytes come from and go to its connection.

Order of a client's close: leave the cluster and the topics, answer what is
pending, then the relay's close, then the end of the socket.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.embedded.relay.calls import PendingCall
from irismq_runtime.embedded.relay.session_tunnels import SessionTunnels
from irismq_runtime.embedded.relay.write_queue import Traffic
from irismq_runtime.ports import RELAY_LIMIT
from irismq_runtime.protocols.iris import (
    ConnectionState,
    IrisProtocol,
    IrisProtocolError,
    encode_packet,
    version_refusal,
)
from irismq_runtime.protocols.iris.encoders import WRITERS
from irismq_runtime.protocols.iris.last_will import WILL_ID, last_will_untrusted
from irismq_runtime.protocols.iris.packets import (
    RELAY_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Deny,
    Publish,
    RelayBroadcast,
    RelayClose,
    RelayInit,
    RelayReply,
    RelayRequest,
    Role,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import TimerHandle
    from irismq_runtime.embedded.relay.client_connection import ClientConnection
    from irismq_runtime.embedded.relay.context import RelayContext
    from irismq_runtime.embedded.relay.tunnels import OfferedTunnel
    from irismq_runtime.protocols.iris.packets import Packet, RelayPacket

__all__ = ["Session"]

_MASK: Final = (1 << 64) - 1
#: On every request: values are written, records are not made.
_encode_request: Final = WRITERS[RelayRequest]
_encode_reply: Final = WRITERS[RelayReply]
_REQUEST, _REPLY = Traffic.REQUEST, Traffic.REPLY


class Session:
    """The relay's half of one connection. Loop thread only."""

    def __init__(self, context: RelayContext, connection: ClientConnection) -> None:
        self._context = context
        self._connection = connection
        self._protocol = IrisProtocol(Role.RELAY, context.options.limits)
        self._counters = context.counters
        self._cluster = ""
        self._over = False
        #: Runs from the accept to the client's init; set by the relay.
        self.handshake_timer: TimerHandle | None = None
        #: Requests of this client that wait for their answer.
        #: In the order in which they came.
        self._calls: dict[PendingCall, None] = {}
        #: Requests that this member works on, by the id it was given.
        self._inbound: dict[int, PendingCall] = {}
        self._next_id = 0
        #: Requests that wait until this member has answered others (a fault).
        self._held: deque[tuple[PendingCall, bytes]] = deque()
        self._held_bytes = 0
        #: Topic -> when it was subscribed.
        self._topics: dict[str, float] = {}
        self._tunnels = SessionTunnels(context, self)
        self._handlers: dict[type[Packet], Callable[[Any], None]] = {
            ClientInit: self._on_init,
            ClientClose: self._on_close,
            ClientBroadcast: self._on_broadcast,
            ClientRequest: self._on_request,
            ClientReply: self._on_reply,
            Subscribe: self._on_subscribe,
            Unsubscribe: self._on_unsubscribe,
            Publish: self._on_publish,
            ClientTunnelInit: self._tunnels.on_init,
            ClientTunnelConfirm: self._tunnels.on_confirm,
            TunnelAllow: self._tunnels.on_allow,
            TunnelTransfer: self._tunnels.on_transfer,
            ClientTunnelClose: self._tunnels.on_close,
        }

    # What the relay asks of it

    @property
    def state(self) -> ConnectionState:
        """Where the protocol of this connection stands."""
        return self._protocol.state

    @property
    def cluster(self) -> str:
        """The cluster of this member; empty for a plain client."""
        return self._cluster

    @property
    def pending(self) -> int:
        """Requests of this client without an answer."""
        return len(self._calls)

    @property
    def tunnel_ends(self) -> int:
        """Ends of tunnels at this connection, those being built included."""
        return len(self._tunnels)

    def feed_untrusted(self, data: bytes) -> None:
        """Serve the bytes that came; a violation drops this connection alone."""
        self._counters.bytes_in += len(data)
        violation: IrisProtocolError | None = None
        try:
            packets: Iterable[Packet] = self._protocol.feed_untrusted(data)
        except IrisProtocolError as error:
            violation, packets = error, error.decoded
        if self._context.injector is not None:
            packets = self._context.injector.ordered(list(packets))
        handlers = self._handlers
        try:
            for packet in packets:
                if self._over:
                    return
                handlers[type(packet)](packet)
        except IrisProtocolError as error:
            violation = error
        if violation is not None and not self._over:
            self._context.report_violation(violation, self._cluster)
            self.drop("violation")

    def drop(self, why: str) -> None:
        """End the connection without a word, as the real relay does on a violation."""
        self._leave_all()
        self._connection.schedule_drop(why)

    def say_goodbye(self, reason: str) -> None:
        """End the connection with the relay's close."""
        if self._over:
            return
        self._leave_all()
        if self._protocol.state in {ConnectionState.OPEN, ConnectionState.DRAINING}:
            self._connection.push(Traffic.CONTROL, self._protocol.encode(RelayClose(reason)))
        self._connection.finish()

    def lost(self, why: str | None) -> None:
        """The socket is gone; `why` when the relay dropped it."""
        if why is None and not self._over:
            self._context.wills.lost(self)
        self._leave_all()
        if why is not None:
            self._counters.drop(why)

    def handshake_expired(self) -> None:
        """The client has not said in time what it is."""
        self.drop("no handshake")
        self._context.end_turn()

    def drained(self) -> None:
        """The client reads again: go on with its tunnels."""
        self._tunnels.pump()

    def _leave_all(self) -> None:
        """Take everything of this connection out of the relay. Idempotent."""
        if self._over:
            return
        self._over = True
        self._context.wills.closed(self)
        self._end_handshake()
        self._leave_directory()
        for call in list(self._calls):
            call.cancel()
        self._calls.clear()
        for call in self._inbound.values():
            call.orphan()
        self._inbound.clear()
        self._held.clear()
        self._held_bytes = 0
        self._tunnels.close_all()

    def _end_handshake(self) -> None:
        if self.handshake_timer is not None:
            self.handshake_timer.cancel()
            self.handshake_timer = None

    def _leave_directory(self) -> None:
        back_end = self._context.back_end
        if self._cluster:
            back_end.leave(self._cluster, self)
        for topic in self._topics:
            back_end.unsubscribe(topic, self)
        self._topics.clear()

    # What the client says

    def _on_init(self, packet: ClientInit) -> None:
        self._end_handshake()
        refusal = version_refusal(packet.version)
        if refusal is not None:
            self._counters.denied += 1
            self._connection.push(
                Traffic.CONTROL, self._protocol.encode(Deny(RELAY_MAGIC, refusal))
            )
            self._leave_all()
            self._connection.finish()
            return
        self._connection.push(
            Traffic.CONTROL, self._protocol.encode(RelayInit(RELAY_MAGIC, VERSION))
        )
        self._counters.accepted += 1
        self._cluster = packet.cluster
        if packet.cluster:
            self._context.back_end.join(packet.cluster, self)

    def _on_close(self, _packet: ClientClose) -> None:
        self._context.wills.closed(self)
        self._leave_directory()
        if self._context.faults.hasty_close or not self._inbound:
            self.say_goodbye("")

    def _on_broadcast(self, packet: ClientBroadcast) -> None:
        self._counters.broadcasts += 1
        data = encode_packet(RelayBroadcast(packet.body))
        self._context.back_end.broadcast(packet.cluster, data)

    def _on_publish(self, packet: Publish) -> None:
        self._counters.events += 1
        self._context.back_end.publish(packet.topic, encode_packet(packet))

    def _on_request(self, packet: ClientRequest) -> None:
        timeout_ms = packet.timeout_ms
        context = self._context
        if packet.cluster == RELAY_LIMIT:
            self._tell_limit(packet.id)
            return
        self._counters.requests += 1
        call = PendingCall(self, packet.id, timeout_ms, context.timeouts)
        calls = self._calls
        calls[call] = None
        if len(calls) > context.options.max_calls:
            self._connection.hold("calls")
        if context.injector is not None and context.injector.happens(context.faults.lose_requests):
            return
        found = context.back_end.request(packet.cluster, call, packet.body)
        if not timeout_ms or not (found or context.faults.silent_when_unknown):
            call.expire()

    def _tell_limit(self, call_id: int) -> None:
        """Answer in place of a member: how large a body may be on its way."""
        largest = self._context.options.limits.binary
        carried = self._context.back_end.largest_body()
        body = b"%d" % (largest if carried is None else min(largest, carried))
        self._connection.push(_REPLY, _encode_reply(call_id, False, body, None))

    def _on_reply(self, packet: ClientReply) -> None:
        call = self._inbound.pop(packet.id, None)
        if call is None:
            if packet.id == WILL_ID:
                self._context.wills.hold(self, last_will_untrusted(packet))
            else:
                self._counters.late_replies += 1
            return
        context = self._context
        injector = context.injector
        if injector is not None and injector.happens(context.faults.lose_replies):
            call.orphan()
        elif packet.fault == "" and context.faults.empty_fault_is_timeout:
            call.expire()
        else:
            call.answer(packet.body, packet.fault)
        if self._held or not self._inbound:
            self._call_ended()

    def _on_subscribe(self, packet: Subscribe) -> None:
        if packet.topic in self._topics:
            self._subscription_error(f"subscribed twice to topic {packet.topic!r}")
            return
        if len(self._topics) >= self._context.options.max_subscriptions:
            raise IrisProtocolError(f"more than {len(self._topics)} subscriptions")
        self._topics[packet.topic] = self._context.clock.monotonic()
        self._context.back_end.subscribe(packet.topic, self)

    def _on_unsubscribe(self, packet: Unsubscribe) -> None:
        if self._topics.pop(packet.topic, None) is None:
            self._subscription_error(f"unsubscribed from topic {packet.topic!r} without being")
            return
        self._context.back_end.unsubscribe(packet.topic, self)

    def _subscription_error(self, text: str) -> None:
        if self._context.faults.drops_double_subscribers:
            raise IrisProtocolError(text)

    # What a back end says (Recipient), and the ends of calls (Caller, Callee)

    @property
    def load(self) -> int:
        """Requests and tunnels that this member has not answered."""
        return len(self._inbound) + len(self._held) + self._tunnels.offered

    @property
    def congested(self) -> bool:
        """True while the client does not read."""
        return self._connection.congested

    def take_broadcast(self, packet: bytes) -> None:
        """Send a broadcast."""
        injector = self._context.injector
        if injector is None or not injector.happens(self._context.faults.lose_broadcasts):
            self._connection.push(Traffic.BROADCAST, packet)

    def take_event(self, topic: str, packet: bytes) -> None:
        """Send an event."""
        injector = self._context.injector
        if injector is not None:
            faults = self._context.faults
            since = self._topics.get(topic, 0.0)
            if self._context.clock.monotonic() - since < faults.deaf_after_subscribe:
                return
            if injector.happens(faults.lose_events):
                return
        self._connection.push(Traffic.EVENT, packet)

    def take_request(self, call: PendingCall, body: bytes) -> None:
        """Send a request."""
        window = self._context.faults.member_window
        if window and len(self._inbound) >= window:
            self._hold(call, body)
            return
        key = self._next_id
        self._next_id = (key + 1) & _MASK
        self._inbound[key] = call
        call.at(self, key)
        self._connection.push(_REQUEST, _encode_request(key, body, call.timeout_ms))

    def _hold(self, call: PendingCall, body: bytes) -> None:
        """Keep a request for later; a member that lets too much gather is a slow reader."""
        self._held.append((call, body))
        self._held_bytes += len(body)
        if self._held_bytes > self._context.options.slow_reader_limit:
            self.drop("slow reader")

    def _call_ended(self) -> None:
        """A call at this member is over: send one that waited, or finish a close."""
        while self._held:
            call, body = self._held.popleft()
            self._held_bytes -= len(body)
            if not call.done:
                self.take_request(call, body)
                return
        if not self._inbound and self._protocol.state is ConnectionState.DRAINING:
            self.say_goodbye("")

    def take_tunnel(self, tunnel: OfferedTunnel) -> None:
        """Offer a tunnel to this client."""
        self._tunnels.offer(tunnel)

    def forget_call(self, key: int) -> None:
        """A call at this member is over without its answer."""
        self._inbound.pop(key, None)
        self._call_ended()

    def answered(self, call: PendingCall, body: bytes | None, fault: str | None) -> None:
        """A call of this client has ended."""
        self._calls.pop(call, None)
        counters = self._counters
        timeout = False
        if body is not None:
            counters.replies += 1
        elif fault is not None:
            counters.faults += 1
        else:
            timeout = True
            counters.timeouts += 1
        self._connection.push(_REPLY, _encode_reply(call.id, timeout, body, fault))
        if len(self._calls) == self._context.options.max_calls:
            self._connection.release("calls")

    # What its tunnels say

    def send_tunnel(self, packet: RelayPacket) -> None:
        """Send a packet of a tunnel."""
        if not self._over:
            self._connection.push(Traffic.TUNNEL, encode_packet(packet))
