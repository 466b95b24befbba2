"""Publishing: coalesced, pipelined, each receipt settled once (cases 1, 2, 32, 33, 34)."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from actors.errors import Overloaded
from irismq_runtime.errors import ConfigError, DeliveryError, MessageTooLarge, NotConnected
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.protocols.nsq import InvalidName
from irismq_runtime.protocols.nsq.records import Dpub, Mpub, Pub
from tests.mailbox.fake import Peer, ScriptedBrokers, turns


async def started(*ports: int, **options: object) -> ScriptedBrokers:
    world = ScriptedBrokers(*ports, **options)
    await world.mailbox.start()
    return world


def published(peer: Peer) -> list[bytes]:
    bodies = []
    for command in peer.commands:
        if isinstance(command, Mpub):
            bodies += command.bodies
        elif isinstance(command, Pub | Dpub):
            bodies.append(command.body)
    return bodies


async def test_what_one_loop_turn_publishes_goes_out_as_one_mpub():
    world = await started()
    receipts = [world.mailbox.publish("t", b"%d" % n) for n in range(100)]
    await turns()
    peer = world.network.publisher()
    assert [len(command.bodies) for command in peer.of(Mpub)] == [100]
    assert not any(receipt.done() for receipt in receipts)
    peer.ok()
    for receipt in receipts:
        await receipt
    await world.close()


async def test_one_message_goes_out_as_pub():
    world = await started()
    receipt = world.mailbox.publish("t", b"alone")
    await turns()
    peer = world.network.publisher()
    assert peer.of(Pub) == [Pub("t", b"alone")]
    peer.ok()
    await receipt
    await world.close()


async def test_a_batch_is_split_at_its_largest_size_and_count():
    world = await started(batch_bytes=1000, batch_count=7)
    for n in range(20):
        world.mailbox.publish("small", b"%02d" % n)
    for _ in range(5):
        world.mailbox.publish("large", bytes(400))
    world.mailbox.publish("huge", bytes(5000))
    await turns()
    peer = world.network.publisher()
    batches = {"small": [], "large": []}
    for command in peer.of(Mpub):
        batches[command.topic].append(len(command.bodies))
    assert batches["small"] == [7, 7, 6]
    assert batches["large"] == [2, 2]
    assert [command.topic for command in peer.of(Pub)].count("huge") == 1
    peer.ok(9)
    await world.close()


async def test_publishes_are_pipelined_up_to_a_number_of_bytes():
    world = await started(batch_bytes=1000, pipeline_bytes=3000)
    for _ in range(10):
        world.mailbox.publish("t", bytes(900))
    await turns()
    peer = world.network.publisher()
    assert len(published(peer)) == 4  # the fourth passes the mark
    peer.ok(2)
    await turns()
    assert len(published(peer)) == 6
    for _ in range(2):
        peer.ok(4)
        await turns()
    assert len(published(peer)) == 10
    await world.close()


async def test_a_receipt_that_failed_unawaited_does_not_warn():
    world = await started()
    world.mailbox.publish("t", b"x", timeout=1.0)
    await world.pass_time(2.0)
    gc.collect()  # warnings are errors here
    await world.close()


async def test_a_cancelled_await_leaves_the_message_on_its_way():
    world = await started()
    receipt = world.mailbox.publish("t", b"x")
    waiter = asyncio.ensure_future(asyncio.wait_for(receipt, None))
    await turns()
    waiter.cancel()
    world.network.publisher().ok()
    await turns()
    assert receipt.done()
    assert receipt.exception() is None
    await world.close()


async def test_many_share_one_receipt():
    world = await started(batch_count=10)
    receipt = world.mailbox.publish_many("t", [b"%d" % n for n in range(25)])
    await turns()
    peer = world.network.publisher()
    peer.ok(2)
    await turns()
    assert not receipt.done()
    peer.ok()
    await receipt
    assert len(published(peer)) == 25
    await world.mailbox.publish_many("t", [])
    await world.close()


async def test_many_are_refused_together():
    world = await started(outbox_bytes=100)
    with pytest.raises(Overloaded):
        world.mailbox.publish_many("t", [bytes(60), bytes(60)])
    await turns()
    assert published(world.network.publisher()) == []
    await world.close()


async def test_the_server_vanishes_before_the_write():
    world = await started()
    peer = world.network.publisher()
    peer.transport.abort()
    receipt = world.mailbox.publish("t", b"x")
    await world.network.until(lambda: world.network.publisher() or world.clock.advance(0.1))
    again = world.network.publisher()
    await world.network.until(lambda: published(again))
    again.ok()
    await receipt
    await world.close()


async def test_the_server_vanishes_for_good_after_the_write():
    world = await started(publish_timeout=5.0)
    receipt = world.mailbox.publish("t", b"x")
    await turns()
    world.network.down.update({peer.endpoint for peer in world.network.peers})
    world.network.publisher().transport.abort()
    await world.pass_time(5.1)
    error = receipt.exception()
    assert isinstance(error, DeliveryError)
    assert error.outcome == "unknown"
    before = world.clock.monotonic()
    await world.close(drain=1.0)
    assert world.clock.monotonic() - before < 2.0


async def test_close_is_bounded_when_nobody_answers():
    world = await started()
    receipt = world.mailbox.publish("t", b"x", timeout=60.0)
    await turns()
    world.network.deaf = True
    before = world.clock.monotonic()
    await world.close(drain=1.0)
    assert world.clock.monotonic() - before < 2.0
    assert receipt.exception().outcome == "unknown"


async def test_what_was_written_and_not_confirmed_is_written_again():
    world = await started(batch_count=5)
    receipts = [world.mailbox.publish("t", b"%d" % n) for n in range(20)]
    await turns()
    first = world.network.publisher()
    first.ok(2)
    await turns()
    assert [receipt.done() for receipt in receipts] == [True] * 10 + [False] * 10
    first.transport.abort()
    await world.pass_time(1.0)
    second = world.network.publisher()
    assert second is not first
    assert sorted(map(int, published(second))) == list(range(10, 20))
    second.ok(2)
    for receipt in receipts:
        await receipt
    await world.close()


async def test_answers_are_paired_and_one_bad_message_fails_alone():
    world = await started(batch_count=1, max_body=1000)
    settled: list[int] = []
    receipts = []
    for n in range(1000):
        receipt = world.mailbox.publish("t", b"%d" % n)
        receipt.add_done_callback(lambda _, n=n: settled.append(n))
        receipts.append(receipt)
    await turns()
    first = world.network.publisher()
    assert len(published(first)) == 1000
    first.ok(499)
    first.error("E_BAD_MESSAGE", "PUB message too big 3 > 2")
    first.cut()
    await world.pass_time(1.0)
    second = world.network.publisher()
    assert [int(body) for body in published(second)] == list(range(500, 1000))
    second.ok(300)
    await turns()
    second.cut()
    await world.pass_time(1.0)
    world.network.publisher().ok(200)
    await turns()
    errors = [receipt.exception() for receipt in receipts]
    assert isinstance(errors[499], MessageTooLarge)
    assert [n for n, error in enumerate(errors) if error is not None] == [499]
    assert sorted(settled) == list(range(1000))
    await world.close()


async def test_a_batch_with_a_bad_message_is_taken_apart():
    world = await started()
    receipts = [world.mailbox.publish("t", b"%d" % n) for n in range(4)]
    await turns()
    first = world.network.publisher()
    first.error("E_BAD_MESSAGE", "MPUB failed to read message")
    first.cut()
    await world.pass_time(1.0)
    second = world.network.publisher()
    assert len(second.of(Pub)) == 4
    second.ok(2)
    second.error("E_BAD_MESSAGE", "PUB bad")
    second.ok()
    await turns()
    outcomes = [receipt.exception() for receipt in receipts]
    assert [error is None for error in outcomes] == [True, True, False, True]
    assert outcomes[2].outcome == "not sent"
    await world.close()


async def test_an_answer_that_nobody_waits_for_ends_the_connection():
    world = await started()
    peer = world.network.publisher()
    peer.ok()
    await turns()
    assert not peer.alive
    await world.close()


async def test_a_broker_that_cannot_store_now_is_asked_again():
    world = await started()
    receipt = world.mailbox.publish("t", b"x")
    await turns()
    peer = world.network.publisher()
    peer.error("E_PUB_FAILED", "exiting")
    peer.cut()
    await world.pass_time(1.0)
    world.network.publisher().ok()
    await receipt
    await world.close()


async def test_a_message_the_broker_drops_the_connection_over_is_given_up_alone():
    world = await started(publish_timeout=600.0)

    def strict(peer: Peer, command: object) -> None:
        bodies = command.bodies if isinstance(command, Mpub) else [command.body]
        if b"poison" in bodies:
            peer.transport.abort()  # as nsqd does over an oversize PUB: no error is readable
        else:
            peer.ok()

    world.network.on_command = strict
    bodies = [b"%d" % n for n in range(15)] + [b"poison"] + [b"%d" % n for n in range(15)]
    receipts = [world.mailbox.publish("t", body) for body in bodies]
    for _ in range(120):
        await world.pass_time(1.0, step=0.5)
        if all(receipt.done() for receipt in receipts):
            break
    errors = [receipt.exception() for receipt in receipts]
    assert [index for index, error in enumerate(errors) if error] == [15]
    assert "drops the connection" in str(errors[15])
    await world.close()


async def test_a_message_over_the_limit_never_reaches_the_wire():
    world = ScriptedBrokers(probe=True)
    world.network.terms["max_msg_size"] = 2000  # a broker that announces it
    await world.mailbox.start()
    assert world.mailbox.max_body == 2000
    with pytest.raises(MessageTooLarge) as caught:
        world.mailbox.publish("t", bytes(2001))
    assert (caught.value.size, caught.value.limit) == (2001, 2000)
    receipts = [world.mailbox.publish("t", bytes(size)) for size in (1999, 2000, 100)]
    await turns()
    peer = world.network.publisher()
    assert [len(body) for body in published(peer)] == [1999, 2000, 100]
    peer.ok()
    for receipt in receipts:
        await receipt
    await world.close()


async def test_limits_that_are_not_announced_are_asked_for():
    world = ScriptedBrokers(probe=True)
    world.network.limits = {"max_msg_size": 3000, "max_req_timeout_ms": 60_000}
    await world.mailbox.start()
    assert world.mailbox.max_body == 3000
    assert world.mailbox.max_delay == 60.0
    assert world.mailbox.connects == 1
    await world.close()


async def test_publish_in_the_first_tick_waits_for_the_connection():
    world = ScriptedBrokers()
    receipt = world.mailbox.publish("t", b"x")
    await world.mailbox.start()
    await world.network.until(lambda: published(world.network.publisher()))
    world.network.publisher().ok()
    await receipt
    await world.close()


async def test_an_hour_of_downtime_then_a_publish():
    world = await started()
    where = world.network.peers[0].endpoint
    world.network.down.add(where)
    world.network.peers[0].transport.abort()
    await world.pass_time(3600.0, step=5.0)
    failing = world.mailbox.publish("t", b"too early", timeout=2.0)
    await world.pass_time(2.1)
    assert failing.exception().outcome == "not sent"
    assert "refused" in str(failing.exception())
    receipt = world.mailbox.publish("t", b"x", timeout=10.0)
    world.network.down.clear()
    await world.pass_time(5.0)
    world.network.publisher().ok()
    await receipt
    await world.close()


async def test_nobody_there_is_a_clear_error_that_says_what_answered():
    world = ScriptedBrokers(start_timeout=3.0)
    world.network.deaf = True
    task = asyncio.ensure_future(world.mailbox.start())
    await turns()
    world.network.down.update(world.network.dials)
    world.network.peers[0].protocol.data_received(b"HTTP/1.1 400 Bad Request\r\n")
    await world.pass_time(3.1)
    with pytest.raises(NotConnected, match="irismq dev") as caught:
        await task
    assert caught.value.peer.endswith("4150")
    assert world.clock.pending == 0


async def test_an_outbox_full_of_unconfirmed_bytes_refuses():
    world = await started(outbox_bytes=1000)
    receipts = [world.mailbox.publish("t", bytes(100)) for _ in range(10)]
    with pytest.raises(Overloaded) as caught:
        world.mailbox.publish("t", b"one more")
    assert (caught.value.size, caught.value.limit) == (8, 1000)
    await turns()
    world.network.publisher().ok()
    await receipts[-1]
    world.mailbox.publish("t", b"one more")
    await turns()
    world.network.publisher().ok()
    await world.close()


async def test_whoever_is_told_of_a_confirmation_has_its_room():
    world = await started(outbox_bytes=100)
    first = world.mailbox.publish("t", bytes(100))
    following = []
    first.add_done_callback(lambda _: following.append(world.mailbox.publish("t", bytes(100))))
    await turns()
    world.network.publisher().ok()
    await turns()
    assert len(following) == 1
    world.network.publisher().ok()
    await following[0]
    await world.close()


async def test_failover_goes_to_the_next_broker_at_once():
    world = await started(4150, 4250)
    await world.network.until(lambda: world.network.publisher(4250))
    world.mailbox.publish("t", b"first")
    await turns()
    first, second = world.network.publisher(4150), world.network.publisher(4250)
    assert published(first) == [b"first"]
    first.transport.abort()
    await turns()
    assert published(second) == [b"first"]
    receipt = world.mailbox.publish("t", b"second")
    await turns()
    assert published(second) == [b"first", b"second"]
    second.ok(2)
    await receipt
    await world.close()


async def test_copies_go_to_as_many_brokers_and_move_when_one_is_lost():
    world = await started(4150, 4250, 4350, copies=2)
    await world.network.until(lambda: all(map(world.network.publisher, (4150, 4250, 4350))))
    receipt = world.mailbox.publish("t", b"twice")
    await turns()
    peers = [world.network.publisher(port) for port in (4150, 4250, 4350)]
    assert [published(peer) for peer in peers] == [[b"twice"], [b"twice"], []]
    peers[0].ok()
    await turns()
    assert not receipt.done()
    peers[1].transport.abort()
    await turns()
    assert published(peers[2]) == [b"twice"]
    peers[2].ok()
    await receipt
    await world.close()


async def test_copies_need_as_many_brokers():
    with pytest.raises(ConfigError, match="copies"):
        NsqMailbox(["127.0.0.1:4150"], config=MailboxConfig(copies=2))


async def test_deferred_messages_travel_alone_and_are_rounded_up():
    world = await started()
    for delay in (0.0004, 1.5, 3600.0):
        world.mailbox.publish("t", b"later", delay=delay)
    with pytest.raises(ValueError, match="3600"):
        world.mailbox.publish("t", b"x", delay=3601.0)
    await turns()
    peer = world.network.publisher()
    assert [command.delay_ms for command in peer.of(Dpub)] == [1, 1500, 3_600_000]
    peer.ok(3)
    await world.close()


async def test_bodies_are_bytes_and_anything_else_is_named():
    world = await started()
    for body in (b"a", bytearray(b"b"), memoryview(b"c")):
        world.mailbox.publish("t", body)
    with pytest.raises(TypeError, match="str"):
        world.mailbox.publish("t", "text")
    with pytest.raises(ValueError, match="empty"):
        world.mailbox.publish("t", b"")
    await turns()
    assert published(world.network.publisher()) == [b"a", b"b", b"c"]
    world.network.publisher().ok()
    await world.close()


@pytest.mark.parametrize("topic", ["", "a b", "é", "x" * 65, "t\n", "#ephemeral"])
async def test_a_bad_topic_is_refused_at_the_call(topic: str):
    world = await started()
    with pytest.raises(InvalidName):
        world.mailbox.publish(topic, b"x")
    await world.close()


async def test_the_events_of_one_message_come_in_order():
    world = await started()
    names = []
    world.events.subscribe(lambda event: names.append((event.name, event.fields["id"])))
    receipt = world.mailbox.publish("t", b"x", key="k1")
    await turns()
    world.network.publisher().ok()
    await receipt
    assert names == [
        ("outbox.queued", "k1"),
        ("publisher.written", "k1"),
        ("publisher.confirmed", "k1"),
    ]
    await world.close()


async def test_after_close_publish_says_so():
    world = await started()
    await world.close()
    with pytest.raises(DeliveryError, match="closed"):
        world.mailbox.publish("t", b"x")
    assert world.mailbox.health().reason == "the mailbox is closed"


@pytest.mark.parametrize("seed", range(30))
async def test_through_random_cuts_every_receipt_is_settled_once_and_none_is_lost(
    seed: int,
):
    rng = random.Random(seed)
    world = await started(4150, 4250, batch_count=3, publish_timeout=300.0)
    stored: set[int] = set()

    def moody(peer: Peer, command: object) -> None:
        if rng.random() < 0.15:
            peer.transport.abort()
            return
        bodies = command.bodies if isinstance(command, Mpub) else [command.body]
        stored.update(map(int, bodies))
        if rng.random() < 0.1:
            peer.cut()  # stored, but the confirmation is lost
        else:
            peer.ok()

    world.network.on_command = moody
    settled: list[int] = []
    receipts = []
    for n in range(200):
        receipt = world.mailbox.publish("t", b"%d" % n)
        receipt.add_done_callback(lambda _, n=n: settled.append(n))
        receipts.append(receipt)
        if n % 7 == 0:
            await world.pass_time(0.1)
    for _ in range(60):
        await world.pass_time(5.0, step=0.5)
        if len(settled) == 200:
            break
    assert sorted(settled) == list(range(200))
    confirmed = {n for n, receipt in enumerate(receipts) if receipt.exception() is None}
    assert confirmed <= stored
    assert len(confirmed) > 150
    await world.close()


async def test_of_many_none_is_taken_when_there_is_no_room_for_all():
    world = await started(outbox_bytes=1000)
    with pytest.raises(Overloaded):
        world.mailbox.publish_all("t", [bytes(300)] * 4)
    await turns()
    assert published(world.network.publisher()) == []
    receipts = world.mailbox.publish_all("t", [bytes(300)] * 3, keys=["a", "b", "c"])
    await turns()
    world.network.publisher().ok()
    for receipt in receipts:
        await receipt
    await world.close()


@pytest.mark.parametrize(
    ("bad", "error"), [(b"", ValueError), ("text", TypeError), (bytes(101), MessageTooLarge)]
)
async def test_of_many_none_is_taken_when_one_cannot_and_the_error_names_it(bad, error):
    world = await started(max_body=100)
    for publish in (world.mailbox.publish_all, world.mailbox.publish_many):
        with pytest.raises(error, match="index 2"):
            publish("t", [b"0", b"1", bad])
    await turns()
    assert published(world.network.publisher()) == []
    await world.close()
