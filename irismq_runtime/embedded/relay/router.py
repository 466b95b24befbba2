"""Routing: which member gets a request, and who hears broadcasts and events. Pure.

A `BackEnd` carries the traffic of one relay's connections to whoever it is for.
The relay hands it what clients send and lets it call the connections back
(`Recipient`); it knows nothing of how. `InMemoryBackEnd` serves the connections
of one relay; a back end over a network joins several relays by the same calls.

`RoutingTable` decides. A request goes to the least busy of the next few members in
turn, so members at equal load take turns and a stuck one is passed over; slow
readers are asked only when there is nobody else. A broadcast goes to every
member, an event to every subscriber, the sender included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from irismq_runtime.ports import WELL, TransportHealth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actors.clock import Clock
    from irismq_runtime.embedded.relay.calls import PendingCall, Timeouts
    from irismq_runtime.embedded.relay.tunnels import OfferedTunnel, TunnelSetup

__all__ = ["BackEnd", "Host", "InMemoryBackEnd", "Recipient", "RoutingTable"]

#: How many members, from the one whose turn it is, are compared for a request.
_COMPARED: Final = 8


class Recipient(Protocol):
    """One connection as a back end sees it. No method may raise."""

    @property
    def load(self) -> int:
        """Requests and tunnels handed to it and not answered."""
        ...

    @property
    def congested(self) -> bool:
        """True while it does not read what it is sent."""
        ...

    def take_broadcast(self, packet: bytes) -> None:
        """Send it a broadcast, given as the bytes of its packet."""
        ...

    def take_event(self, topic: str, packet: bytes) -> None:
        """Send it an event, given as the bytes of its packet."""
        ...

    def take_request(self, call: PendingCall, body: bytes) -> None:
        """Send it a request; it answers through `call`, or never."""
        ...

    def take_tunnel(self, tunnel: OfferedTunnel) -> None:
        """Offer it a tunnel, which its client accepts within 3 s or is dropped."""
        ...


class Host(Protocol):
    """The relay, as a back end sees it. Loop thread only."""

    clock: Clock
    #: For the deadlines of what comes from elsewhere.
    timeouts: Timeouts

    def end_turn(self) -> None:
        """Write what endpoints were given outside of a call by the relay."""
        ...

    def overrun(self) -> None:
        """More is sent than can be carried: read the sender of this turn more slowly."""
        ...


class BackEnd(Protocol):
    """Carries traffic between endpoints. Loop thread only; no method blocks."""

    async def start(self, host: Host) -> None:
        """Get ready to carry for `host`; whatever it raises, nothing is left running.

        Changes nothing when it carries already.

        Raises `NotConnected` when those that it carries through do not answer,
        `ConfigError` when they refuse what it was given.
        """
        ...

    def largest_body(self) -> int | None:
        """Bytes of the largest body that it carries everywhere; None: it has no limit."""
        ...

    def health(self) -> TransportHealth:
        """Whether it carries now as far as it should, and if not, why."""
        ...

    async def stop(self) -> None:
        """Carry no more. Idempotent, and bounded in time."""
        ...

    def join(self, cluster: str, member: Recipient) -> None:
        """`member` takes part in `cluster` from now on."""
        ...

    def leave(self, cluster: str, member: Recipient) -> None:
        """`member` gets nothing new for `cluster` from now on."""
        ...

    def subscribe(self, topic: str, listener: Recipient) -> None:
        """`listener` gets the events of `topic` from now on."""
        ...

    def unsubscribe(self, topic: str, listener: Recipient) -> None:
        """`listener` gets no more events of `topic`."""
        ...

    def broadcast(self, cluster: str, packet: bytes) -> Iterable[Recipient]:
        """Send a broadcast packet to every member; returns the local ones."""
        ...

    def publish(self, topic: str, packet: bytes) -> Iterable[Recipient]:
        """Send an event packet to every subscriber; returns the local ones."""
        ...

    def request(self, cluster: str, call: PendingCall, body: bytes) -> bool:
        """Hand a request to one live member; False when there is none."""
        ...

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> bool:
        """OfferedTunnel a tunnel to one live member; False when there is none."""
        ...

    def members(self) -> Mapping[str, int]:
        """Cluster -> live members that this back end knows of."""
        ...

    def topics(self) -> Mapping[str, int]:
        """Topic -> subscribers that this back end knows of."""
        ...


class _Ring:
    """The members of one cluster, in turn."""

    __slots__ = ("members", "turn")

    def __init__(self) -> None:
        self.members: list[Recipient] = []
        self.turn = 0


class RoutingTable:
    """Members by cluster and subscribers by topic, and the choice among them."""

    def __init__(self) -> None:
        self._clusters: dict[str, _Ring] = {}
        self._topics: dict[str, dict[Recipient, None]] = {}

    def join(self, cluster: str, member: Recipient) -> None:
        """Add a member, last in turn."""
        self._clusters.setdefault(cluster, _Ring()).members.append(member)

    def leave(self, cluster: str, member: Recipient) -> None:
        """Remove a member; does nothing when it is none."""
        ring = self._clusters.get(cluster)
        if ring is not None and member in ring.members:
            ring.members.remove(member)
            if not ring.members:
                del self._clusters[cluster]

    def subscribe(self, topic: str, listener: Recipient) -> None:
        """Add a subscriber; a second time changes nothing."""
        self._topics.setdefault(topic, {})[listener] = None

    def unsubscribe(self, topic: str, listener: Recipient) -> None:
        """Remove a subscriber; does nothing when it is none."""
        listeners = self._topics.get(topic)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._topics[topic]

    def pick(self, cluster: str) -> Recipient | None:
        """The member whose turn it is: the least busy of the next few that read."""
        ring = self._clusters.get(cluster)
        if ring is None:
            return None
        members = ring.members
        count = len(members)
        if count == 1:
            return members[0]
        turn = ring.turn = (ring.turn + 1) % count
        best = members[turn]
        least = (best.congested, best.load)
        for step in range(1, min(count, _COMPARED)):
            if least == (False, 0):
                break
            member = members[(turn + step) % count]
            cost = (member.congested, member.load)
            if cost < least:
                best, least = member, cost
        return best

    def members(self, cluster: str) -> list[Recipient]:
        """Every member of a cluster; not to be changed."""
        ring = self._clusters.get(cluster)
        return [] if ring is None else ring.members

    def listeners(self, topic: str) -> Iterable[Recipient]:
        """Every subscriber of a topic; not to be changed."""
        return self._topics.get(topic, ())

    def cluster_sizes(self) -> dict[str, int]:
        """Cluster -> members."""
        return {name: len(ring.members) for name, ring in self._clusters.items()}

    def topic_sizes(self) -> dict[str, int]:
        """Topic -> subscribers."""
        return {name: len(listeners) for name, listeners in self._topics.items()}


class InMemoryBackEnd:
    """Carries between the connections of one relay."""

    def __init__(self) -> None:
        self._routing = RoutingTable()
        self.join = self._routing.join
        self.leave = self._routing.leave
        self.subscribe = self._routing.subscribe
        self.unsubscribe = self._routing.unsubscribe
        self.members = self._routing.cluster_sizes
        self.topics = self._routing.topic_sizes

    async def start(self, host: Host) -> None:
        """Nothing to get ready."""

    async def stop(self) -> None:
        """Nothing to end."""

    def largest_body(self) -> int | None:
        """What it carries is bounded by the relay alone."""
        return None

    def health(self) -> TransportHealth:
        """It reaches no further than this process, so it always does."""
        return WELL

    def broadcast(self, cluster: str, packet: bytes) -> Iterable[Recipient]:
        """Send to every member of this relay."""
        members = self._routing.members(cluster)
        for member in members:
            member.take_broadcast(packet)
        return members

    def publish(self, topic: str, packet: bytes) -> Iterable[Recipient]:
        """Send to every subscriber of this relay."""
        listeners = self._routing.listeners(topic)
        for listener in listeners:
            listener.take_event(topic, packet)
        return listeners

    def request(self, cluster: str, call: PendingCall, body: bytes) -> bool:
        """Hand to the member whose turn it is."""
        member = self._routing.pick(cluster)
        if member is None:
            return False
        member.take_request(call, body)
        return True

    def open_tunnel(self, cluster: str, tunnel: TunnelSetup) -> bool:
        """OfferedTunnel to the member whose turn it is."""
        member = self._routing.pick(cluster)
        if member is None:
            return False
        member.take_tunnel(tunnel)
        return True
