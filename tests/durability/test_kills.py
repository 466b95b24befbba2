"""A kill at each step of a commit and around each acknowledgement changes nothing twice.

Two accounts on one node, and transfers told to one of them by another node. Wherever the
node is killed, the next one finds each transfer done once: no cent is lost or made.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from actors.testing import settle
from irismq_runtime import Node
from supervisors import child
from tests.durability.helpers import Account, AccountState, Move, Put
from tests.durability.killing import POINTS, MortalWorld
from tests.node.helpers import MemoryServers

TRANSFERS = 3
AMOUNTS = {"money.a": 10 - 4 * TRANSFERS, "money.b": 4 * TRANSFERS}


class Purse(Account):
    """An account that may be overdrawn, so that the order does not matter."""

    overdraft = True


def states(world: MortalWorld, node: Node) -> dict[str, int]:
    """The cents of each account, as the store has them."""
    codec = node.parts.outbound.packer.serializer
    found = {}
    for key, stored in world.database.tables.states.items():
        if stored.state is not None:
            state = read_state(codec, stored.state)
            assert isinstance(state, AccountState)
            found[key.address] = state.cents
    return found


def read_state(serializer, data):
    from irismq_runtime.durability.state_codec import StateCodec

    return StateCodec(serializer, AccountState, "", 1 << 20).decode(data)


async def rest(world: MortalWorld, *nodes: Node) -> None:
    """Let everything come to rest that does without the clock."""
    for _ in range(3):
        for node in nodes:
            await settle(node.system)


async def at_rest(world: MortalWorld, client: Node, node: Node) -> dict[str, int]:
    """Move the clock until nothing waits any more; the accounts then."""
    for _ in range(12):
        await rest(world, client, node)
        waits = any(
            channel.waiting or any(each.held for each in channel.consumers)
            for name, channels in world.broker.topics.items()
            if name.startswith("money.")
            for channel in channels.values()
        )
        if not waits and not world.database.tables.rows:
            break
        world.clock.advance(31.0)
    return states(world, node)


async def transfer(world: MortalWorld) -> dict[str, int]:
    """Play the transfers, with the kill that the world has; the accounts at the end."""
    async with AsyncExitStack() as nodes:
        client = await nodes.enter_async_context(
            MemoryServers.node(world, "client", clock=world.clock, presence_period=60.0)
        )
        store = world.store()
        victim = await nodes.enter_async_context(
            Node(
                name="victim",
                clock=world.clock,
                store=store,
                transports=world.victims_transports(store),
                presence_period=60.0,
                drain=0.01,
            )
        )
        await victim.start(child(Purse, "money.a"))
        await victim.start(child(Purse, "money.b"))
        world.watching = True
        client.ref("money.a").tell(Put(10))
        for _ in range(TRANSFERS):
            client.ref("money.a").tell(Move("money.b", 4))
        await rest(world, client, victim)
        if world.victim is not None:  # nothing was to be killed, or not so late
            world.watching = False
            return await at_rest(world, client, victim)
        next_one = await nodes.enter_async_context(
            MemoryServers.node(
                world, "next", clock=world.clock, store=world.store(), presence_period=60.0
            )
        )
        await next_one.start(child(Purse, "money.a"))
        await next_one.start(child(Purse, "money.b"))
        return await at_rest(world, client, next_one)


async def test_without_a_kill_each_transfer_is_done_once():
    world = MortalWorld()
    assert await transfer(world) == AMOUNTS
    assert set(POINTS) <= set(world.reached)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_any_step_leaves_each_transfer_done_once(point):
    kills = 0
    while True:
        world = MortalWorld((point, kills + 1))
        assert await transfer(world) == AMOUNTS, (point, kills + 1)
        if world.victim is not None:
            break
        kills += 1
    assert kills
