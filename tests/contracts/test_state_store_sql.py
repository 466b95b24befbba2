"""A program's own tables in the commit of a state, on the stores that have SQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import (
    ABSENT,
    CommitInvalid,
    CommitLost,
    Committed,
    OwnedRight,
    RightsGone,
    StateKey,
)
from irismq_runtime.wire.ids import new_id
from tests.contracts.state_store_support import ADA, BOB, Clients, a_commit, place_of, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from irismq_runtime.ports.state_store import StateStore, StoreTransaction

#: Seconds of a transaction that is to end by what it does, and not by its time.
LONG = 600.0


@pytest.fixture(params=["sqlite", "postgres"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    async with Clients(place_of(request, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def store(clients: Clients) -> StateStore:
    store = await clients.open()
    sql = await store.begin(LONG)
    await sql.execute("DROP TABLE IF EXISTS orders")  # of another test on the same server
    await sql.execute("CREATE TABLE orders (name TEXT PRIMARY KEY, cents BIGINT)")
    await sql.commit(a_commit(StateKey("tables", "made")))
    return store


@pytest.fixture
def insert(store: StateStore) -> str:
    """A statement with two values, as this store writes it."""
    if store.info.url.startswith("sqlite"):
        return "INSERT INTO orders VALUES (?, ?)"
    return "INSERT INTO orders VALUES ($1, $2)"


async def order(sql: StoreTransaction, insert: str, *row: Any) -> None:
    assert await sql.execute(insert, *row) == 1


async def orders(store: StateStore) -> list[tuple[Any, ...]]:
    sql = await store.begin(LONG)
    try:
        return await sql.fetch("SELECT name, cents FROM orders ORDER BY name")
    finally:
        await sql.rollback()


async def test_rows_and_state_are_committed_together(store: StateStore, insert: str):
    sql = await store.begin(LONG)
    await order(sql, insert, "o-1", 250)
    assert await sql.fetch("SELECT cents FROM orders WHERE name = 'o-1'") == [(250,)]
    outcome = await sql.commit(a_commit(ADA, ABSENT, b"one"))
    assert isinstance(outcome, Committed)
    assert (await store.load([ADA]))[0].state == b"one"
    assert await orders(store) == [("o-1", 250)]


async def test_where_the_commit_does_not_stand_the_rows_are_not_there_either(
    store: StateStore, insert: str
):
    version = await written(store, ADA, ABSENT, b"one")
    refused = [
        (a_commit(ADA, version + 1000, b"two"), CommitLost),
        (a_commit(ADA, version, b"two", rights=[OwnedRight(new_id())]), RightsGone),
        (a_commit(StateKey("shop", "\udcff"), ABSENT, b"two"), CommitInvalid),
    ]
    for commit, kind in refused:
        sql = await store.begin(LONG)
        await order(sql, insert, "o-1", 250)
        assert isinstance(await sql.commit(commit), kind)
    assert await orders(store) == []
    assert (await store.load([ADA]))[0].version == version


async def test_what_is_rolled_back_never_was(store: StateStore, insert: str):
    sql = await store.begin(LONG)
    await order(sql, insert, "o-1", 250)
    await sql.rollback()
    await sql.rollback()
    for call in (sql.execute("SELECT 1"), sql.commit(a_commit(ADA))):
        with pytest.raises(StoreUnavailable, match="has ended"):
            await call
    assert await orders(store) == []


async def test_a_statement_that_is_wrong_is_the_drivers_own_error(store: StateStore, insert: str):
    sql = await store.begin(LONG)
    with pytest.raises(Exception, match="no_such") as caught:
        await sql.execute("INSERT INTO no_such VALUES (1)")
    assert not isinstance(caught.value, StoreUnavailable)
    await sql.rollback()
    assert isinstance(await store.commit([a_commit(ADA, ABSENT, b"one")]), list)


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "commit; begin"])
async def test_a_statement_that_ends_the_transaction_is_noticed(
    store: StateStore, insert: str, statement: str
):
    sql = await store.begin(LONG)
    await order(sql, insert, "o-1", 250)

    async def end_it() -> None:
        await sql.execute(statement)
        await sql.commit(a_commit(ADA, ABSENT, b"one"))

    with pytest.raises(Exception, match=r"(?i)ended|one statement|multiple commands") as caught:
        await end_it()
    await sql.rollback()
    if isinstance(caught.value, StoreUnavailable):
        assert caught.value.kind == "ended"
    assert (await store.load([ADA]))[0].version == ABSENT


async def test_after_its_time_it_is_rolled_back_by_itself(store: StateStore, insert: str):
    sql = await store.begin(0.05)
    await order(sql, insert, "o-1", 250)
    await written(store, ADA, ABSENT, b"waited")  # on SQLite for the end of that one

    async def go_on() -> None:
        while True:
            await sql.fetch("SELECT 1")

    with pytest.raises(StoreUnavailable) as caught:
        await go_on()
    assert caught.value.kind == "late"
    with pytest.raises(StoreUnavailable) as caught:
        await sql.commit(a_commit(BOB, ABSENT, b"late"))
    assert caught.value.kind == "late"
    await sql.rollback()
    assert await orders(store) == []
    assert store.health().ok


async def test_others_commit_when_it_has_ended(clients: Clients, store: StateStore, insert: str):
    other = await clients.open()
    sql = await store.begin(LONG)
    await order(sql, insert, "o-1", 250)
    pending = [
        asyncio.ensure_future(each.commit([a_commit(key, ABSENT, b"x")]))
        for each, key in ((store, BOB), (other, StateKey("shop.cart", "eve")))
    ]
    await sql.commit(a_commit(ADA, ABSENT, b"one"))
    assert [type(outcomes[0]) for outcomes in await asyncio.gather(*pending)] == [Committed] * 2


async def test_who_gives_up_the_wait_for_its_turn_holds_nobody_up(store: StateStore):
    first = await store.begin(LONG)
    second = asyncio.ensure_future(store.begin(LONG))
    for _turn in range(5):
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    await first.rollback()
    if not second.cancelled():
        await second.result().rollback()
    await written(store, ADA, ABSENT, b"one")


async def test_large_results_and_nulls_come_as_they_are(store: StateStore, insert: str):
    sql = await store.begin(LONG)
    for n in range(100):
        await order(sql, insert, f"o-{n:03}", None)
    found = await sql.fetch("SELECT name, cents FROM orders ORDER BY name")
    assert found == [(f"o-{n:03}", None) for n in range(100)]
    assert await sql.execute("DELETE FROM orders") == 100
    await sql.rollback()
