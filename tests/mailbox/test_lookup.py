"""Discovery adds, and outages take nothing away (cases 37, 120)."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.endpoints import Endpoint
from irismq_runtime.mailbox.lookup import LookupFault, choose, producers_untrusted
from tests.mailbox.fake import World, turns

A, B, C = (Endpoint("127.0.0.1", port) for port in (4150, 4250, 4350))
LOOKUPD = Endpoint("127.0.0.1", 4161)


def answer(*endpoints: Endpoint) -> bytes:
    producers = [{"broadcast_address": e.host, "tcp_port": e.port} for e in endpoints]
    return json.dumps({"channels": [], "producers": producers}).encode()


def test_producers_are_read_from_both_shapes():
    assert producers_untrusted(200, answer(A, B)) == {A, B}
    old = json.dumps({"status_code": 200, "data": json.loads(answer(C))}).encode()
    assert producers_untrusted(200, old) == {C}
    assert producers_untrusted(404, b'{"message":"TOPIC_NOT_FOUND"}') == set()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"producers": 3}'),
        (200, b'{"producers": [{"broadcast_address": "", "tcp_port": 1}]}'),
        (200, b'{"producers": [{"broadcast_address": "h", "tcp_port": 70000}]}'),
        (200, b"[" * 100_000),
    ],
)
def test_anything_else_is_a_fault(status: int, body: bytes):
    with pytest.raises(LookupFault):
        producers_untrusted(status, body)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_garbage_raises_the_one_error(body: bytes, status: int):
    with contextlib.suppress(LookupFault):
        producers_untrusted(status, body)


def test_case_37_only_a_complete_answer_takes_a_dead_broker_away():
    assert choose({A}, {A, B}, {A, B}, complete=True) == {A, B}  # B stands
    assert choose({A}, {A, B}, {A}, complete=True) == {A}
    assert choose({A}, {A, B}, {A}, complete=False) == {A, B}
    assert choose(set(), {A, B}, set(), complete=True) == {A, B}  # an empty list


async def test_case_37_brokers_are_found_and_kept_through_an_outage():
    world = World(4150, lookupds=("127.0.0.1:4161",))
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


async def test_case_37_a_failed_round_is_followed_by_another_soon():
    world = World(4150, lookupds=("127.0.0.1:4161",))
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
    world = World(4150, lookupds=("127.0.0.1:4161",))
    forever = asyncio.Event()

    async def lookupd(path: str) -> tuple[int, bytes]:
        await forever.wait()
        raise AssertionError

    world.network.answers[LOOKUPD] = lookupd
    await world.mailbox.start()
    await world.consume()
    await world.close()


async def test_a_broker_named_later_is_joined_and_one_that_is_gone_is_left():
    world = World(4150, lookupds=("127.0.0.1:4161",), lookup_interval=10.0)
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
