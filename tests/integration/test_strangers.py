"""What a stranger sends holds a bounded share, for a bounded time (147)."""

from __future__ import annotations

import asyncio
import itertools

from irismq_runtime import pyiris
from irismq_runtime.pyiris import Allowance
from irismq_runtime.wire import Envelope, Kind, encode_envelope
from supervisors import child
from tests.integration.service import Inventory, Put
from tests.support.until import until

ABSURD = 2**53
numbers = itertools.count()


def ask_of_everybody(node: str) -> bytes:
    """The broadcast of an ask of everybody by a node that may not exist."""
    number = next(numbers).to_bytes(16, "big")
    return encode_envelope(Envelope(Kind.ASK, number, "", b"\xc0", {"n": node, "d": ABSURD}))


async def test_asks_of_everybody_by_nobody_leave_room_for_the_nodes_own(servers):
    async with servers.node("one") as one, servers.node("two") as two:
        await one.start(child(Inventory, name="stock"))
        await two.start(child(Inventory, name="stock"))
        await until(lambda: len(one.members("shop.inventory")) == 2)
        own = one.parts.addresses._out.requests.quota
        own.allowance = Allowance(2_000, own.allowance.size)
        host, port = servers.relay.host, servers.relay.port
        share = one.parts.dispatch.acknowledging
        share.most = 100  # a slow machine answers a thousand for longer than they are waited for
        async with pyiris.connect(host, port) as stranger:
            counters = one.parts.dispatch.counters
            for at in range(3_000):
                stranger.broadcast("shop.inventory", ask_of_everybody(f"nobody-{at % 7}"))
                if at % 200 == 0:
                    await asyncio.sleep(0)
            await until(lambda: counters.answered + counters.late >= 2_900)
            assert own.count <= 1_100
            assert await one.ref("shop.inventory").ask(Put("tea", 3)) == 3
        assert share.refused
        await until(lambda: share.count == 0)  # by its own deadline, not by theirs
        # A relay that has just carried all that may be behind with what shows that it is there.
        await until(lambda: one.health().ready, "a node that is ready")


async def test_health_says_when_the_share_of_answers_or_of_own_asks_is_full(servers):
    async with servers.node("one") as one:
        await one.settled()
        share = one.parts.dispatch.acknowledging
        share.count = share.most
        assert any("acknowledged" in reason for reason in one.health().reasons)
        share.count = 0
        own = one.parts.addresses._out.requests.quota
        own.count, count = own.allowance.count, own.count
        assert any("wait for their answers" in reason for reason in one.health().reasons)
        own.count = count
