"""The tables in a PostgreSQL database, step by step: see `stores.migrations`.

They stand in a schema of their own, `{s}` here. Names of addresses and keys sort by
their bytes (COLLATE "C"), whatever the database does, so that everybody locks in one
order. `ended` and not the state has an index, and it is empty while a life goes on: an
update of a state then touches no index.

All steps that a database lacks are one transaction under an advisory lock, so that of
several nodes that start at once one does them and the others find them done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.ports.state_store import StateKey
from irismq_runtime.stores.decisions import order_pair
from irismq_runtime.stores.migrations import check_form, check_namespace, steps_from

if TYPE_CHECKING:
    from irismq_runtime.stores.postgres.connections import Connection
    from irismq_runtime.stores.postgres.statements import Statements

__all__ = ["STEPS", "check", "prepare"]

#: What is known of the store itself; made before anything else.
_FACTS: Final = "CREATE TABLE {s}.store (name TEXT PRIMARY KEY, value TEXT NOT NULL)"

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "INSERT INTO {s}.store VALUES ('epoch', '1')",
        "CREATE SEQUENCE {s}.version",
        """CREATE TABLE {s}.state (
            address TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL,
            version BIGINT NOT NULL, commit_id BYTEA NOT NULL, ended FLOAT8, state BYTEA,
            PRIMARY KEY (address, key)
        ) WITH (fillfactor = 70)""",
        "CREATE INDEX state_ended ON {s}.state (ended) WHERE ended IS NOT NULL",
        """CREATE TABLE {s}.outbox (
            id BYTEA PRIMARY KEY, number BIGINT NOT NULL, pair BIGINT,
            due FLOAT8 NOT NULL, expires FLOAT8, tries INTEGER NOT NULL DEFAULT 0,
            owned BOOLEAN NOT NULL, dead BOOLEAN NOT NULL DEFAULT FALSE,
            from_address TEXT COLLATE "C" NOT NULL, from_key TEXT COLLATE "C" NOT NULL,
            address TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL,
            channel TEXT NOT NULL, envelope BYTEA NOT NULL
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000)""",
        "CREATE INDEX outbox_order ON {s}.outbox (pair, number) WHERE pair IS NOT NULL",
        "CREATE INDEX outbox_missing ON {s}.outbox (address, due) WHERE owned AND NOT dead",
        "CREATE INDEX outbox_unconfirmed ON {s}.outbox (from_address, due) WHERE NOT owned",
        """CREATE TABLE {s}.handled (
            address TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL,
            channel TEXT NOT NULL, id BYTEA NOT NULL, at FLOAT8 NOT NULL,
            repeats BOOLEAN NOT NULL,
            PRIMARY KEY (address, key, channel, id)
        )""",
        "CREATE INDEX handled_at ON {s}.handled USING brin (at)",
        """CREATE TABLE {s}.answer (
            address TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, id TEXT NOT NULL,
            digest BYTEA NOT NULL, until FLOAT8 NOT NULL, answer BYTEA NOT NULL,
            PRIMARY KEY (address, key, id)
        )""",
        "CREATE INDEX answer_until ON {s}.answer (until)",
        "CREATE INDEX answer_full ON {s}.answer (until) WHERE answer <> ''::bytea",
    ),
)
_EXISTS: Final = """
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'store')"""


async def check(connection: Connection, statements: Statements) -> None:
    """Raise `ConfigError` unless the tables have the form of now."""
    row = await connection.fetchrow(_EXISTS, statements.schema)
    facts = {}
    if row is not None and row[1]:
        facts = dict(await connection.fetch(statements["facts"]))
    check_form(int(facts.get("form", 0)), STEPS)


async def prepare(
    connection: Connection,
    statements: Statements,
    namespace: str,
    new_id: bytes,
    identity: str,
) -> None:
    """Make or migrate the tables, for `namespace`. Raises `ConfigError`, asyncpg's errors."""
    schema = statements.schema
    async with connection.transaction():
        lock = order_pair(StateKey("irismq"), StateKey("store", schema))
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
        row = await connection.fetchrow(_EXISTS, schema)
        has_schema, has_facts = row if row is not None else (False, False)
        if not has_schema:
            await connection.execute(statements.fill("CREATE SCHEMA {s}"))
        if not has_facts:
            await connection.execute(statements.fill(_FACTS))
        facts = dict(await connection.fetch(statements["facts"]))
        form = int(facts.get("form", 0))
        for step in steps_from(form, STEPS):
            for text in step:
                await connection.execute(statements.fill(text))
        if form != len(STEPS):
            await connection.execute(statements["note"], "form", str(len(STEPS)))
        if form == 0:
            for fact in (("namespace", namespace), ("id", new_id.hex()), ("identity", identity)):
                await connection.execute(statements["note"], *fact)
        else:
            check_namespace(facts["namespace"], namespace)
