"""Discovery adds, and outages take nothing away (cases 37, 120)."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.endpoints import Endpoint
from irismq_runtime.mailbox.consume.lookup import LookupFault, choose, producers_untrusted
from tests.mailbox.fake import ScriptedBrokers, turns

A, B, C = (Endpoint("127.0.0.1", port) for port in (4150, 4250, 4350))
LOOKUPD = Endpoint("127.0.0.1", 4161)


def answer(*endpoints: Endpoint) -> bytes:
    producers = [{"broadcast_address": e.host, "tcp_port": e.port} for e in endpoints]
    return json.dumps({"channels": [], "producers": producers}).encode()


def test_producers_are_read_from_both_shapes():
    assert producers_untrusted(200, answer(A, B)) == ({A, B}, "")
    old = json.dumps({"status_code": 200, "data": json.loads(answer(C))}).encode()
    assert producers_untrusted(200, old) == ({C}, "")
    assert producers_untrusted(404, b'{"message":"TOPIC_NOT_FOUND"}') == (set(), "")
    assert producers_untrusted(200, answer(Endpoint("::1", 4150))).found == {Endpoint("::1", 4150)}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"producers": 3}'),
        (200, b"[" * 100_000),
    ],
)
def test_anything_else_is_a_fault(status: int, body: bytes):
    with pytest.raises(LookupFault):
        producers_untrusted(status, body)


NONSENSE = [
    None,
    3,
    [],
    {},
    {"broadcast_address": "", "tcp_port": 4150},
    {"broadcast_address": None, "tcp_port": 4150},
    {"broadcast_address": 7, "tcp_port": 4150},
    {"broadcast_address": ["h"], "tcp_port": 4150},
    {"broadcast_address": "a host", "tcp_port": 4150},
    {"broadcast_address": "h\n\x1b[31m", "tcp_port": 4150},
    {"broadcast_address": "\ud800", "tcp_port": 4150},
    {"broadcast_address": "a..b", "tcp_port": 4150},
    {"broadcast_address": "h" * 64, "tcp_port": 4150},
    {"broadcast_address": "h." * 200, "tcp_port": 4150},
    {"broadcast_address": "http://h", "tcp_port": 4150},
    {"broadcast_address": "h"},
    {"broadcast_address": "h", "tcp_port": None},
    {"broadcast_address": "h", "tcp_port": "4150"},
    {"broadcast_address": "h", "tcp_port": 4150.0},
    {"broadcast_address": "h", "tcp_port": True},
    {"broadcast_address": "h", "tcp_port": 0},
    {"broadcast_address": "h", "tcp_port": 70000},
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda one: ascii(one)[:50])
def test_a_producer_that_makes_no_sense_is_left_out_alone(nonsense: object):
    listed = json.loads(answer(A, B))
    listed["producers"].insert(1, nonsense)
    found, fault = producers_untrusted(200, json.dumps(listed).encode())
    assert found == {A, B}
    assert fault.startswith("1 of 3 producers left out, the first with ")
    assert fault.isascii()
    assert fault.isprintable()
    assert len(fault) < 150


def test_an_answer_with_more_producers_than_can_be_is_cut_and_says_so():
    found, fault = producers_untrusted(
        200, answer(*(Endpoint(f"h{number}", 4150) for number in range(1500)))
    )
    assert len(found) == 1000
    assert fault == "1500 producers, of which 1000 are taken"


@given(st.binary(max_size=200), st.integers(100, 599))
def test_garbage_raises_the_one_error(body: bytes, status: int):
    with contextlib.suppress(LookupFault):
        producers_untrusted(status, body)


def test_only_a_complete_answer_takes_a_dead_broker_away():
    assert choose({A}, {A, B}, {A, B}, complete=True) == {A, B}  # B stands
    assert choose({A}, {A, B}, {A}, complete=True) == {A}
    assert choose({A}, {A, B}, {A}, complete=False) == {A, B}
    assert choose(set(), {A, B}, set(), complete=True) == {A, B}  # an empty list


async def test_brokers_are_found_and_kept_through_an_outage():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    mood = ["found"]
    asked = []

    async def lookupd(path: str) -> tuple[int, bytes]:
        asked.append((world.clock.monotonic(), path))
        if mood[0] == "found":
            return 200, answer(A, B)
        if mood[0] == "down":
            raise ConnectionRefusedError
        if mood[0] == "hangs":
            raise TimeoutError
        return {"error": (500, b""), "empty": (200, answer()), "404": (404, b"")}.get(
            mood[0], (200, b"garbage")
        )

    world.network.answers[LOOKUPD] = lookupd
    await world.mailbox.start()
    consumption = await world.consume()
    await world.network.until(lambda: world.network.consumer(4250))
    assert asked[0][1] == "/lookup?topic=t"
    for outage in ("down", "hangs", "error", "empty", "404", "garbage"):
        mood[0] = outage
        before = len(asked)
        await world.pass_time(200.0, step=1.0)
        assert len(asked) - before >= 3
        assert world.network.consumer(4150)
        assert world.network.consumer(4250)
        assert consumption.health().ok
    await world.close()


async def test_a_failed_round_is_followed_by_another_soon():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    asked = []

    async def lookupd(path: str) -> tuple[int, bytes]:
        asked.append(world.clock.monotonic())
        raise ConnectionRefusedError

    world.network.answers[LOOKUPD] = lookupd
    await world.mailbox.start()
    await world.consume()
    await world.pass_time(2.0)
    assert len(asked) >= 2
    await world.close()


async def test_a_lookup_that_hangs_does_not_hold_the_stop_up():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    forever = asyncio.Event()

    async def lookupd(path: str) -> tuple[int, bytes]:
        await forever.wait()
        raise AssertionError

    world.network.answers[LOOKUPD] = lookupd
    await world.mailbox.start()
    await world.consume()
    await world.close()


async def test_a_broker_named_later_is_joined_and_one_that_is_gone_is_left():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",), lookup_interval=10.0)
    named = [A]

    async def lookupd(path: str) -> tuple[int, bytes]:
        return 200, answer(*named)

    world.network.answers[LOOKUPD] = lookupd
    await world.mailbox.start()
    await world.consume()
    named[:] = [A, C]
    await world.pass_time(15.0, step=0.5)
    assert world.network.consumer(4350)
    named[:] = [A]
    world.network.down.add(C)
    world.network.consumer(4350).transport.abort()
    await world.pass_time(30.0, step=0.5)
    dials = world.network.dials.count(C)
    await world.pass_time(30.0, step=0.5)
    assert world.network.dials.count(C) == dials
    await turns()
    await world.close()


def a_directory(world: ScriptedBrokers, answers: list[bytes]) -> list[float]:
    """A nsqlookupd that gives the first of `answers`; returns when it was asked."""
    asked = []

    async def lookupd(path: str) -> tuple[int, bytes]:
        asked.append(world.clock.monotonic())
        return 200, answers[0]

    world.network.answers[LOOKUPD] = lookupd
    return asked


async def test_one_malformed_producer_hides_no_other_and_the_fault_is_known():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    listed = json.loads(answer(A, B))
    listed["producers"].insert(0, {"broadcast_address": "", "tcp_port": 4150})
    answers = [json.dumps(listed).encode()]
    a_directory(world, answers)
    await world.mailbox.start()
    consumption = await world.consume()
    await world.network.until(lambda: world.network.consumer(4250))
    assert world.network.consumer(4150)
    fault = consumption.remark()
    assert fault.startswith("nsqlookupd 127.0.0.1:4161: 1 of 3 producers left out")
    answers[0] = answer(A, B)
    await world.pass_time(15.0)
    assert consumption.remark() == ""
    await world.close()


async def test_a_malformed_producer_takes_no_broker_away():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    answers = [answer(A, B)]
    a_directory(world, answers)
    await world.mailbox.start()
    await world.consume()
    await world.network.until(lambda: world.network.consumer(4250))
    world.network.down.add(B)
    world.network.consumer(4250).cut()
    answers[0] = b'{"producers": [null, {"broadcast_address": "127.0.0.1", "tcp_port": 4150}]}'
    await world.pass_time(60.0, step=1.0)
    world.network.down.clear()
    await world.pass_time(10.0)
    assert world.network.consumer(4250)
    await world.close()


async def test_a_start_waits_for_the_brokers_that_a_directory_names():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    a_directory(world, [answer(A, B)])
    await world.mailbox.start()
    consumption = await world.mailbox.consume("t", "c", world.messages.append, window=10)
    await asyncio.wait_for(consumption.established(), 10)
    assert world.network.consumer(4150)
    assert world.network.consumer(4250)
    await world.close()


@pytest.mark.parametrize("what", ["directory", "broker", "named broker"])
async def test_a_start_waits_for_nobody_longer_than_it_may(what: str):
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",), start_timeout=3.0)
    a_directory(world, [answer(A, B)])
    await world.mailbox.start()
    if what == "directory":
        world.network.answers[LOOKUPD] = lambda path: asyncio.Event().wait()
    else:
        world.network.deaf = True
    consumption = await world.mailbox.consume("t", "c", world.messages.append, window=10)
    starting = asyncio.ensure_future(consumption.established())
    await world.pass_time(2.5)
    assert not starting.done()
    await world.pass_time(1.0)
    assert starting.done()
    world.network.deaf = False
    await world.close()


async def test_a_broker_that_nobody_answers_for_is_not_waited_for():
    world = ScriptedBrokers(4150, 4250, lookupds=())
    world.network.down.add(B)
    await world.mailbox.start()
    consumption = await world.mailbox.consume("t", "c", world.messages.append, window=10)
    await asyncio.wait_for(consumption.established(), 10)  # no time passes on the clock
    assert world.network.consumer(4150)
    await world.close()


async def test_a_broker_that_lets_in_at_the_second_try_is_waited_for():
    world = ScriptedBrokers(4150)
    await world.mailbox.start()
    world.network.refuse_sub = [("E_SUB_FAILED", "SUB failed, the channel exceeds limit of 1")]
    consumption = await world.mailbox.consume("t", "c", world.messages.append, window=10)
    starting = asyncio.ensure_future(consumption.established())
    await turns()
    assert not starting.done()
    await world.pass_time(1.0)
    assert starting.done()
    assert consumption.health().ok
    await world.close()


async def test_a_broker_that_never_will_let_in_is_not_waited_for():
    world = ScriptedBrokers(4150)
    await world.mailbox.start()
    world.network.refuse_sub = [("E_UNAUTHORIZED", "AUTH failed for SUB")] * 100
    consumption = await world.mailbox.consume("t", "c", world.messages.append, window=10)
    await asyncio.wait_for(consumption.established(), 10)
    assert "E_UNAUTHORIZED" in consumption.health().reason
    await world.close()


async def test_a_broker_that_is_named_later_is_consumed_from_after_the_interval():
    world = ScriptedBrokers(4150, lookupds=("127.0.0.1:4161",))
    answers = [answer(A)]
    asked = a_directory(world, answers)
    await world.mailbox.start()
    await world.consume()
    answers[0] = answer(A, B)
    await world.pass_time(13.5)
    assert world.network.consumer(4250)
    assert 10.0 <= asked[1] - asked[0] <= 13.1
    await world.close()
