"""Which deliveries count as attempts: those whose handler began, as far as this process knows.

On a scripted broker, which counts as nsqd does: one more for each delivery.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from irismq_runtime.protocols.nsq.records import Dpub, Req
from tests.mailbox.fake import ScriptedBrokers, message_id, turns

if TYPE_CHECKING:
    from collections.abc import Callable

CUTS = 7


async def consuming(**options: Any) -> tuple[ScriptedBrokers, Any]:
    world = ScriptedBrokers(**options)
    await world.mailbox.start()
    return world, await world.consume()


async def delivered(world: ScriptedBrokers, *numbers: int, attempts: int) -> list[Any]:
    """Push, and return what was handed on."""
    before = len(world.messages)
    world.network.consumer().push(*numbers, attempts=attempts)
    await turns()
    return world.messages[before:]


async def cut(world: ScriptedBrokers) -> None:
    """Break the consumer's connection, and wait for the next one."""
    world.network.consumer().cut()
    await turns()
    await world.pass_time(6.0)
    await world.network.until(world.network.consumer)


async def close(world: ScriptedBrokers) -> None:
    for message in world.messages:
        message.finish()
    await turns()
    await world.close()


async def test_what_waits_through_any_number_of_cuts_is_at_its_first_attempt():
    world, consumption = await consuming()
    (running,) = await delivered(world, 0, attempts=1)
    assert consumption.claim(running)
    await delivered(world, 1, 2, attempts=1)
    for cuts in range(1, CUTS + 1):
        await cut(world)
        again = await delivered(world, 0, 1, 2, attempts=1 + cuts)
        assert [message.raw_id for message in again] == [message_id(1), message_id(2)]
        assert [message.attempts for message in again] == [1, 1]
        assert running.attempts == 1
    # A handler that began is counted, also when it failed without its lease.
    assert consumption.claim(again[0])
    await cut(world)
    assert not again[0].requeue(0.0)
    counted, spared = await delivered(world, 1, 2, attempts=2 + CUTS)
    assert (counted.attempts, spared.attempts) == (2, 1)
    await close(world)


async def given_back(how: Callable[[Any, Any], object]) -> int:
    """Which attempt it is after a delivery that went back like this."""
    world, consumption = await consuming()
    (message,) = await delivered(world, 1, attempts=1)
    how(consumption, message)
    (again,) = await delivered(world, 1, attempts=2)
    await close(world)
    return int(again.attempts)


async def test_what_is_given_back_before_its_handler_began_is_no_attempt():
    assert await given_back(lambda consumption, _: consumption.give_back()) == 1
    assert await given_back(lambda _, message: message.requeue(0.1, penalty=False)) == 1


async def test_what_fails_or_began_is_an_attempt():
    def begin(consumption: Any, message: Any) -> None:
        assert consumption.claim(message)
        message.requeue(0.0, penalty=False)

    assert await given_back(begin) == 2
    # Also a receiver that raised before any handler: it must not come for ever.
    assert await given_back(lambda _, message: message.requeue()) == 2


async def test_a_lease_that_runs_out_before_the_start_is_no_attempt():
    world = ScriptedBrokers(msg_timeout=3.0)
    world.network.terms["max_msg_timeout"] = 6000
    await world.mailbox.start()
    await world.consume()
    (message,) = await delivered(world, 1, attempts=1)
    await world.pass_time(6.0)
    assert message.lease_lost
    (again,) = await delivered(world, 1, attempts=2)
    assert again.attempts == 1
    # Again before our own reckoning says so: the holder has the new lease, unbegun.
    assert await delivered(world, 1, attempts=3) == []
    assert again.attempts == 1
    await close(world)


async def test_what_a_stopped_consumer_gave_back_is_fresh_to_the_next_one_of_this_mailbox():
    world, consumption = await consuming()
    (running,) = await delivered(world, 0, attempts=1)
    assert consumption.claim(running)
    await delivered(world, 1, attempts=1)
    peer = world.network.consumer()
    running.finish()
    await consumption.stop(1.0)
    assert peer.of(Req) == [Req(message_id(1), 0)]
    await world.consume()
    (again,) = await delivered(world, 1, attempts=2)
    assert again.attempts == 1
    await close(world)
    other, _ = await consuming()  # another process: it knows nothing
    (unknown,) = await delivered(other, 1, attempts=2)
    assert unknown.attempts == 2
    await close(other)


async def test_what_crosses_the_stop_is_no_attempt():
    world, consumption = await consuming()
    (running,) = await delivered(world, 0, attempts=1)
    assert consumption.claim(running)
    peer = world.network.consumer()
    stopping = asyncio.ensure_future(consumption.stop(5.0))
    assert await delivered(world, 1, attempts=1) == []
    assert peer.of(Req) == [Req(message_id(1), 0)]
    running.finish()
    await stopping
    await world.consume()
    (again,) = await delivered(world, 1, attempts=2)
    assert again.attempts == 1
    await close(world)


async def test_a_deferral_that_could_not_be_stored_is_no_attempt():
    world, _ = await consuming(publish_timeout=2.0)
    (message,) = await delivered(world, 1, attempts=1)
    assert message.defer(60.0)
    await turns()
    assert world.network.publisher().of(Dpub)
    await world.pass_time(2.1)
    (again,) = await delivered(world, 1, attempts=2)
    assert again.attempts == 1
    # A burial that could not be is one: the message has had its turn.
    assert again.bury("t.dead", b"record")
    await world.pass_time(2.1)
    (last,) = await delivered(world, 1, attempts=3)
    assert last.attempts == 2
    await close(world)
