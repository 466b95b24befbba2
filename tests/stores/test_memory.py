"""The store in memory is as unkind as a database: steps, locks, and answers that get lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from actors.testing import ManualClock
from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, KEEP, CommitLost, Committed, OwnedRight
from irismq_runtime.stores.memory import STEPS, MemoryDatabase, MemoryStore
from tests.contracts.state_store_support import ADA, BOB, a_commit, a_message, told, written
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.ports.state_store import StateStore


class Gate:
    """Stops the server before a step, until it is opened."""

    def __init__(self) -> None:
        self.closed_at = ""
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, step: str) -> None:
        if step == self.closed_at:
            self.closed_at = ""
            self.reached.set()
            await self.go.wait()
        await asyncio.sleep(0)


async def opened(database: MemoryDatabase) -> MemoryStore:
    store = MemoryStore(database)
    await store.open()
    return store


async def test_the_steps_of_a_commit_come_in_their_order():
    seen: list[str] = []

    async def note(step: str) -> None:
        seen.append(step)

    store = await opened(MemoryDatabase(step=note))
    seen.clear()
    await written(store, ADA, ABSENT, b"x")
    assert tuple(seen) == STEPS


@pytest.mark.parametrize("step", STEPS)
async def test_a_connection_that_is_lost_at_a_step_leaves_all_or_nothing(step: str):
    gate = Gate()
    database = MemoryDatabase(step=gate)
    store = await opened(database)
    [right] = await told(store, ADA, a_message(ADA))
    version = await written(store, ADA, ABSENT, b"one")
    lost = a_commit(ADA, version, b"two", rights=[right], staged=[a_message(BOB)])
    gate.closed_at = step
    pending = asyncio.ensure_future(store.commit([lost]))
    await gate.reached.wait()
    store.drop()
    with pytest.raises(StoreUnavailable) as caught:
        await pending
    sent = step in {"commit", "committed"}
    assert caught.value.outcome == ("unknown" if sent else "not sent")
    gate.go.set()
    [outcome] = await (await opened(database)).commit([a_commit(ADA, version, KEEP)])
    landed = isinstance(outcome, CommitLost) and outcome.id == lost.id
    assert landed == sent
    assert len(database.tables.rows) == 1
    assert (right.id in database.tables.rows) == (not landed)


async def test_calls_that_are_lost_fail_in_the_order_in_which_they_began():
    gate = Gate()
    store = await opened(MemoryDatabase(step=gate))
    gate.closed_at = "read"
    failed: list[int] = []

    async def load(number: int) -> None:
        with pytest.raises(StoreUnavailable):
            await store.load([ADA])
        failed.append(number)

    loads = [asyncio.ensure_future(load(number)) for number in range(32)]
    await gate.reached.wait()
    await asyncio.sleep(0)
    store.drop()
    await asyncio.gather(*loads)
    assert failed == list(range(32))


async def test_what_settles_an_unknown_outcome_waits_for_the_lock_of_the_lost_commit():
    gate = Gate()
    database = MemoryDatabase(step=gate)
    store = await opened(database)
    gate.closed_at = "commit"
    lost = a_commit(ADA, ABSENT, b"two")
    pending = asyncio.ensure_future(store.commit([lost]))
    await gate.reached.wait()
    store.drop()
    await asyncio.wait([pending])
    assert isinstance(pending.exception(), StoreUnavailable)
    settle = asyncio.ensure_future(store.commit([a_commit(ADA, ABSENT, KEEP)]))
    for _turn in range(50):
        await asyncio.sleep(0)
    assert not settle.done()
    gate.go.set()
    [outcome] = await settle
    assert isinstance(outcome, CommitLost)
    assert outcome.id == lost.id


async def test_a_caller_that_is_cancelled_gives_its_locks_back():
    gate = Gate()
    database = MemoryDatabase(step=gate)
    store = await opened(database)
    version = await written(store, ADA, ABSENT, b"one")
    gate.closed_at = "rights"
    first = asyncio.ensure_future(store.commit([a_commit(ADA, version, b"two")]))
    await gate.reached.wait()
    waiting = asyncio.ensure_future(store.commit([a_commit(ADA, version, b"three")]))
    last = asyncio.ensure_future(store.commit([a_commit(ADA, version, b"four")]))
    for _turn in range(20):
        await asyncio.sleep(0)
    for cancelled in (waiting, first):
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    gate.go.set()
    [outcome] = await last
    assert isinstance(outcome, Committed)


async def test_a_statement_sees_what_is_committed_when_it_runs_and_nothing_before():
    gate = Gate()
    database = MemoryDatabase(step=gate)
    store = await opened(database)
    gate.closed_at = "commit"
    commit = asyncio.ensure_future(store.commit([a_commit(ADA, ABSENT, b"one")]))
    await gate.reached.wait()
    assert (await store.load([ADA]))[0].version == ABSENT
    gate.go.set()
    await commit
    assert (await store.load([ADA]))[0].state == b"one"


@pytest.mark.parametrize("kind", ["away", "full", "read only"])
async def test_a_server_with_a_fault_does_nothing_and_health_says_why(kind: str):
    database = MemoryDatabase()
    store = await opened(database)
    database.fault = (kind, "for the test")  # type: ignore[assignment]  # one of its texts
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.load([ADA]),
        lambda: store.commit([a_commit(ADA, ABSENT, b"x")]),
        lambda: store.forget([b"x"]),
        lambda: store.tidy(0.0),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="for the test") as caught:
            await call()
        assert caught.value.kind == kind
        assert not store.health().ok
        assert "for the test" in store.health().reason
    database.fault = None
    assert (await store.load([ADA]))[0].version == ABSENT
    assert store.health().ok == (kind == "away")  # only what is written shows that it can be
    await written(store, ADA, ABSENT, b"x")
    assert store.health().ok


async def test_a_server_that_goes_back_in_time_is_found_out_by_a_later_message():
    database = MemoryDatabase()
    store = await opened(database)
    backup = database.backup()
    message = a_message(ADA)
    [right] = await told(store, ADA, message)
    [row] = await store.rows([right.id])
    database.restore(backup)
    with pytest.raises(StoreUnavailable) as caught:
        await store.standing(ADA, [OwnedRight(right.id, row.number)])
    assert caught.value.kind == "went back"


async def test_times_are_those_of_the_clock_that_it_was_given():
    clock = ManualClock()
    store: StateStore = await opened(MemoryDatabase(clock=clock))
    [right] = await told(store, ADA, a_message(ADA, delay=10.0))
    assert await store.missing(ADA.address, 0.0, 10) == []
    clock.advance(10.0)
    assert [row.id for row in await store.missing(ADA.address, 0.0, 10)] == [right.id]
    assert await store.missing(ADA.address, 1.0, 10) == []


async def test_a_transaction_of_ones_own_commits_in_its_time_and_has_no_tables():
    clock = ManualClock()
    store = await opened(MemoryDatabase(clock=clock))
    transaction = await store.begin(5.0)
    with pytest.raises(ConfigError, match="no SQL"):
        await transaction.execute("SELECT 1")
    assert isinstance(await transaction.commit(a_commit(ADA, ABSENT, b"x")), Committed)
    late = await store.begin(5.0)
    clock.advance(5.0)
    with pytest.raises(StoreUnavailable) as caught:
        await late.commit(a_commit(BOB, ABSENT, b"x"))
    assert caught.value.kind == "late"
    await late.rollback()
    assert (await store.load([BOB]))[0].version == ABSENT


async def test_locks_are_given_to_those_who_wait_in_their_order():
    database = MemoryDatabase()
    await database.lock("row")
    order: list[int] = []

    async def take(n: int) -> None:
        await database.lock("row")
        order.append(n)
        database.unlock("row")

    tasks = [asyncio.ensure_future(take(n)) for n in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    database.unlock("row")
    await until(lambda: len(order) == 4)
    assert order == [0, 2, 3, 4]
