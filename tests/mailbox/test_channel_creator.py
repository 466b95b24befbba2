"""Who stores for a channel makes it first: once for each topic and connection (132)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import DeliveryError
from irismq_runtime.protocols.nsq import InvalidName
from irismq_runtime.protocols.nsq.records import Dpub, Mpub, Pub, Sub
from tests.mailbox.fake import ScriptedBrokers, turns

if TYPE_CHECKING:
    from tests.mailbox.fake import Peer


def confirm(peer: Peer, command: Any) -> None:
    if isinstance(command, Pub | Mpub | Dpub):
        peer.ok()


async def started(*ports: int, **options: Any) -> ScriptedBrokers:
    world = ScriptedBrokers(*ports, **options)
    world.network.on_command = confirm
    await world.mailbox.start()
    for port in ports or (4150,):
        await world.network.until(lambda port=port: world.network.publisher(port))
    await turns()
    return world


def subscribed(world: ScriptedBrokers, port: int = 4150) -> list[tuple[str, str]]:
    """The channels that were made at a broker, in order."""
    return [
        (command.topic, command.channel)
        for peer in world.network.peers
        if peer.endpoint.port == port
        for command in peer.of(Sub)
    ]


def written(world: ScriptedBrokers, port: int = 4150) -> list[Any]:
    return [
        command
        for peer in world.network.peers
        if peer.endpoint.port == port
        for command in peer.commands
        if isinstance(command, Pub | Mpub | Dpub)
    ]


async def test_the_channel_is_made_before_the_first_message_and_not_again():
    world = await started()
    world.network.on_command = None
    receipt = world.mailbox.publish("t", b"1", channel="mailbox")
    await world.network.until(lambda: written(world))
    assert subscribed(world) == [("t", "mailbox")]
    (maker,) = [peer for peer in world.network.peers if peer.of(Sub)]
    assert not maker.alive
    world.network.publisher().ok()
    await receipt
    world.network.on_command = confirm
    for n in range(20):
        await world.mailbox.publish("t", b"%d" % n, channel="mailbox")
    await world.mailbox.publish("t", b"later", delay=5.0, channel="mailbox")
    assert subscribed(world) == [("t", "mailbox")]
    await world.close()


async def test_what_is_told_meanwhile_leaves_in_order_and_together():
    world = await started()
    receipts = [world.mailbox.publish("t", b"%d" % n, channel="mailbox") for n in range(3)]
    await turns(1)
    receipts += [world.mailbox.publish("t", b"%d" % n, channel="mailbox") for n in range(3, 6)]
    for receipt in receipts:
        await receipt
    assert [body for command in written(world) for body in command.bodies] == [
        b"%d" % n for n in range(6)
    ]
    assert subscribed(world) == [("t", "mailbox")]
    await world.close()


async def test_what_is_meant_for_nobody_in_particular_makes_no_channel():
    world = await started()
    await world.mailbox.publish("t", b"x")
    assert subscribed(world) == []
    await world.close()


async def test_messages_for_different_channels_share_no_batch():
    world = await started()
    both = [
        world.mailbox.publish("t", b"event"),
        world.mailbox.publish("t", b"tell", channel="mailbox"),
    ]
    for receipt in both:
        await receipt
    assert [command.body for command in written(world)] == [b"event", b"tell"]
    await world.close()


async def test_other_topics_do_not_wait_for_it():
    world = await started()
    world.network.deaf = True
    held = world.mailbox.publish("slow", b"x", channel="mailbox")
    await world.mailbox.publish("t", b"y")
    assert not held.done()
    world.network.deaf = False
    await world.pass_time(8.0)  # the attempt that nobody answers, and a pause
    await held
    await world.close()


async def test_after_a_reconnect_it_is_made_again():
    world = await started()
    await world.mailbox.publish("t", b"1", channel="mailbox")
    world.network.publisher().cut()
    await turns()
    await world.pass_time(2.0)
    await world.mailbox.publish("t", b"2", channel="mailbox")
    assert subscribed(world) == [("t", "mailbox")] * 2
    await world.close()


async def test_it_is_made_at_each_broker_that_is_written_to():
    world = await started(4150, 4250)
    await world.mailbox.publish("t", b"1", channel="mailbox")
    assert subscribed(world, 4250) == []
    world.network.down.add(world.network.publisher(4150).endpoint)
    world.network.publisher(4150).cut()
    await turns()
    await world.mailbox.publish("t", b"2", channel="mailbox")
    assert subscribed(world, 4250) == [("t", "mailbox")]
    assert [command.body for command in written(world, 4250)] == [b"2"]
    await world.close()


async def test_with_copies_it_is_made_at_each_of_them():
    world = await started(4150, 4250, copies=2)
    await world.mailbox.publish("t", b"1", channel="mailbox")
    assert subscribed(world, 4150) == subscribed(world, 4250) == [("t", "mailbox")]
    await world.close()


async def test_what_waits_for_a_broker_that_is_lost_goes_to_another():
    world = await started(4150, 4250)
    world.network.deaf = True
    receipt = world.mailbox.publish("t", b"x", channel="mailbox")
    await turns()
    world.network.deaf = False
    world.network.publisher(4150).cut()
    await receipt
    assert [command.body for command in written(world, 4250)] == [b"x"]
    assert written(world, 4150) == []
    await world.close()


async def test_a_connection_that_fails_is_tried_again_and_the_error_says_so():
    world = await started(publish_timeout=4.0)
    there = world.network.publisher().endpoint
    world.network.down.add(there)
    failing = world.mailbox.publish("t", b"x", channel="mailbox")
    await world.pass_time(5.0)
    with pytest.raises(DeliveryError, match="channel mailbox not made: connection refused") as told:
        await failing
    assert told.value.outcome == "not sent"
    assert world.network.dials.count(there) >= 3
    going = world.mailbox.publish("t", b"y", channel="mailbox")
    world.network.down.clear()
    await world.pass_time(4.0)
    await going
    assert [command.body for command in written(world)] == [b"y"]
    await world.close()


async def test_a_broker_that_forbids_it_is_written_to_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
):
    world = await started()
    world.network.refuse_sub = [("E_UNAUTHORIZED", "AUTH failed for SUB")] * 2
    with caplog.at_level(logging.WARNING):
        for n in range(5):
            await world.mailbox.publish("t", b"%d" % n, channel="mailbox")
    assert len(written(world)) == 5
    assert len(subscribed(world)) == 1
    (line,) = [text for text in caplog.messages if "does not let us make" in text]
    assert "channel mailbox of t" in line
    await world.close()


async def test_a_channel_with_no_room_for_one_more_consumer_exists(
    caplog: pytest.LogCaptureFixture,
):
    world = await started()
    text = "channel consumers for t:mailbox exceeds limit of 1"
    world.network.refuse_sub = [("E_SUB_FAILED", f"SUB failed {text}")]
    await world.mailbox.publish("t", b"x", channel="mailbox")
    assert len(written(world)) == 1
    assert caplog.messages == []
    await world.close()


async def test_an_authorization_that_cannot_be_asked_for_is_tried_again():
    world = await started()
    world.network.refuse_sub = [("E_AUTH_FAILED", "AUTH failed")]
    receipt = world.mailbox.publish("t", b"x", channel="mailbox")
    await world.pass_time(1.0)
    await receipt
    assert len(subscribed(world)) == 2
    await world.close()


async def test_many_topics_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("irismq_runtime.mailbox.publish.channel_creator._REMEMBERED", 50)
    world = await started()
    receipts = [world.mailbox.publish(f"t{n}", b"x", channel="mailbox") for n in range(100)]
    most = 0

    def making() -> bool:
        nonlocal most
        most = max(most, sum(peer.alive for peer in world.network.peers) - 1)
        return all(receipt.done() for receipt in receipts)

    await world.network.until(making)
    assert 0 < most <= 8
    assert len(subscribed(world)) == len(written(world)) == 100
    await world.close()


async def test_the_end_of_the_mailbox_ends_what_is_being_made():
    world = await started()
    world.network.deaf = True
    receipt = world.mailbox.publish("t", b"x", channel="mailbox")
    await turns()
    world.network.deaf = False
    await world.close()  # looks for timers that were left behind
    with pytest.raises(DeliveryError) as told:
        await receipt
    assert told.value.outcome == "not sent"


async def test_a_channel_that_nsqd_would_refuse_is_an_error_at_the_call():
    world = await started()
    with pytest.raises(InvalidName):
        world.mailbox.publish("t", b"x", channel="not allowed")
    with pytest.raises(InvalidName):
        world.mailbox.publish_all("t", [b"x"], channel="not allowed")
    await world.close()
