"""The NATS back end: many relays, on as many machines, are one Iris network.

Every relay connects to the same NATS cluster. Requests and tunnels to a cluster
are a subject with a queue group in which a relay holds one place for each of its
members, so that NATS spreads them over all members, near and far alike, and says
at once when there is none. Broadcasts and events reach the members here by
themselves and those elsewhere over NATS: each exactly once, and in the order of
one sender. What local clients do with each other goes on while NATS is away; what
has to travel waits for it within its deadline. `net` keeps networks apart.

Order of events: what sessions say in a turn of the loop is gathered
(outgoing.py) and goes out in few messages (connection.py); what comes in is handed to
the sessions, and what that made them write goes out in one go at the turn's end.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from actors.clock import default_clock
from irismq_runtime.embedded.relay.nats.connect import Login
from irismq_runtime.embedded.relay.nats.context import NatsSetup
from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats
from irismq_runtime.embedded.relay.nats.overlay import Overlay
from irismq_runtime.embedded.relay.nats.permission_check import check_permissions
from irismq_runtime.embedded.relay.router import RoutingTable
from irismq_runtime.ports import TransportHealth

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from actors.clock import Clock
    from irismq_runtime.embedded.relay.calls import PendingCall
    from irismq_runtime.embedded.relay.router import Host, Recipient
    from irismq_runtime.embedded.relay.tunnels import TunnelSetup

__all__ = ["NatsBackEnd"]

_DEFAULT_OPTIONS: Final = NatsOptions()


class NatsBackEnd:
    """Carries between the connections of all relays on one NATS cluster and net.

    Args:
        servers: where NATS is, as URLs; one is enough, the others are found. They
            may carry a user and a password, or a token (nats://token@host), each
            percent-encoded.
        net: the network's name; relays of different nets do not see each other.
        credentials: a credentials file (JWT and seed) of a NATS user.
        tls: how to speak TLS. With it, or with one tls://, a server that offers none
            is left before a byte is sent.
        user, password, token: as the servers know this relay.
        name: what NATS's own monitoring calls this connection.
        clock: for deadlines; the relay's by default.
        rng: draws this relay's id and its pauses; the system's by default. Two
            relays of one net must not draw the same id.
        options: its bounds.

    Belongs to one relay, and to the loop on which that was started. Raises
    ValueError without servers.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        net: str = "",
        credentials: Path | None = None,
        tls: ssl.SSLContext | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        name: str = "irismq relay",
        clock: Clock | None = None,
        rng: random.Random | None = None,
        options: NatsOptions = _DEFAULT_OPTIONS,
    ) -> None:
        if not servers:
            raise ValueError("a relay over NATS needs the URL of at least one server")
        self.net = net
        self.options = options
        self._servers = list(servers)
        self._login = Login(credentials, user, password, token, tls)
        self._name = name
        self._clock = clock
        self._rng = random.SystemRandom() if rng is None else rng
        self._routing = RoutingTable()
        self._stats = NatsStats()
        self._overlay: Overlay | None = None
        self._smallest: int | None = None
        self.members = self._routing.cluster_sizes
        self.topics = self._routing.topic_sizes

    async def start(self, host: Host) -> None:
        """Connect. Raises `NotConnected`, or `ConfigError` when NATS refuses this relay."""
        if self._overlay is not None:
            self._overlay.restarted()
            return
        clock = host.clock if self._clock is None else self._clock
        overlay = Overlay(self._setup(clock), self._routing, host)
        await overlay.start()
        self._overlay = overlay

    async def check_permissions(self, clusters: Iterable[str]) -> str:
        """Return what NATS forbids a relay with members in `clusters`; "" for nothing.

        On a connection of its own, that is ended. Raises as `start`.
        """
        return await check_permissions(self._setup(self._clock or default_clock()), clusters)

    def _setup(self, clock: Clock) -> NatsSetup:
        return NatsSetup(
            self._servers,
            self._login,
            self.net,
            self._name,
            clock,
            self._rng,
            self.options,
            self._stats,
        )

    async def stop(self) -> None:
        """Say goodbye to the other relays and disconnect. Idempotent, bounded in time."""
        overlay, self._overlay = self._overlay, None
        if overlay is not None:
            await overlay.stop()

    def largest_body(self) -> int | None:
        """Bytes of a body that fits the smallest limit of a server it was connected to."""
        if self._overlay is not None:
            here = self._overlay.largest_body()
            self._smallest = here if self._smallest is None else min(here, self._smallest)
        return self._smallest

    def health(self) -> TransportHealth:
        """Whether it reaches the other relays now."""
        if self._overlay is None:
            return TransportHealth(ok=False, reason="the relay is not started")
        return self._overlay.health()

    def stats(self) -> NatsStats:
        """A copy of its totals."""
        return replace(self._stats)

    def join(self, cluster: str, member: Recipient) -> None:
        """`member` takes part in `cluster` from now on; elsewhere a moment later."""
        self._routing.join(cluster, member)
        if self._overlay is not None:
            self._overlay.cluster_changed(cluster)

    def leave(self, cluster: str, member: Recipient) -> None:
        """`member` gets nothing new for `cluster` from now on."""
        self._routing.leave(cluster, member)
        if self._overlay is not None:
            self._overlay.cluster_changed(cluster)

    def subscribe(self, topic: str, listener: Recipient) -> None:
        """`listener` gets the events of `topic` from now on; those of afar a moment later."""
        self._routing.subscribe(topic, listener)
        if self._overlay is not None:
            self._overlay.topic_changed(topic)

    def unsubscribe(self, topic: str, listener: Recipient) -> None:
        """`listener` gets no more events of `topic`."""
        self._routing.unsubscribe(topic, listener)
        if self._overlay is not None:
            self._overlay.topic_changed(topic)

    def broadcast(self, cluster: str, packet: bytes) -> Iterable[Recipient]:
        """Send to every member, here at once and elsewhere over NATS."""
        members = self._routing.members(cluster)
        for member in members:
            member.take_broadcast(packet)
        if self._overlay is not None:
            self._overlay.broadcast(cluster, packet)
        return members

    def publish(self, topic: str, packet: bytes) -> Iterable[Recipient]:
        """Send to every subscriber, here at once and elsewhere over NATS."""
        listeners = self._routing.listeners(topic)
        for listener in listeners:
            listener.take_event(topic, packet)
        if self._overlay is not None:
            self._overlay.publish(topic, packet)
        return listeners

    def request(self, cluster: str, call: PendingCall, body: bytes) -> bool:
        """Send to one member anywhere; while NATS is away, to one here if there is one."""
        if self._overlay is None:
            return False
        self._overlay.request(cluster, call, body)
        return True

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> bool:
        """OfferedTunnel to one member anywhere; while NATS is away, to one here if there is one."""
        if self._overlay is None:
            return False
        self._overlay.open_tunnel(cluster, tunnel)
        return True
