"""Every statement that is run on a PostgreSQL database but those that make its tables.

`{s}` is the schema and `{now}` the time of the server, both put in once. Rows are
locked in the order of their keys, by whoever locks several, so that no two wait for
each other. What is decided on is read in a statement of its own *after* the lock was
taken: a statement sees what was committed when it began, and not what its own lock had
to wait for.
"""

from __future__ import annotations

import re
from typing import Any, Final

from irismq_runtime.errors import ConfigError
from irismq_runtime.ports.state_store import MAX_STAGED, RESULTS, VERSION_LEAP
from irismq_runtime.stores.writes import ROW_COLUMNS, STAGED_COLUMNS

__all__ = ["Statements"]

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"

_TEXTS: Final[dict[str, str]] = {
    # -- commits ------------------------------------------------------------
    "lock": """
SELECT s.address, s.key, s.version, s.commit_id FROM {s}.state s
JOIN unnest($1::text[], $2::text[]) AS k(address, key)
ON s.address = k.address AND s.key = k.key ORDER BY s.address, s.key FOR UPDATE OF s""",
    "insert": """
INSERT INTO {s}.state (address, key, version, commit_id)
SELECT k.address, k.key, 0, ''::bytea FROM unnest($1::text[], $2::text[]) AS k(address, key)
ORDER BY k.address COLLATE "C", k.key COLLATE "C" ON CONFLICT DO NOTHING RETURNING address, key""",
    "found": """
SELECT s.address, s.key, s.version, s.commit_id FROM {s}.state s
JOIN unnest($1::text[], $2::text[]) AS k(address, key)
ON s.address = k.address AND s.key = k.key""",
    # A row, and the waiting row before it in its order. Two pairs may share a number.
    "rights": """
SELECT o.id, o.address, o.key, o.tries, o.dead, (
    SELECT p.id FROM {s}.outbox p
    WHERE p.pair = o.pair AND p.number < o.number AND p.address = o.address AND p.key = o.key
    AND p.from_address = o.from_address AND p.from_key = o.from_key
    ORDER BY p.number DESC LIMIT 1
) FROM {s}.outbox o WHERE o.id = ANY($1::bytea[]) ORDER BY o.id""",
    "handled": """
SELECT h.address, h.key, h.channel, h.id FROM {s}.handled h
JOIN unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS k(address, key, channel, id)
ON h.address = k.address AND h.key = k.key AND h.channel = k.channel AND h.id = k.id""",
    "answered": """
SELECT a.address, a.key, a.id FROM {s}.answer a
JOIN unnest($1::text[], $2::text[], $3::text[]) AS k(address, key, id)
ON a.address = k.address AND a.key = k.key AND a.id = k.id""",
    "latest": "SELECT last_value FROM {s}.version",
    "write": """
WITH v AS MATERIALIZED (
    SELECT nextval('{s}.version') AS version, {now} AS now,
    (SELECT value::integer FROM {s}.store WHERE name = 'epoch') AS epoch
), written AS (
    UPDATE {s}.state s SET version = v.version, commit_id = c.commit_id, state = c.state,
    ended = CASE WHEN c.state IS NULL THEN v.now END
    FROM v, unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
    AS c(address, key, commit_id, state) WHERE s.address = c.address AND s.key = c.key
), kept AS (
    UPDATE {s}.state s SET version = v.version, commit_id = c.commit_id,
    ended = CASE WHEN s.state IS NULL THEN v.now END
    FROM v, unnest($5::text[], $6::text[], $7::bytea[]) AS c(address, key, commit_id)
    WHERE s.address = c.address AND s.key = c.key
), undone AS (
    DELETE FROM {s}.state s USING unnest($8::text[], $9::text[]) AS c(address, key)
    WHERE s.address = c.address AND s.key = c.key
), taken AS (
    DELETE FROM {s}.outbox WHERE id = ANY($10::bytea[])
), aside AS (
    UPDATE {s}.outbox SET dead = TRUE, pair = NULL WHERE id = ANY($11::bytea[])
), noted AS (
    INSERT INTO {s}.handled (address, key, channel, id, repeats, at)
    SELECT c.address, c.key, c.channel, c.id, c.repeats, v.now
    FROM v, unnest($12::text[], $13::text[], $14::text[], $15::bytea[], $16::boolean[])
    AS c(address, key, channel, id, repeats)
), answered AS (
    INSERT INTO {s}.answer (address, key, id, digest, answer, until)
    SELECT c.address, c.key, c.id, c.digest, c.answer, v.now + c.keep
    FROM v, unnest($17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[],
    $22::float8[]) AS c(address, key, id, digest, answer, keep)
    ON CONFLICT (address, key, id) DO UPDATE SET digest = excluded.digest,
    answer = excluded.answer, until = excluded.until
), staged AS (
    INSERT INTO {s}.outbox ({staged})
    SELECT c.id, c.from_address, c.from_key, c.address, c.key, c.envelope, c.owned, c.channel,
    v.version * {most} + c.index, c.pair, v.now + c.delay, v.now + c.expires
    FROM v, unnest($23::bytea[], $24::text[], $25::text[], $26::text[], $27::text[],
    $28::bytea[], $29::boolean[], $30::text[], $31::bigint[], $32::bigint[], $33::float8[],
    $34::float8[]) AS c(id, from_address, from_key, address, key, envelope, owned, channel,
    index, pair, delay, expires)
) SELECT version, epoch FROM v""",
    # -- reading ------------------------------------------------------------
    "load": """
SELECT s.address, s.key, s.version, s.state, s.commit_id FROM {s}.state s
JOIN unnest($1::text[], $2::text[]) AS k(address, key)
ON s.address = k.address AND s.key = k.key""",
    "scan": """
SELECT key, version, state, commit_id FROM {s}.state
WHERE address = $1 AND key > $2 AND state IS NOT NULL ORDER BY key LIMIT $3""",
    "kept_answer": """
SELECT digest, CASE WHEN until > {now} THEN answer ELSE ''::bytea END FROM {s}.answer
WHERE address = $1 AND key = $2 AND id = $3""",
    "rows": "SELECT {row} FROM {s}.outbox WHERE id = ANY($1::bytea[])",
    "rows_between": """
SELECT {row} FROM {s}.outbox WHERE pair = $1 AND number < $2 AND from_address = $3
AND from_key = $4 AND address = $5 AND key = $6 ORDER BY number LIMIT $7""",
    "missing": """
SELECT {row} FROM {s}.outbox WHERE owned AND NOT dead AND address = $1
AND due <= {now} - $2::float8 ORDER BY due, number LIMIT $3""",
    "due": """
SELECT {row} FROM {s}.outbox WHERE owned AND NOT dead AND address = ANY($1::text[])
AND due <= {now} + $2::float8 AND channel = $4 ORDER BY due LIMIT $3""",
    "release": """
WITH l AS (SELECT id FROM {s}.outbox WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE)
UPDATE {s}.outbox o SET channel = $2 FROM l WHERE o.id = l.id""",
    "unconfirmed": """
SELECT {row} FROM {s}.outbox WHERE NOT owned AND from_address = ANY($1::text[])
AND due <= {now} - $2::float8 ORDER BY due, number LIMIT $3""",
    "waiting": """
SELECT count(*) FROM (SELECT FROM {s}.outbox WHERE owned AND NOT dead AND address = $1
LIMIT $2) AS w""",
    "untaken": """
SELECT count(*) FROM (SELECT FROM {s}.outbox WHERE NOT owned AND from_address = $1
LIMIT $2) AS w""",
    "outbox": """
SELECT {row} FROM {s}.outbox WHERE $1 = '' OR address = $1 ORDER BY number LIMIT $2""",
    "backlog": """
SELECT address, owned, count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead),
greatest(0.0, {now} - coalesce(min(due) FILTER (WHERE NOT dead), {now}))::float8
FROM {s}.outbox GROUP BY address, owned ORDER BY address, owned""",
    # Counted while they are few; the database's own estimate of many.
    "sizes": """
SELECT CASE WHEN o.reltuples > 100000 THEN o.reltuples::bigint
    ELSE (SELECT count(*) FROM {s}.outbox) END,
CASE WHEN h.reltuples > 100000 THEN h.reltuples::bigint
    ELSE (SELECT count(*) FROM {s}.handled) END
FROM pg_class o, pg_class h
WHERE o.oid = '{s}.outbox'::regclass AND h.oid = '{s}.handled'::regclass""",
    # -- changing -----------------------------------------------------------
    "put_off": """
WITH l AS (SELECT id FROM {s}.outbox WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE)
UPDATE {s}.outbox o SET due = {now} + $2::float8, tries = o.tries + $3::integer
FROM l WHERE o.id = l.id""",
    "readdress": """
WITH c AS MATERIALIZED (SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::boolean[],
    $5::text[], $6::bigint[]) AS c(id, address, key, owned, channel, pair)
), l AS (SELECT id FROM {s}.outbox WHERE id = ANY($1::bytea[]) AND NOT dead ORDER BY id FOR UPDATE)
UPDATE {s}.outbox o SET address = c.address, key = c.key, owned = c.owned, channel = c.channel,
pair = c.pair, tries = 0 FROM l, c WHERE o.id = l.id AND o.id = c.id""",
    "forget": """
WITH l AS (SELECT id FROM {s}.outbox WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE)
DELETE FROM {s}.outbox o USING l WHERE o.id = l.id""",
    "revive": """
WITH l AS (SELECT id FROM {s}.outbox WHERE id = ANY($1::bytea[]) AND dead ORDER BY id FOR UPDATE)
UPDATE {s}.outbox o SET dead = FALSE, tries = 0, due = {now}, expires = NULL
FROM l WHERE o.id = l.id""",
    "forget_handled": """
DELETE FROM {s}.handled WHERE ctid = ANY(ARRAY(SELECT ctid FROM {s}.handled
WHERE address = $1 AND channel = $2 AND at <= {now} - $3::float8 AND NOT repeats LIMIT $4))""",
    "tidy_handled": """
DELETE FROM {s}.handled WHERE ctid = ANY(ARRAY(
SELECT ctid FROM {s}.handled WHERE at <= {now} - $1::float8 LIMIT $2))""",
    "tidy_ended": """
DELETE FROM {s}.state WHERE ctid = ANY(ARRAY(SELECT ctid FROM {s}.state
WHERE ended IS NOT NULL AND ended <= {now} - $1::float8 LIMIT $2 FOR UPDATE SKIP LOCKED))""",
    "empty_answers": """
UPDATE {s}.answer SET answer = ''::bytea WHERE ctid = ANY(ARRAY(
SELECT ctid FROM {s}.answer WHERE answer <> ''::bytea AND until <= {now}
AND address <> '{results}' LIMIT $1))""",
    # What is left of answers is empty by then: the index of full ones has results alone.
    "tidy_results": """
DELETE FROM {s}.answer WHERE ctid = ANY(ARRAY(
SELECT ctid FROM {s}.answer WHERE answer <> ''::bytea AND until <= {now} - $1::float8
AND address = '{results}' LIMIT $2))""",
    "tidy_answers": """
DELETE FROM {s}.answer WHERE ctid = ANY(ARRAY(
SELECT ctid FROM {s}.answer WHERE until <= {now} - $1::float8 LIMIT $2))""",
    # -- the store itself -----------------------------------------------------
    "facts": "SELECT name, value FROM {s}.store",
    "note": """
INSERT INTO {s}.store VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
    "accept": "UPDATE {s}.store SET value = (value::integer + 1)::text WHERE name = 'epoch'",
    "leap": "SELECT setval('{s}.version', last_value + {leap}) FROM {s}.version",
}


class Statements:
    """The statements for the tables in one schema, by name.

    Args:
        schema: Its name.

    Raises:
        ConfigError: The name is none that is taken without quotes.
    """

    def __init__(self, schema: str) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise ConfigError(
                "store",
                f"{schema!r} is not a name of a schema",
                "write small letters, digits and _ in ?schema=",
            )
        self.schema = schema
        self._named: dict[str, Any] = {
            "s": schema,
            "now": _NOW,
            "row": ROW_COLUMNS,
            "staged": STAGED_COLUMNS,
            "most": MAX_STAGED,
            "leap": VERSION_LEAP,
            "results": RESULTS.address,
        }
        self._texts = {name: self.fill(text) for name, text in _TEXTS.items()}
        self._texts["lock_rights"] = f"{self['rights']} FOR UPDATE OF o"

    def fill(self, text: str) -> str:
        """`text` with this schema in it."""
        return text.format_map(self._named)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]
