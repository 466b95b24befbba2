"""One service end to end over in-memory transports: every verb, a crash, the end."""

from __future__ import annotations

import asyncio

import pytest

from actors import Refused
from irismq_runtime.errors import NoSuchService, RemoteError
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic
from supervisors import Supervisor, child
from tests.node.helpers import Add, Counter, Fail, MemoryServers, Total
from tests.support.transports import MemoryAddresses
from tests.support.until import until


@pytest.fixture
def world() -> MemoryServers:
    return MemoryServers()


async def test_tell_ask_and_tell_all_reach_an_actor_of_another_node(world):
    async with world.node("server") as server, world.node("client") as client:
        log = []
        await server.start(Supervisor.of(child(Counter, log)))
        counter = client.ref("test.counter")
        await counter.tell(Add(1))
        await until(lambda: log)
        assert await counter.ask(Add(2)) == 3
        counter.tell_all(Add(4))
        await until(lambda: len(log) == 3)
        assert await counter.ask(Total()) == 7


class SlowRelay(MemoryServers):
    """Servers of which the relay lets nobody into the cluster of the counter until it may."""

    def __init__(self):
        super().__init__()
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    def transports(self, config, system, node_id):
        mailbox, addresses = super().transports(config, system, node_id)
        addresses.join = self.joining(addresses)
        return mailbox, addresses

    def joining(self, addresses):
        async def join(cluster, handler):
            if cluster == Counter.address:
                self.asked.set()
                await self.open.wait()
            return await MemoryAddresses.join(addresses, cluster, handler)

        return join


async def test_nothing_is_taken_from_the_mailbox_before_the_actor_is_a_member():
    world, log = SlowRelay(), []
    async with world.node("server") as server, world.node("client") as client:
        starting = asyncio.ensure_future(server.start(Supervisor.of(child(Counter, log))))
        await world.asked.wait()
        await client.ref("test.counter").tell(Add(1))
        for _ in range(50):
            await asyncio.sleep(0)
        consumers = world.broker.channel(mailbox_topic("test.counter"), MAILBOX_CHANNEL).consumers
        assert [consumer.in_flight for consumer in consumers] == [0]
        assert log == []
        world.open.set()
        await starting
        await until(lambda: log == [1])


async def test_a_crash_restarts_the_actor_and_the_next_ask_is_answered(world):
    async with world.node("server") as server, world.node("client") as client:
        await server.start(Supervisor.of(child(Counter)))
        counter = client.ref("test.counter")
        await counter.ask(Add(5))
        with pytest.raises(RemoteError) as caught:
            await counter.ask(Fail())
        assert caught.value.type_name.endswith("ValueError")
        assert await counter.ask(Total()) == 0


async def test_a_refusal_is_answered_with_its_code_and_the_actor_lives(world):
    async with world.node("server") as server, world.node("client") as client:
        await server.start(Supervisor.of(child(Counter)))
        counter = client.ref("test.counter")
        await counter.ask(Add(5))
        with pytest.raises(Refused) as caught:
            await counter.ask(Fail("refuse"))
        assert caught.value.code == "missing"
        assert await counter.ask(Total()) == 5


async def test_an_address_that_nobody_serves_fails_at_once(world):
    async with world.node("client") as client:
        await client.settled()
        with pytest.raises(NoSuchService):
            await client.ref("test.nobody").ask(Total())


async def test_ask_all_gathers_the_answers_of_all_members(world):
    async with world.node("a") as one, world.node("b") as two, world.node("client") as client:
        await one.start(Supervisor.of(child(Counter)))
        await two.start(Supervisor.of(child(Counter, instances=2)))
        await until(lambda: len(client.members("test.counter")) == 3)
        gathered = await client.ref("test.counter").ask_all(Total())
        assert gathered.values == [0, 0, 0]
        assert gathered.complete
