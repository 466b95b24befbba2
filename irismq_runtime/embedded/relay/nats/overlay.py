"""The overlay: one relay's part in the network of relays, from a start to a stop.

Wires the parts together: what the routing table holds becomes subscriptions, what
NATS brings goes to the calls, the tunnels or the members, and what cannot be read
is counted and logged. It has a relay id of its own: whatever was meant for an
earlier run of the relay finds nobody. Loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.nats.broadcasts import Broadcasts, broadcast_reader, event_reader
from irismq_runtime.embedded.relay.nats.calls_in import CallsIn
from irismq_runtime.embedded.relay.nats.calls_out import CallsOut
from irismq_runtime.embedded.relay.nats.connection import Interest, NatsConnection
from irismq_runtime.embedded.relay.nats.context import NatsContext
from irismq_runtime.embedded.relay.nats.frames import (
    MAX_NAME,
    REQUEST_OVERHEAD,
    FrameError,
    decode_opening_untrusted,
)
from irismq_runtime.embedded.relay.nats.outgoing import Outgoing
from irismq_runtime.embedded.relay.nats.subjects import GROUP, RELAY_ID_BYTES, Subjects
from irismq_runtime.embedded.relay.nats.tunnels import NatsTunnels
from irismq_runtime.observe.logs import RateLimitedLog
from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import TimerHandle
    from irismq_runtime.embedded.relay.calls import PendingCall
    from irismq_runtime.embedded.relay.nats.connection import Handler
    from irismq_runtime.embedded.relay.nats.context import NatsSetup
    from irismq_runtime.embedded.relay.router import Host, RoutingTable
    from irismq_runtime.embedded.relay.tunnels import TunnelSetup

__all__ = ["Overlay"]

_LOG: Final = "irismq_runtime.embedded.relay.nats"
#: Places that a relay takes in a queue group at most, however many members it has.
_MAX_PLACES: Final = 64

#: Bytes of a packet of Iris around a name and a body, at most.
_PACKET: Final = 32


class Overlay:
    """A relay connected to the others."""

    def __init__(self, setup: NatsSetup, routing: RoutingTable, host: Host) -> None:
        clock, options, stats = setup.clock, setup.options, setup.stats
        self._routing = routing
        self._host = host
        self._clock = clock
        self._options = options
        self._stats = stats
        relay_id = setup.rng.getrandbits(8 * RELAY_ID_BYTES).to_bytes(RELAY_ID_BYTES, "big")
        self._subjects = subjects = Subjects(setup.net, relay_id)
        self._outgoing = outgoing = Outgoing(options, host.overrun)
        self._log = log = RateLimitedLog(_LOG, clock)
        self._connection = NatsConnection(setup, take=outgoing.take, on_up=self._on_up, log=log)
        outgoing.wake = self._connection.wake
        context = NatsContext(
            relay_id,
            subjects,
            routing,
            outgoing,
            options,
            stats,
            log,
            now=clock.monotonic,
            largest=self._largest,
        )
        self._calls_out = CallsOut(context)
        self._calls_in = CallsIn(context, host.timeouts, self._calls_out)
        self._tunnels = NatsTunnels(context)
        self._broadcasts = Broadcasts(context)
        self._turn_ends = False
        self._keepalive: TimerHandle | None = None
        #: Clusters whose last member here has left, until their places are given up.
        self._leaving: dict[str, TimerHandle] = {}
        #: Clusters in which this relay has places.
        self._joined: set[str] = set()

    async def start(self) -> None:
        """Connect. Raises `NotConnected`, or `ConfigError` when NATS refuses this relay."""
        connection, subjects = self._connection, self._subjects
        connection.want(Interest(subjects.all_answers), 1, self._safely(self._on_answers))
        connection.want(Interest(subjects.all_tunnel_ends), 1, self._safely(self._on_tunnel))
        await connection.start()
        self._keep()

    async def stop(self) -> None:
        """Close the tunnels, send what is to be sent, and disconnect."""
        if self._keepalive is not None:
            self._keepalive.cancel()
        self._tunnels.close_all("the relay of the other end stops")
        if self._leaving and self._connection.up:
            await self._connection.pause(min(self._options.linger, self._options.stop_seconds))
        for cluster, timer in list(self._leaving.items()):
            timer.cancel()
            self._give_up_place(cluster)
        await self._connection.stop()
        self._log.close()

    def restarted(self) -> None:
        """The relay crashed and starts again: no member has anything in hand."""
        self._calls_in.in_hand = 0

    def health(self) -> TransportHealth:
        """Whether the other relays can be reached now."""
        if not self._connection.up:
            why = self._connection.trouble or "the connection was lost"
            reason = f"no connection to NATS at {self._connection.where}: {why}"
        elif self._connection.forbidden:
            reason = f"NATS refuses a subject: {self._connection.forbidden}"
        else:
            return WELL
        return TransportHealth(ok=False, reason=reason)

    # What the relay's sessions say

    def cluster_changed(self, cluster: str) -> None:
        """A member has come or gone."""
        members = len(self._routing.members(cluster))
        leaving = self._leaving.pop(cluster, None)
        if leaving is not None:
            leaving.cancel()
        if not members and cluster not in self._joined:
            return  # a member that left twice: with its word, and with its connection
        if members:
            self._take_places(cluster, min(members, _MAX_PLACES))
        else:
            self._take_places(cluster, 1)
            timer = self._clock.call_later(self._options.linger, self._give_up_place, cluster)
            self._leaving[cluster] = timer
        self._connection.want(
            Interest(self._subjects.broadcasts(cluster)),
            min(members, 1),
            self._safely(partial(self._on_broadcasts, cluster)),
        )

    def _take_places(self, cluster: str, count: int) -> None:
        """Have so many places in the queue group of a cluster."""
        if count:
            self._joined.add(cluster)
        else:
            self._joined.discard(cluster)
        self._connection.want(
            Interest(self._subjects.requests(cluster), GROUP),
            count,
            self._safely(partial(self._on_requests, cluster)),
        )

    def _give_up_place(self, cluster: str) -> None:
        """The last member left a while ago."""
        del self._leaving[cluster]
        self._take_places(cluster, 0)

    def topic_changed(self, topic: str) -> None:
        """A subscriber has come or gone."""
        wanted = 1 if self._routing.listeners(topic) else 0
        self._connection.want(
            Interest(self._subjects.topic(topic)),
            wanted,
            self._safely(partial(self._on_events, topic, event_reader(topic))),
        )

    def broadcast(self, cluster: str, packet: bytes) -> None:
        """Send a broadcast to the members elsewhere."""
        self._broadcasts.add(self._subjects.broadcasts(cluster), packet)

    def publish(self, topic: str, packet: bytes) -> None:
        """Send an event to the subscribers elsewhere."""
        self._broadcasts.add(self._subjects.topic(topic), packet)

    def request(self, cluster: str, call: PendingCall, body: bytes) -> None:
        """Hand a request to one member anywhere."""
        up = self._connection.up
        member = None if up else self._routing.pick(cluster)
        if member is None:
            self._calls_out.request(cluster, call, body, up=up)
        else:
            member.take_request(call, body)

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> None:
        """OfferedTunnel a tunnel to one member anywhere."""
        member = None if self._connection.up else self._routing.pick(cluster)
        if member is None:
            self._tunnels.open_tunnel(cluster, tunnel)
        else:
            member.take_tunnel(tunnel)

    # What NATS brings

    def _safely(self, handler: Handler) -> Handler:
        """`handler`, with what cannot be read counted, and a turn's writing after it."""

        def handle(subject: str, reply: str, data: bytes, nobody: bool) -> None:
            try:
                handler(subject, reply, data, nobody)
            except FrameError as error:
                self._stats.unreadable += 1
                self._log.note("unreadable", "%s is passed over: %s", subject, error)
            except Exception as error:  # a bug of ours: nats-py would say no more than its text
                text = "what came for %s was not handled to its end"
                self._log.write(logging.ERROR, "handler", text, subject, error=error)
            finally:
                if not self._turn_ends:
                    self._turn_ends = True
                    asyncio.get_running_loop().call_soon(self._end_turn)

        return handle

    def _end_turn(self) -> None:
        self._turn_ends = False
        self._host.end_turn()

    def _on_requests(
        self, cluster: str, _subject: str, reply: str, data: bytes, _nobody: bool
    ) -> None:
        opening = decode_opening_untrusted(data)
        if opening is None:
            self._calls_in.on_requests_untrusted(cluster, reply, data)
        else:
            self._tunnels.on_opening_untrusted(cluster, reply, *opening)

    def _on_answers(self, subject: str, reply: str, data: bytes, nobody: bool) -> None:
        if nobody:
            self._calls_out.on_nobody_untrusted(subject)
        elif subject.endswith(".d"):
            self._calls_in.on_direct_untrusted(reply, data)
        else:
            self._calls_out.on_answers_untrusted(data)

    def _on_tunnel(self, subject: str, reply: str, data: bytes, nobody: bool) -> None:
        self._tunnels.on_message_untrusted(subject, reply, data, nobody=nobody)

    def _on_broadcasts(
        self, cluster: str, _subject: str, _reply: str, data: bytes, _nobody: bool
    ) -> None:
        for packet in self._broadcasts.packets_untrusted(data, broadcast_reader):
            for member in self._routing.members(cluster):
                member.take_broadcast(packet)

    def _on_events(
        self,
        topic: str,
        reader: Callable[[bytes], None],
        _subject: str,
        _reply: str,
        data: bytes,
        _nobody: bool,
    ) -> None:
        for packet in self._broadcasts.packets_untrusted(data, reader):
            for listener in self._routing.listeners(topic):
                listener.take_event(topic, packet)

    # The connection, and time

    def largest_body(self) -> int:
        """Bytes of the largest body that fits one message of NATS, whatever it is."""
        return max(1, self._largest() - REQUEST_OVERHEAD - MAX_NAME - _PACKET)

    def _largest(self) -> int:
        return self._connection.max_payload

    def _on_up(self) -> None:
        """Connected, perhaps again: find out at once which tunnels have suffered."""
        self._tunnels.keep(at_once=True)

    def _keep(self) -> None:
        self._connection.check()
        if not self._connection.up:
            self._outgoing.trim()
        self._tunnels.keep()
        self._keepalive = self._clock.call_later(self._options.keep_interval, self._keep)
        self._host.end_turn()
