"""Fleets of nodes of which there is nothing but presence, on a relay in memory and a manual clock.

A `FleetNode` speaks format 2, a `ReleasedNode` what releases 0.1 and 0.2 did: whole lists,
heartbeats, `want`. What each hears is counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from actors.events import Events
from actors.testing import ManualClock
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import NODE_TARGET, PRESENCE_CLUSTER, Packer, private_cluster
from irismq_runtime.node.membership.presence import Presence
from irismq_runtime.wire import Kind, Serializer
from tests.support.transports import MemoryAddresses, MemoryMember, MemoryRelay


class Bus(MemoryRelay):
    """Members hear a broadcast once time moves, as if it had been on its way."""

    def __init__(self):
        super().__init__()
        self.heard = Counter()
        self.bytes = Counter()
        self.largest = 0
        #: Broadcasts that are lost: a function of (cluster, body).
        self.loses = lambda cluster, body: False


class BusAddresses(MemoryAddresses):
    def __init__(self, bus, clock, node, max_body=1024 * 1024):
        super().__init__(bus, clock)
        self.node = node
        self.max_body = max_body

    async def join(self, cluster, handler):
        member = MemoryMember(self.relay, cluster, handler)
        member.node = self.node
        self.relay.members.setdefault(cluster, []).append(member)
        handler.on_joined()
        return member

    def broadcast(self, cluster, body):
        self.relay.check()
        assert len(body) <= self.max_body
        if self.relay.loses(cluster, body):
            return
        self.relay.largest = max(self.relay.largest, len(body))
        for member in self.relay.members.get(cluster, []):
            self.relay.heard[member.node] += 1
            self.relay.bytes[member.node] += len(body)
        super().broadcast(cluster, body)


class Private:
    """The private cluster of a node: what comes there is for its presence."""

    def __init__(self, node):
        self.node = node

    def on_broadcast(self, body):
        packer = self.node.packer
        envelope = packer.open_untrusted(body, "broadcast", private_cluster(packer.node_id))
        assert envelope.kind == Kind.PRESENCE
        self.node.presence.take_answer_untrusted(envelope)

    def on_request(self, request):
        packer = self.node.packer
        envelope = packer.open_untrusted(request.body, "request", private_cluster(packer.node_id))
        assert envelope.headers["to"] == NODE_TARGET
        answer = self.node.presence.changes_since(packer.load_untrusted(envelope))
        self.node.asked += 1
        cluster = private_cluster(packer.node_id)
        request.reply(packer.answer(Kind.REPLY, envelope.id, answer, name=cluster))

    def on_joined(self):
        pass


class FleetNode:
    def __init__(self, fleet, name, *, max_body=1024 * 1024, keys=None):
        self.id = self.name = name
        self.fleet = fleet
        self.packer = Packer(name, Serializer(), now=fleet.clock.time, keys=keys)
        self.addresses = BusAddresses(fleet.bus, fleet.clock, name, max_body)
        self.changes = []
        #: Questions for its list that were asked of it.
        self.asked = 0
        self.presence = Presence(
            self.packer,
            self.addresses,
            name=name,
            clock=fleet.clock,
            events=Events(),
            rng=random.Random(name),
        )
        self.presence.on_change(self.changes.append)
        self.stands = self.presence.standing(private_cluster(name), NODE_TARGET)

    async def start(self):
        await self.addresses.join(private_cluster(self.name), Private(self))
        await self.presence.start()

    def serves(self, *addresses):
        for address in addresses:
            self.presence.bind(address, "urn:x")

    def lost(self):
        self.presence.on_lost("the relay is away")
        self.stands(False)

    def back(self):
        self.presence._sending_again()
        self.stands(True)
        self.presence.on_joined()


class ReleasedNode:
    """Presence as in releases 0.1 and 0.2, from their announcements: maps, not our records."""

    def __init__(self, fleet, name):
        self.id = self.name = name
        self.fleet = fleet
        self.packer = Packer(name, Serializer(), now=fleet.clock.time)
        self.addresses = BusAddresses(fleet.bus, fleet.clock, name)
        self.own = []
        self.version = 0
        #: What it knows: the version and the list of each node.
        self.known = {}
        self.asked = {}
        self.gone = set()

    async def start(self):
        await self.addresses.join(PRESENCE_CLUSTER, self)
        self.say(serves=self.own, want="*")
        self.fleet.clock.call_later(1.0, self.beat)

    def say(self, state="up", **more):
        said = {"node": self.name, "name": self.name, "state": state, "v": self.version}
        body = {**said, "period": 1.0, **more}
        data = self.packer.new(Kind.PRESENCE, body, {}, None, "broadcast", PRESENCE_CLUSTER)[1]
        self.addresses.broadcast(PRESENCE_CLUSTER, data)

    def beat(self):
        self.say()
        self.fleet.clock.call_later(1.0, self.beat)

    def serves(self, *addresses):
        self.own += [[address, f"urn:{address}"] for address in addresses]
        self.version += 1
        self.say(serves=self.own)

    def on_joined(self):
        pass

    def on_broadcast(self, body):
        envelope = self.packer.open_untrusted(body, "broadcast", PRESENCE_CLUSTER)
        said: Any = self.packer.load_untrusted(envelope)
        try:
            self.hear(said)
        except DecodeError:
            return

    def hear(self, said):
        node, version = said["node"], said["v"]
        if said["state"] not in {"up", "bye"}:
            raise DecodeError("an announcement's state is up or bye")
        if said["state"] == "bye":
            self.gone.add(node)
            self.known.pop(node, None)
        if node not in self.gone and node != self.name:
            before = self.known.setdefault(node, (-1, ()))
            if version > before[0] and said.get("serves") is not None:
                self.known[node] = (version, tuple(map(tuple, said["serves"])))
            elif version > before[0]:
                now = self.fleet.clock.monotonic()
                if now - self.asked.get(node, -1e9) >= 1.0:
                    self.asked[node] = now
                    self.say(want=node)
        if said.get("want") == self.name or (said.get("want") == "*" and node != self.name):
            self.say(serves=self.own)

    def members(self, address):
        return [
            node
            for node, (_, pairs) in self.known.items()
            if address in {pair[0] for pair in pairs}
        ]


class Fleet:
    def __init__(self):
        self.clock = ManualClock()
        self.bus = Bus()
        self.nodes = []

    def add(self, count=1, kind=FleetNode, stem="n", **options):
        added = [kind(self, f"{stem}{len(self.nodes) + i}", **options) for i in range(count)]
        self.nodes += added
        return added

    async def pass_time(self, seconds, step=0.01):
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            for _ in range(4):
                await asyncio.sleep(0)

    async def until_all_know_all(self, at_most=10.0):
        """The seconds that it took."""
        taken = 0.0
        while not self.all_know_all():
            await self.pass_time(0.01)
            taken += 0.01
            assert taken < at_most, [len(each.presence.nodes()) for each in self.nodes]
        return taken

    def all_know_all(self):
        return all(
            len(each.presence.nodes()) == len(self.nodes) and each.presence.whole
            for each in self.nodes
        )

    def knows(self, each):
        """What a node knows of who serves what, as pairs of node and address."""
        table = each.presence
        return {(m.node, m.address) for a in table.addresses() for m in table.members(a)}

    def count(self):
        """What each node has heard since the last count."""
        heard, self.bus.heard = self.bus.heard, Counter()
        return heard

    async def stop(self):
        for each in self.nodes:
            if isinstance(each, FleetNode):
                await each.presence.stop()
