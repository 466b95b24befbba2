"""The tables in a SQLite file, step by step: see `stores.migrations`.

All are called `irismq_…`: a program may have tables of its own in the same file.
The body of a row stands last, so that what is looked at first is read without it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FACTS", "STEPS"]

#: What is known of the store itself; made before anything else.
FACTS: Final = "CREATE TABLE IF NOT EXISTS irismq_store (name TEXT PRIMARY KEY, value NOT NULL)"

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "INSERT INTO irismq_store VALUES ('version', 0), ('epoch', 1)",
        """CREATE TABLE irismq_state (
            address TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL,
            commit_id BLOB NOT NULL, ended REAL, state BLOB,
            PRIMARY KEY (address, key)
        )""",
        "CREATE INDEX irismq_ended ON irismq_state (ended) WHERE ended IS NOT NULL",
        """CREATE TABLE irismq_outbox (
            id BLOB NOT NULL UNIQUE, from_address TEXT NOT NULL, from_key TEXT NOT NULL,
            address TEXT NOT NULL, key TEXT NOT NULL, owned INTEGER NOT NULL,
            channel TEXT NOT NULL, number INTEGER NOT NULL, pair INTEGER, due REAL NOT NULL,
            expires REAL, tries INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
            envelope BLOB NOT NULL
        )""",
        "CREATE INDEX irismq_order ON irismq_outbox (pair, number) WHERE pair IS NOT NULL",
        "CREATE INDEX irismq_missing ON irismq_outbox (address, due) WHERE owned AND NOT dead",
        "CREATE INDEX irismq_unconfirmed ON irismq_outbox (from_address, due) WHERE NOT owned",
        """CREATE TABLE irismq_handled (
            address TEXT NOT NULL, key TEXT NOT NULL, channel TEXT NOT NULL, id BLOB NOT NULL,
            repeats INTEGER NOT NULL, at REAL NOT NULL, UNIQUE (address, key, channel, id)
        )""",
        """CREATE TABLE irismq_answer (
            address TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL,
            until REAL NOT NULL, answer BLOB NOT NULL, PRIMARY KEY (address, key, id)
        )""",
        "CREATE INDEX irismq_answer_until ON irismq_answer (until)",
        "CREATE INDEX irismq_answer_full ON irismq_answer (until) WHERE answer <> x''",
    ),
)
