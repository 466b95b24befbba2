"""Reports of users of message queues, tried on whole nodes: cases 13, 25, 26, 38.

The other cases of that group are tested where the promise is kept: tests/mailbox,
tests/node, tests/faults, tests/contracts.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from actors import Actor, Retry, ThreadActor, message, receives
from irismq_runtime import Node
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic
from supervisors import Supervisor, child
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_http import channel_stats, topic_stats
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]

#: Longer than two heartbeats of nsqd and than a lease, of which half is left when it is touched.
LONG = 4.5


@message("case.number")
@dataclass(frozen=True)
class Number:
    value: int


class Recorder(Actor):
    """Writes down what came, with what the context says."""

    def __init__(self, log: list[Any], address: str = "case.recorder") -> None:
        self.address = address
        self.log = log

    @receives(Number)
    def take(self, number: Number) -> None:
        self.log.append((number.value, self.context.headers.get("q"), time.time()))


class Waits(ThreadActor):
    """Blocks its thread in a system call."""

    address = "case.waits"

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @receives(Number)
    def take(self, number: Number) -> None:
        if number.value == 0:
            threading.Event().wait(LONG)
        self.log.append((number.value, self.context.attempt))


class Computes(ThreadActor):
    """Keeps its thread busy in pure Python."""

    address = "case.computes"

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @receives(Number)
    def take(self, number: Number) -> None:
        until_then = time.monotonic() + (LONG if number.value == 0 else 0.0)
        while time.monotonic() < until_then:
            pass
        self.log.append((number.value, self.context.attempt))


class Blocks(Actor):
    """Does what no handler on the loop should: it blocks the loop."""

    address = "case.blocks"

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @receives(Number)
    def take(self, number: Number) -> None:
        if number.value == 0:
            threading.Event().wait(LONG)
        self.log.append((number.value, self.context.attempt))


async def test_threads_that_block_or_compute_cost_no_heartbeat_and_no_lease(servers):
    log: dict[type, list[Any]] = {Waits: [], Computes: []}
    options = {"heartbeat": 2.0, "msg_timeout": 3.0}
    async with servers.node("case", mailbox_options=options) as node:
        await node.start(Supervisor.of(child(Waits, log[Waits]), child(Computes, log[Computes])))
        before = {kind: await seen(servers.nsqd, kind.address) for kind in log}
        for kind in log:
            for value in range(10):
                node.ref(kind.address).tell(Number(value))
        await until(lambda: all(len(found) == 10 for found in log.values()))
        for kind, found in log.items():
            assert found == [(value, 1) for value in range(10)]
            await until_finished(servers.nsqd, kind.address)
            assert await seen(servers.nsqd, kind.address) == before[kind]


async def seen(nsqd: Any, address: str) -> tuple[int, int, list[Any]]:
    """What tells of a lost connection or lease: times out, requeued, connected since."""
    while await topic_stats(nsqd, mailbox_topic(address)) is None:
        continue  # nsqd makes the topic when its consumer has subscribed
    channel = await channel_stats(nsqd, mailbox_topic(address), MAILBOX_CHANNEL)
    connected = [client["connect_ts"] for client in channel["clients"]]
    return channel["timeout_count"], channel["requeue_count"], connected


async def until_finished(nsqd: Any, address: str) -> None:
    while True:  # every question is a round trip
        channel = await channel_stats(nsqd, mailbox_topic(address), MAILBOX_CHANNEL)
        if not (channel["depth"] or channel["in_flight_count"] or channel["deferred_count"]):
            return


@pytest.mark.slow
@pytest.mark.blocking_ok
@pytest.mark.real_nsqd
async def test_a_handler_that_blocks_the_loop_is_not_run_again():
    """nsqd drops the silent connection; it is made again, and what was run is not run again."""
    log: list[Any] = []
    # The relay is not to drop us as well: what is asked here is about nsqd.
    async with nsqd_server("real") as nsqd, iris_relay("embedded") as relay:
        where = {"nsqd": f"127.0.0.1:{nsqd.port}", "iris": f"{relay.host}:{relay.port}"}
        options = {"heartbeat": 2.0, "msg_timeout": 3.0}
        async with Node(**where, name="case", mailbox_options=options) as node:
            await node.start(Supervisor.of(child(Blocks, log)))
            before = await seen(nsqd, Blocks.address)
            for value in range(5):
                await node.ref(Blocks.address).tell(Number(value))
            await until(lambda: {value for value, _ in log} == set(range(5)))
            await node.ref(Blocks.address).tell(Number(5))
            await until(lambda: 5 in {value for value, _ in log})
            await until_finished(nsqd, Blocks.address)
            assert sorted(value for value, _ in log) == list(range(6))
            assert len((await seen(nsqd, Blocks.address))[2]) == len(before[2]) == 1
            assert node.health().ready


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_deferred_keeps_its_time_through_a_restart(kind: Any, tmp_path):
    log: list[Any] = []
    delay = 1.5
    async with nsqd_server(kind, data=tmp_path) as nsqd, iris_relay("embedded") as relay:
        where = {"nsqd": f"127.0.0.1:{nsqd.port}", "iris": f"{relay.host}:{relay.port}"}
        options = {"reconnect_min": 0.02, "reconnect_max": 0.1}
        async with Node(**where, name="case", mailbox_options=options) as node:
            await node.start(Supervisor.of(child(Recorder, log)))
            due = time.time() + delay
            for value in range(3):
                await node.ref("case.recorder").tell(Number(value), delay=delay)
            await nsqd.restart()
            await node.ref("case.recorder").tell(Number(99))
            await until(lambda: len(log) == 4)
            await until_finished(nsqd, "case.recorder")
    assert sorted(value for value, _, _ in log) == [0, 1, 2, 99]
    assert all(at >= due - 0.005 for value, _, at in log if value != 99)


@pytest.mark.parametrize("window", [1, 10])
async def test_the_senders_numbers_tell_the_order_that_the_mailbox_does_not_keep(servers, window):
    rng = random.Random(38)
    log: list[tuple[int, int]] = []
    told = list(range(200))

    class Shuffled(Recorder):
        def __init__(self) -> None:
            super().__init__([], "case.shuffled")

        @receives(Number)
        def take(self, number: Number) -> None:
            if self.context.attempt == 1 and rng.random() < 0.3:
                raise Retry(after=0.0, penalty=False)
            log.append((self.context.headers["q"], number.value))

    async with servers.node("case", mailbox_window=window) as node:
        await node.start(Supervisor.of(child(Shuffled)))
        node.ref("case.shuffled").tell_many(map(Number, told))
        await until(lambda: len(log) == len(told))
    assert [value for _, value in log] != told  # no order is promised, and none was kept
    assert [value for _, value in sorted(log)] == told
    assert len({number for number, _ in log}) == len(told)


@pytest.mark.real_nsqd
async def test_a_message_kept_by_two_brokers_survives_the_kill_of_one():
    """What a real nsqd holds in memory dies with it; `copies` is the answer to that."""
    log: list[Any] = []
    async with (
        nsqd_server("real") as one,
        nsqd_server("real") as two,
        iris_relay("embedded") as relay,
    ):
        where = {
            "nsqd": [f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"],
            "iris": f"{relay.host}:{relay.port}",
        }
        async with Node(**where, name="client", mailbox_options={"copies": 2}) as client:
            receipts = client.ref("case.recorder").tell_many(map(Number, range(1000)))
            for receipt in receipts:
                await receipt
            await one.kill()
            async with Node(**where, name="case") as node:
                await node.start(Supervisor.of(child(Recorder, log)))
                await until(lambda: len(log) >= 1000)
                await until_finished(two, "case.recorder")
    assert sorted(value for value, _, _ in log) == list(range(1000))


async def test_copies_of_two_brokers_are_run_once(servers):
    log: list[Any] = []
    async with nsqd_server(servers.nsqd.kind) as second:
        where = {
            "nsqd": [servers.nsqd_at, f"127.0.0.1:{second.port}"],
            "iris": servers.iris_at,
        }
        async with Node(**where, name="case", mailbox_options={"copies": 2}) as node:
            await node.start(Supervisor.of(child(Recorder, log)))
            for receipt in node.ref("case.recorder").tell_many(map(Number, range(100))):
                await receipt
            for nsqd in (servers.nsqd, second):
                await until_finished(nsqd, "case.recorder")
            assert node.parts.dispatch.counters.duplicates == 100
    assert sorted(value for value, _, _ in log) == list(range(100))
