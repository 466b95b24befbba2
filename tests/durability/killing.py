"""A node that is killed at a chosen point: the store's steps, and each acknowledgement.

Killed means cut off at once from everything that outlives it: its store hears no more of
it, the broker gives what it held to others, the relay forgets it. What still runs in it
reaches nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from actors.testing import ManualClock
from irismq_runtime.stores.memory import STEPS, MemoryDatabase, MemoryStore
from tests.node.helpers import MemoryServers
from tests.support.transports import MemoryAddresses, MemoryBroker, MemoryMailbox

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a node may be killed: before the step of that name, or around an acknowledgement.
POINTS = (*STEPS, "publish", "published", "finish", "finished")


class MortalMailbox(MemoryMailbox):
    """The mailbox of a node that may be killed."""

    def __init__(self, broker: MemoryBroker, reach: Callable[[str], None], **options: Any) -> None:
        super().__init__(broker, **options)
        self.reach = reach
        self.dead = False

    def publish(self, topic: str, body: bytes, **options: Any) -> Any:
        if topic.startswith("money."):
            self.reach("publish")
        if self.dead:
            return asyncio.get_running_loop().create_future()
        confirmed = super().publish(topic, body, **options)
        if topic.startswith("money."):
            self.reach("published")
        return asyncio.get_running_loop().create_future() if self.dead else confirmed

    async def consume(self, topic: str, channel: str, on_message: Any, *, window: int) -> Any:
        def mortal(message: Any) -> None:
            plain = message.finish

            def finish() -> bool:
                self.reach("finish")
                done = False if self.dead else plain()
                self.reach("finished")
                return done

            message.finish = finish
            on_message(message)

        return await super().consume(topic, channel, mortal, window=window)

    def kill(self) -> None:
        """The broker sees the connection end."""
        self.dead = True
        for consumption in self.consumptions:
            consumption.stopped = True
            channel = consumption.channel
            if consumption in channel.consumers:
                channel.consumers.remove(consumption)
            for message in list(consumption.held.values()):
                message.lease_lost = True
                consumption.held.clear()
                channel.waiting.append(message.record)
            channel.pump()


class MortalWorld(MemoryServers):
    """Servers, a store and one node that is killed when it reaches `target` the n-th time."""

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.clock = ManualClock()
        super().__init__(MemoryBroker(self.clock))
        self.database = MemoryDatabase(clock=self.clock, step=self.step)
        self.target = target
        self.reached: Counter[str] = Counter()
        self.victim: tuple[MemoryStore, MortalMailbox, MemoryAddresses] | None = None
        self.watching = False

    def store(self) -> MemoryStore:
        """The store of one more node."""
        return MemoryStore(self.database)

    async def step(self, name: str) -> None:
        """The store comes to a step."""
        if name in STEPS:
            self.reach(name)
        await asyncio.sleep(0)

    def reach(self, point: str) -> None:
        """The victim, or the store for it, has come to `point`."""
        if not self.watching or self.victim is None:
            return
        self.reached[point] += 1
        if self.target == (point, self.reached[point]):
            self.kill()

    def kill(self) -> None:
        """Cut the victim off."""
        assert self.victim is not None
        store, mailbox, addresses = self.victim
        self.victim = None
        mailbox.kill()
        for member in addresses.members:
            members = self.relay.members.get(member.cluster, [])
            if member in members:
                members.remove(member)
        asyncio.get_running_loop().call_soon(_sever, store)
        _sever(store)

    def victims_transports(self, store: MemoryStore) -> Any:
        """The transports of the node that will be killed."""

        def make(config: Any, system: Any, node_id: str) -> Any:
            mailbox = MortalMailbox(self.broker, self.reach, max_attempts=config.max_attempts)
            addresses = MemoryAddresses(self.relay, system.clock)
            self.victim = (store, mailbox, addresses)
            return mailbox, addresses

        return make


def _sever(store: MemoryStore) -> None:
    """The store loses the connection of a client that never comes back."""
    store.drop("killed")
    store._open = False
