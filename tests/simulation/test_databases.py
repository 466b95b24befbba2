"""A store of durable state on a simulated disk: what is there after a kill, and on a full disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, KEEP, StagedMessage, StateKey
from irismq_runtime.simulation import SimulatedHost, Simulation
from irismq_runtime.stores.sqlite import SqliteStore
from tests.contracts.state_store_support import a_commit, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.blocking_ok  # the files are real

ADA = StateKey("shop.cart", "ada")


def on_a_host(use: Callable[[SimulatedHost], Awaitable[Any]]) -> Any:
    """Run `use` on the test's own host; it is given another one."""
    with Simulation(1) as simulation:
        return simulation.run(use, simulation.host("a"))


async def opened() -> SqliteStore:
    store = SqliteStore(Path("shop.db"))
    await store.open()
    return store


@pytest.mark.parametrize("end", ["kill", "power_off"])
def test_what_was_committed_is_there_after_the_end_and_nothing_else(end: str) -> None:
    async def program() -> None:
        store = await opened()
        await written(store, ADA, ABSENT, b"one")
        transaction = await store.begin(60.0)
        await transaction.execute("CREATE TABLE mine (x)")

    async def look() -> tuple[bytes | None, list[Any]]:
        store = await opened()
        transaction = await store.begin(60.0)
        tables = await transaction.fetch("SELECT name FROM sqlite_master WHERE name = 'mine'")
        return (await store.load([ADA]))[0].state, tables

    async def use(host: SimulatedHost) -> None:
        await host.start(program).wait()
        getattr(host, end)()
        assert await host.start(look).wait() == (b"one", [])

    on_a_host(use)


def test_whoever_reads_sees_what_is_committed_while_another_transaction_is_open() -> None:
    async def program() -> bytes | None:
        store = await opened()
        await written(store, ADA, ABSENT, b"one")
        transaction = await store.begin(60.0)
        await transaction.execute("CREATE TABLE mine (x)")
        return (await store.load([ADA]))[0].state

    async def use(host: SimulatedHost) -> None:
        assert await host.start(program).wait() == b"one"

    on_a_host(use)


def test_each_host_has_files_of_its_own_and_they_are_gone_afterwards() -> None:
    folders = []

    async def program() -> int:
        store = await opened()
        known = (await store.load([ADA]))[0].version
        await written(store, ADA, known, b"one")
        return known

    async def use(simulation: Simulation) -> None:
        for name in "ab":
            host = simulation.host(name)
            assert await host.start(program).wait() == ABSENT
            folders.append(Path(host.disk.databases._folder.name))

    with Simulation(1) as simulation:
        simulation.run(use, simulation)
    assert len(set(folders)) == 2
    assert not any(folder.exists() for folder in folders)


def test_a_full_disk_refuses_commits_and_goes_on_when_there_is_room() -> None:
    async def use(host: SimulatedHost) -> None:
        async def fails() -> None:
            store = await opened()
            version = await written(store, ADA, ABSENT, b"one")
            host.disk.full = True
            with pytest.raises(StoreUnavailable) as refused:
                await written(store, ADA, version, b"two")
            assert (refused.value.kind, refused.value.outcome) == ("full", "not sent")
            assert (await store.load([ADA]))[0].state == b"one"
            host.disk.full = False
            await written(store, ADA, version, b"three")

        await host.start(fails).wait()

    on_a_host(use)


def test_what_a_store_has_yet_to_send_can_be_seen_from_outside() -> None:
    message = StagedMessage(b"m" * 16, StateKey("shop.stock"), b"envelope", delay=5.0)

    async def program() -> None:
        await (await opened()).commit([a_commit(ADA, ABSENT, KEEP, staged=[message])])

    async def use(host: SimulatedHost) -> None:
        await host.start(program).wait()
        host.kill()
        ((row, due),) = host.outbox()
        assert row == message.id.hex()
        assert 4.0 < due <= 5.0
        await asyncio.sleep(6.0)
        assert list(host.outbox()) == [(row, 0.0)]

    on_a_host(use)
