"""What a simulated disk keeps over a kill, and what it loses with the power."""

from __future__ import annotations

import asyncio
import sqlite3
from random import Random
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import DirectoryInUse, EmbeddedNsqd
from irismq_runtime.embedded.nsqd.journal import JournalRecord
from irismq_runtime.embedded.nsqd.store import Store, WriteBatch
from irismq_runtime.protocols import nsq
from irismq_runtime.simulation import SimulatedHost, Simulation
from tests.support.nsq_client import nsq_client

if TYPE_CHECKING:
    from irismq_runtime.simulation.disk import SimulatedFolder


@pytest.fixture
def folder() -> SimulatedFolder:
    with Simulation(1) as simulation:
        yield simulation.host("a").disk.folder("nsqd")


def record(row: int) -> JournalRecord:
    return JournalRecord(row, 1, b"%016d" % row, row, 0, b"body %d" % row)


def rows(folder: SimulatedFolder) -> list[int]:
    return [row.row for row in Store(folder, sync=True).rows()]


def test_all_that_was_committed_is_there_after_a_kill(folder):
    store = Store(folder, sync=True)
    for row in range(1, 11):
        store.write(WriteBatch(records=[record(row)]))
    store.write(WriteBatch(forgotten=[3]))
    store._connection.execute("BEGIN")
    store._connection.execute("DELETE FROM message")
    assert rows(folder) == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_the_power_takes_the_last_of_what_was_not_synced_and_nothing_else(folder):
    counts = set()
    for seed in range(20):
        first = 10 * seed + 1
        store = Store(folder, sync=True)
        store.write(WriteBatch(records=[record(row) for row in range(first, first + 5)]))
        for row in range(first, first + 3):
            store.write(WriteBatch(forgotten=[row]))  # with the system, and not synced
        lost = folder.lose(Random(seed))
        counts.add(lost)
        assert [row for row in rows(folder) if row >= first] == list(
            range(first + 3 - lost, first + 5)
        )
    assert counts == {0, 1, 2, 3}


def test_a_folder_with_a_long_history_is_as_short_of_it_as_any(folder):
    store = Store(folder, sync=True)
    for row in range(1, 1501):
        store.write(WriteBatch(records=[record(row)]))
    assert folder.lose(Random(1)) == 0
    store.write(WriteBatch(forgotten=[1]))
    assert len(Store(folder, sync=True)._connection.changes.committed) < 1000
    assert rows(folder) == list(range(2, 1501))
    store = Store(folder, sync=True)
    for row in range(2, 10):
        store.write(WriteBatch(forgotten=[row]))
    lost = folder.lose(Random(0))
    assert 0 < lost < 8
    assert rows(folder) == list(range(10 - lost, 1501))


def test_a_full_disk_refuses_changes_and_keeps_what_it_has(folder):
    store = Store(folder, sync=True)
    store.write(WriteBatch(records=[record(1)]))
    folder._disk.full = True
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write(WriteBatch(records=[record(2)]))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.regain()
    folder._disk.full = False
    store.regain()
    store.write(WriteBatch(records=[record(3)]))
    assert rows(folder) == [1, 3]


# -- under the embedded broker -----------------------------------------------------------------


async def broker(host: SimulatedHost) -> None:
    folder = host.disk.folder("nsqd")
    await EmbeddedNsqd(host=host.name, port=4150, http_port=None, data=folder).start()


async def publish(number: int) -> None:
    async with nsq_client(4150, host="broker") as client:
        assert await client.ask(nsq.pub("t", b"%d" % number)) == b"OK"


async def take(expected: int) -> set[bytes]:
    got = set()
    async with nsq_client(4150, host="broker") as client:
        await client.subscribe("t", ready=100)
        while len(got) < expected:
            message = await client.message()
            got.add(message.body)
            client.send(nsq.fin(message.id))
        await client.synced_around_messages()
    return got


@pytest.mark.parametrize("end", ["kill", "power_off"])
def test_what_a_broker_confirmed_is_delivered_after_its_end(end):
    async def main(simulation: Simulation) -> set[bytes]:
        host = simulation.host("broker")
        host.start(broker, host)
        await asyncio.sleep(0.1)
        for number in range(30):
            await publish(number)
        getattr(host, end)()
        with pytest.raises(OSError, match="Connection"):
            await asyncio.wait_for(publish(99), 200)
        host.start(broker, host)
        await asyncio.sleep(0.1)
        return await take(30)

    for seed in range(3):
        with Simulation(seed) as simulation:
            assert simulation.run(main, simulation) == {b"%d" % number for number in range(30)}


def test_a_folder_has_one_owner_at_a_time():
    async def main(simulation: Simulation) -> None:
        host = simulation.host("broker")
        process = host.start(broker, host)
        await process.wait()
        second = EmbeddedNsqd(
            host="broker", port=4152, http_port=None, data=host.disk.folder("nsqd")
        )
        with pytest.raises(DirectoryInUse, match="another server on broker"):
            await host.call(second.start)
        host.kill()
        await host.start(broker, host).wait()

    with Simulation(1) as simulation:
        simulation.run(main, simulation)
