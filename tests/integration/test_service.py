"""One service, end to end, on real sockets: every verb of a ref."""

from __future__ import annotations

import asyncio
import socket

import pytest

from actors import ActorDeadError, Refused
from irismq_runtime import NoSuchService, PeerRef, RemoteError, ValidationError
from supervisors import Supervisor, child
from tests.integration.service import (
    CountTo,
    Crash,
    Inventory,
    Put,
    Reset,
    Slow,
    Sold,
    Stock,
    Till,
    Who,
)
from tests.support.until import until


async def test_tell_ask_and_tell_all_between_two_nodes(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        inventory = client.ref("shop.inventory")
        await inventory.tell(Put("tea", 2))
        await until(lambda: Put("tea", 2) in log)
        assert await inventory.ask(Put("tea")) == 3
        assert await inventory.ask(Stock("tea")) == 3
        inventory.tell_all(Reset())
        await until(lambda: "reset" in log)
        with pytest.raises(Refused) as caught:
            await inventory.ask(Stock("tea"))
        assert caught.value.code == "unknown"


async def test_a_tell_waits_in_the_mailbox_while_nobody_is_alive(servers):
    async with servers.node("client") as client:
        await client.ref("shop.inventory").tell(Put("early"))
        async with servers.node("shop") as shop:
            log = []
            await shop.start(Supervisor.of(child(Inventory, log)))
            await until(lambda: Put("early") in log)


async def test_a_crash_tells_the_asker_and_the_actor_is_restarted(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log), max_restarts=10))
        inventory = client.ref("shop.inventory")
        with pytest.raises(RemoteError) as caught:
            await inventory.ask(Crash("remote boom"))
        assert caught.value.type_name == "builtins.ValueError"
        assert "remote boom" in caught.value.traceback_text
        assert await inventory.ask(Put("tea")) == 1
        assert log.count("start") == 2


async def test_a_stored_message_whose_handler_crashes_comes_again_and_is_buried_at_last(servers):
    async with (
        servers.node("shop", max_attempts=2) as shop,
        servers.node("client") as client,
    ):
        log = []
        await shop.start(Supervisor.of(child(Inventory, log), max_restarts=10))
        await client.ref("shop.inventory").tell(Crash())
        await until(lambda: shop.parts.dispatch.counters.buried == 1)
        assert [entry for entry in log if entry[0] == "crash"] == [("crash", 1), ("crash", 2)]
        assert await client.ref("shop.inventory").ask(Put("tea")) == 1


async def test_nobody_serves_the_address(servers):
    async with servers.node("client") as client:
        await client.settled()
        with pytest.raises(NoSuchService):
            await client.ref("shop.nowhere").ask(Stock("tea"))


async def test_a_wrong_field_never_reaches_the_actor(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        with pytest.raises((Refused, ValidationError)):
            await client.ref("shop.inventory").ask(Put(sku=5))
        assert log == ["start"]


async def test_ask_all_gathers_from_every_member_of_two_nodes(servers):
    async with (
        servers.node("one") as one,
        servers.node("two") as two,
        servers.node("client") as client,
    ):
        await one.start(Supervisor.of(child(Inventory)))
        await two.start(Supervisor.of(child(Inventory, instances=2)))
        await until(lambda: len(client.members("shop.inventory")) == 3)
        gathered = await client.ref("shop.inventory").ask_all(Put("tea"))
        assert gathered.values == [1, 1, 1]
        assert gathered.complete
        refused = await client.ref("shop.inventory").ask_all(Stock("coffee"))
        assert [type(e.error) for e in refused.errors] == [Refused] * 3


async def test_events_live_and_durable_reach_who_subscribes(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Till, log)))
        await client.publish("shop.sold", Sold("tea"))
        client.publish("shop.sold.live", Sold("cup"), durable=False)
        await until(lambda: len(log) == 2)
        assert sorted(log) == [("event", "cup"), ("event", "tea")]


async def test_an_actor_ref_crosses_the_wire_and_reaches_that_actor_alone(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        root = await shop.start(Supervisor.of(child(Inventory, log)))
        peer = await client.ref("shop.inventory").ask(Who())
        assert isinstance(peer, PeerRef)
        assert peer.node_id == shop.id
        await peer.tell(Put("tea", 5))
        assert await peer.ask(Stock("tea")) == 5
        assert await shop.ref("shop.inventory").ask(Who()) == shop.system.find(peer.actor_urn)
        await root.stop()
        with pytest.raises(ActorDeadError):
            await peer.ask(Stock("tea"))


async def test_a_proxy_calls_what_is_exposed_and_nothing_else(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        await shop.start(Supervisor.of(child(Inventory)))
        proxy = client.ref("shop.inventory").proxy()
        assert await proxy.double(4, plus=1) == 9
        with pytest.raises(Refused, match="exposes no method 'hidden'"):
            await proxy.hidden()


async def test_a_proxy_of_a_class_knows_the_methods_of_the_class(servers):
    class Interface:
        async def double(self, count: int, *, plus: int = 0) -> int: ...

        async def hidden(self) -> None: ...

    async with servers.node("shop") as shop, servers.node("client") as client:
        await shop.start(Supervisor.of(child(Inventory)))
        proxy = client.ref("shop.inventory").proxy(Interface)
        assert await proxy.double(4, plus=1) == 9
        with pytest.raises(AttributeError, match="Interface has no method triple"):
            _ = proxy.triple
        with pytest.raises(Refused, match="exposes no method 'hidden'"):
            await proxy.hidden()  # the class that runs says what is exposed


async def test_giving_up_an_ask_cancels_its_handler(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        waiting = asyncio.ensure_future(_await(client.ref("shop.inventory").ask(Slow())))
        await until(lambda: "slow began" in log)
        waiting.cancel()
        await until(lambda: "slow cancelled" in log)
        assert await client.ref("shop.inventory").ask(Put("tea")) == 1
        assert log.count("start") == 1


async def _await(future):
    return await future


def needs_interface(servers):
    """Real nodes carry tunnels between their addresses other than loopback."""
    if servers.relay.kind == "real" and len(socket.if_nameindex()) < 2:
        pytest.skip("tunnels of a real node need an interface beside loopback")


async def test_a_tunnel_is_a_conversation_both_ways(servers):
    needs_interface(servers)
    async with servers.node("shop") as shop, servers.node("client") as client:
        await shop.start(Supervisor.of(child(Inventory)))
        async with client.ref("shop.inventory").tunnel() as tunnel:
            for number in range(100):
                await tunnel.send(number)
                assert await tunnel.receive() == 2 * number


async def test_a_stream_yields_what_the_handler_yields(servers):
    needs_interface(servers)
    async with servers.node("shop") as shop, servers.node("client") as client:
        await shop.start(Supervisor.of(child(Inventory)))
        got = [item async for item in client.ref("shop.inventory").stream(CountTo(200))]
        assert got == list(range(200))
        with pytest.raises(Refused, match="no stream"):
            _ = [item async for item in client.ref("shop.inventory").stream(Put("tea"))]
