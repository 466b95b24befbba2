"""A server goes away and comes back: nothing stays dead, nothing is silent."""

from __future__ import annotations

import asyncio

import pytest

from irismq_runtime import ConnectionLost
from supervisors import Supervisor, child
from tests.integration.service import Inventory, Put, Slow
from tests.support.promptly import promptly
from tests.support.until import until


async def test_a_mailbox_consumes_again_after_its_broker_restarted(servers):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log = []
        await shop.start(Supervisor.of(child(Inventory, log)))
        inventory = client.ref("shop.inventory")
        await inventory.tell(Put("before"))
        await until(lambda: Put("before") in log)
        await servers.nsqd.kill()
        await until(lambda: not shop.health().ready)
        assert shop.health().live
        assert any("consumer shop.inventory" in reason for reason in shop.health().reasons)
        await servers.nsqd.start()
        await inventory.tell(Put("after"))
        await until(lambda: Put("after") in log)
        await until(lambda: shop.health().ready)


async def test_asks_fail_when_the_relay_dies_and_work_again_when_it_is_back(servers, kills_relay):
    async with servers.node("shop") as shop, servers.node("client") as client:
        log, gate = [], asyncio.Event()
        await shop.start(Supervisor.of(child(Inventory, log, gate, instances=3)))
        inventory = client.ref("shop.inventory")
        await until(lambda: len(client.members("shop.inventory")) == 3)
        asks = [inventory.ask(Slow(), timeout=60.0) for _ in range(30)]
        await until(lambda: "slow began" in log)
        async with promptly("all asks have failed"):
            await servers.relay.kill()
            outcomes = await asyncio.gather(*map(_outcome, asks))
        assert {type(outcome) for outcome in outcomes} == {ConnectionLost}
        assert {outcome.outcome for outcome in outcomes} <= {"unknown", "not sent"}
        await until(lambda: not client.health().ready)
        gate.set()
        await servers.relay.restart()
        await until(lambda: client.health().ready and shop.health().ready)
        await until(lambda: len(client.members("shop.inventory")) == 3)
        inventory.tell_all(Put("again"))
        await until(lambda: Put("again") in log)


async def _outcome(ask):
    try:
        return await ask
    except ConnectionLost as error:
        return error


async def test_a_tell_made_while_the_broker_is_away_is_stored_when_it_is_back(servers):
    async with servers.node("client") as client:
        await servers.nsqd.kill()
        receipt = client.ref("shop.inventory").tell(Put("patient"))
        await until(lambda: not client.health().ready)
        assert not receipt.done()
        await servers.nsqd.start()
        await receipt


async def test_presence_is_not_believed_while_it_cannot_be_heard(servers, kills_relay):
    async with servers.node("client") as client:
        await client.settled()
        await until(lambda: client.parts.presence.trusted)
        await servers.relay.kill()
        await until(lambda: not client.parts.presence.trusted)
        with pytest.raises(ConnectionLost):
            await client.ref("shop.nowhere").ask(Put("tea"))
