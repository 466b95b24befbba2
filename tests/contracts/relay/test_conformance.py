"""What every relay does, ours and the real one: the specification, packet by packet.

Differences by design, each with a test of its own in test_embedded.py:
the real relay wraps a varint of more than 64 bits where ours drops the client;
it answers a member's close at once and loses later replies, where ours first
finishes what is pending; it tells a tunnel's initiator of success before the
acceptor has confirmed; it turns a fault with an empty text into a timeout; it
keeps no order. `Faults.like_real()` brings these habits to ours.

Over NATS, a request or tunnel to a cluster without members times out at once and
not only when its time is up: NATS knows that nobody is there, and says so.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from irismq_runtime.protocols.iris import encode_packet
from irismq_runtime.protocols.iris.last_will import TOKEN_BYTES, LastWill, last_will_packet
from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    RELAY_MAGIC,
    VERSION,
    ClientBroadcast,
    ClientClose,
    ClientInit,
    ClientReply,
    ClientRequest,
    ClientTunnelClose,
    ClientTunnelConfirm,
    ClientTunnelInit,
    Deny,
    Publish,
    RelayBroadcast,
    RelayClose,
    RelayInit,
    RelayReply,
    RelayRequest,
    RelayTunnelClose,
    RelayTunnelConfirm,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
    Unsubscribe,
)
from tests.contracts.relay.client import (
    Client,
    open_tunnel,
    settle_member,
    settle_subscription,
)
from tests.support.iris_relay import IrisRelay, unique


def knows_nobody_at_once(relay: IrisRelay) -> bool:
    return relay.kind == "nats"


# Handshake


async def test_a_client_is_accepted_with_magic_and_version(relay):
    async with await Client.raw(relay) as client:
        client.send(ClientInit(CLIENT_MAGIC, VERSION, ""))
        assert await client.expect(RelayInit) == RelayInit(RELAY_MAGIC, VERSION)


async def test_another_version_is_denied_with_both_versions_named(relay):
    async with await Client.raw(relay) as client:
        client.send(ClientInit(CLIENT_MAGIC, "v9.9", ""))
        denied = await client.expect(Deny)
        assert denied.magic == RELAY_MAGIC
        assert "v9.9" in denied.reason
        assert VERSION in denied.reason
        await client.expect_end()


@pytest.mark.parametrize("magic", ["", "iris-relay-magic", "x" * 300])
async def test_a_wrong_magic_is_dropped_without_an_answer(relay, magic):
    async with await Client.raw(relay) as client:
        client.send_blindly(ClientInit(magic, VERSION, ""))
        await client.expect_end()


async def test_packets_sent_with_the_init_are_handled_after_it(relay):
    async with await Client.raw(relay) as client:
        hello = client.encode(ClientInit(CLIENT_MAGIC, VERSION, ""))
        client.send_raw(hello + encode_packet(ClientRequest(3, unique("nobody"), b"x", 20)))
        await client.expect(RelayInit)
        assert (await client.expect(RelayReply)).timeout


async def test_a_handshake_byte_by_byte(relay):
    async with await Client.raw(relay) as client:
        for byte in client.encode(ClientInit(CLIENT_MAGIC, VERSION, "")):
            client.send_raw(bytes((byte,)))
            await asyncio.sleep(0)
        await client.expect(RelayInit)


# Violations


@pytest.mark.parametrize(
    "data",
    [
        b"\x20",  # no such opcode
        b"\xff",
        b"\x01\x11iris-client-magic\x01x",  # deny is the relay's
        b"\x05\x00\x02",  # bool 2
        b"\x05\x00\xff",
        b"\x00\x11iris-client-magic\x0bv1.0-draft2\x00",  # init again
    ],
)
async def test_a_violation_drops_the_connection_and_harms_nobody_else(relay, connect, data):
    cluster = unique("bystander")
    member, caller, villain = (
        await connect(relay, cluster),
        await connect(relay),
        await connect(relay),
    )
    await settle_member(caller, member, cluster)
    villain.send_raw(data)
    await villain.expect_end()
    caller.send(ClientRequest(1, cluster, b"q", 5000))
    await member.answer_one(b"a")
    assert await caller.expect(RelayReply) == RelayReply(1, False, b"a", None)


# Requests


async def test_a_request_reaches_the_member_and_its_reply_the_caller(relay, connect):
    cluster = unique("echo")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    caller.send(ClientRequest(70_000, cluster, b"question", 4321))
    request = await member.expect(RelayRequest)
    assert (request.body, request.timeout_ms) == (b"question", 4321)
    member.send(ClientReply(request.id, b"answer", None))
    assert await caller.expect(RelayReply) == RelayReply(70_000, False, b"answer", None)


async def test_a_fault_comes_back_as_a_fault(relay, connect):
    cluster = unique("faulty")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    caller.send(ClientRequest(1, cluster, b"x", 5000))
    request = await member.expect(RelayRequest)
    member.send(ClientReply(request.id, None, "out of stock \u2744"))
    assert await caller.expect(RelayReply) == RelayReply(1, False, None, "out of stock \u2744")


async def test_a_member_may_ask_its_own_cluster_and_itself(relay, connect):
    cluster = unique("self")
    member = await connect(relay, cluster)
    await settle_member(member, member, cluster)
    member.send(ClientRequest(1, cluster, b"me", 5000))
    await member.answer_one(b"myself")
    assert (await member.expect(RelayReply)).body == b"myself"


@pytest.mark.parametrize("timeout_ms", [1, 50, 400])
async def test_an_unknown_cluster_is_silent_until_the_time_is_up_and_not_before(
    relay, connect, timeout_ms
):
    caller = await connect(relay)
    begun = time.monotonic()
    reply = await caller.ask(1, unique("nobody"), b"x", timeout_ms)
    passed = time.monotonic() - begun
    assert reply == RelayReply(1, True, None, None)
    assert knows_nobody_at_once(relay) or passed >= timeout_ms / 1000


async def test_a_member_that_says_nothing_or_dies_makes_a_timeout_in_its_time(relay, connect):
    cluster = unique("mute")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    begun = time.monotonic()
    caller.send(ClientRequest(1, cluster, b"a", 300), ClientRequest(2, cluster, b"b", 300))
    await member.expect(RelayRequest)
    member.cut()
    replies = [await caller.expect(RelayReply), await caller.expect(RelayReply)]
    assert time.monotonic() - begun >= 0.3
    assert {reply.id for reply in replies} == {1, 2}
    assert all(reply.timeout for reply in replies)


async def test_a_reply_after_the_timeout_is_dropped_without_a_word(relay, connect):
    cluster = unique("late")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    caller.send(ClientRequest(5, cluster, b"x", 60))
    request = await member.expect(RelayRequest)
    assert (await caller.expect(RelayReply)).timeout
    member.send(ClientReply(request.id, b"too late", None))
    await caller.expect_silence()
    caller.send(ClientRequest(5, cluster, b"again", 5000))
    await member.answer_one(b"in time")
    assert await caller.expect(RelayReply) == RelayReply(5, False, b"in time", None)


async def test_a_reply_to_a_request_that_never_was_is_passed_over(relay, connect):
    client = await connect(relay, unique("odd"))
    client.send(ClientReply(999, b"what?", None))
    assert (await client.ask(1, unique("nobody"), b"x", 30)).timeout


async def test_a_last_will_disturbs_no_relay(relay, connect):
    member, client = await connect(relay, unique("will")), await connect(relay)
    will = last_will_packet(LastWill(bytes(TOKEN_BYTES), unique("will"), b"gone"))
    for each in (member, client):
        each.send(will)
        assert (await each.ask(1, unique("nobody"), b"x", 30)).timeout


async def test_equal_ids_of_one_caller_are_answered_each(relay, connect):
    caller = await connect(relay)
    name = unique("nobody")
    caller.send(ClientRequest(3, name, b"a", 40), ClientRequest(3, name, b"b", 60))
    assert [(await caller.expect(RelayReply)).id for _ in range(2)] == [3, 3]
    await caller.expect_silence()


async def test_requests_are_spread_over_the_members(relay, connect):
    cluster = unique("pool")
    members = [await connect(relay, cluster) for _ in range(3)]
    caller = await connect(relay)
    for member in members:
        await settle_member(caller, member, cluster)
        for other in members:
            while True:
                try:
                    await other.expect(RelayBroadcast, 0.02)
                except TimeoutError:
                    break
    total = 60
    served = [0] * len(members)

    async def serve(index: int) -> None:
        while True:
            await members[index].answer_one(b"ok")
            served[index] += 1

    tasks = [asyncio.create_task(serve(index)) for index in range(len(members))]
    for call_id in range(total):
        assert (await caller.ask(call_id, cluster, b"x", 5000)).body == b"ok"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(served) == total
    assert min(served) >= total // 10, served


# Broadcasts and topics


async def test_a_broadcast_reaches_every_member_the_sender_included(relay, connect):
    cluster = unique("everyone")
    members = [await connect(relay, cluster) for _ in range(3)]
    outsider = await connect(relay)
    for member in members:
        await settle_member(outsider, member, cluster)
    members[0].send(ClientBroadcast(cluster, b"hear, hear"))
    for member in members:
        while (packet := await member.expect(RelayBroadcast)).body != b"hear, hear":
            assert packet.body in {b"probe", b"last"}
    await outsider.expect_silence()


async def test_an_event_reaches_every_subscriber_whatever_its_cluster(relay, connect):
    topic = unique("news")
    clients = [await connect(relay, unique("a")), await connect(relay), await connect(relay)]
    for client in clients[:2]:
        client.send(Subscribe(topic))
        await settle_subscription(client, topic)
    clients[0].send(Publish(topic, b"flash"))
    for client in clients[:2]:
        while (packet := await client.expect(Publish)).body != b"flash":
            assert packet.topic == topic
    await clients[2].expect_silence()


async def test_after_unsubscribing_no_event_comes(relay, connect):
    topic = unique("news")
    client, publisher = await connect(relay), await connect(relay)
    client.send(Subscribe(topic))
    await settle_subscription(client, topic)
    client.send(Unsubscribe(topic))
    assert (await client.ask(1, unique("nobody"), b"x", 50)).timeout
    publisher.send(Publish(topic, b"unheard"))
    await client.expect_silence()


async def test_a_topic_whose_name_is_no_text_works(relay, connect):
    client = await connect(relay)
    topic = "\udcff\udcfe" + unique("raw")
    client.send(Subscribe(topic))
    await settle_subscription(client, topic)


async def test_subscribing_twice_drops_the_connection(relay, connect):
    topic = unique("twice")
    client = await connect(relay)
    client.send(Subscribe(topic))
    await settle_subscription(client, topic)
    client.send(Subscribe(topic))
    await client.expect_end()


async def test_unsubscribing_from_nothing_drops_the_connection(relay, connect):
    client = await connect(relay)
    client.send(Unsubscribe(unique("never")))
    await client.expect_end()


# Close


@pytest.mark.parametrize("cluster", ["", "closing"])
async def test_a_close_is_answered_with_a_graceful_close_and_the_end(relay, connect, cluster):
    client = await connect(relay, cluster and unique(cluster))
    client.send(ClientClose())
    assert await client.expect(RelayClose) == RelayClose("")
    await client.expect_end()


async def test_a_member_that_has_left_gets_no_more_requests(relay, connect):
    cluster = unique("leaver")
    leaver, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, leaver, cluster)
    leaver.send(ClientClose())
    await leaver.expect(RelayClose)
    assert (await caller.ask(1, cluster, b"x", 100)).timeout


# Tunnels


async def test_a_tunnel_carries_both_ways_within_its_allowance(relay, connect):
    cluster = unique("tunnel")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    await open_tunnel(caller, member, cluster)
    caller.send(TunnelTransfer(5, 5, b"hello"))
    await member.expect_silence()  # the member has granted nothing so far
    member.send(TunnelAllow(7, 1000))
    assert await member.expect(TunnelTransfer) == TunnelTransfer(7, 5, b"hello")
    assert await caller.expect(TunnelAllow) == TunnelAllow(5, 5)
    caller.send(TunnelAllow(5, 1000))
    member.send(TunnelTransfer(7, 9, b"fine, "), TunnelTransfer(7, 0, b"sir"))
    assert await caller.expect(TunnelTransfer) == TunnelTransfer(5, 9, b"fine, ")
    assert await caller.expect(TunnelTransfer) == TunnelTransfer(5, 0, b"sir")
    grants = [await member.expect(TunnelAllow)]
    while sum(grant.granted for grant in grants) < 9:
        grants.append(await member.expect(TunnelAllow))
    assert sum(grant.granted for grant in grants) == 9


@pytest.mark.parametrize("closer", ["caller", "member"])
async def test_closing_either_end_closes_both(relay, connect, closer):
    cluster = unique("tunnel")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    await open_tunnel(caller, member, cluster)
    if closer == "caller":
        caller.send(ClientTunnelClose(5))
    else:
        member.send(ClientTunnelClose(7))
    assert await caller.expect(RelayTunnelClose) == RelayTunnelClose(5, "")
    assert await member.expect(RelayTunnelClose) == RelayTunnelClose(7, "")
    caller.send(TunnelTransfer(5, 1, b"x"), TunnelAllow(5, 10), ClientTunnelClose(5))
    member.send(TunnelTransfer(7, 1, b"x"), TunnelAllow(7, 10), ClientTunnelClose(7))
    assert (await caller.ask(1, unique("nobody"), b"x", 30)).timeout
    assert (await member.ask(1, unique("nobody"), b"x", 30)).timeout


async def test_a_tunnel_to_nobody_times_out_in_its_time(relay, connect):
    caller = await connect(relay)
    begun = time.monotonic()
    caller.send(ClientTunnelInit(8, unique("nobody"), 200))
    assert await caller.expect(RelayTunnelConfirm) == RelayTunnelConfirm(8, True, None)
    assert knows_nobody_at_once(relay) or time.monotonic() - begun >= 0.2


async def test_the_loss_of_one_end_closes_the_other(relay, connect):
    cluster = unique("tunnel")
    member, caller = await connect(relay, cluster), await connect(relay)
    await settle_member(caller, member, cluster)
    await open_tunnel(caller, member, cluster)
    caller.cut()
    assert (await member.expect(RelayTunnelClose)).tunnel_id == 7


async def test_a_confirm_of_nothing_is_passed_over(relay, connect):
    member = await connect(relay, unique("odd"))
    member.send(ClientTunnelConfirm(999, 3))
    assert (await member.ask(1, unique("nobody"), b"x", 30)).timeout


# Case 63


async def test_a_private_cluster_answers_one_of_two_namesakes_and_dies_with_it(relay, connect):
    """Two clients share a cluster; each has one of its own, where a follow-up reaches it alone."""
    cluster = unique("twins")
    twins = [await connect(relay, cluster) for _ in range(2)]
    private = [unique(f"reply.{index}") for index in range(2)]
    ends = [await connect(relay, name) for name in private]
    server = await connect(relay)
    for end, name in zip(ends, private, strict=True):
        await settle_member(server, end, name)
    server.send(ClientBroadcast(private[1], b"for the second"))
    assert (await ends[1].expect(RelayBroadcast)).body == b"for the second"
    await ends[0].expect_silence()
    for twin in twins:
        await twin.expect_silence(0.02)
    ends[1].cut()
    await ends[1].closed.wait()
    assert (await server.ask(1, private[1], b"still there?", 100)).timeout
