"""Commits in a PostgreSQL database: what they rest on, and what they write.

Every function gets a connection inside a transaction (READ COMMITTED, said and not
assumed). The order is what makes it right: first the keys are locked, those that exist
and those that are inserted, each kind in the order of their names; then, in a statement
of its own, every right is read and locked; then it is decided; then all is written by
one statement. A key that does not exist has no row to lock: the row that is inserted is
the lock, and goes again where its commit does not stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import (
    ABSENT,
    Committed,
    HandledRight,
    OwnedRight,
    StateKey,
)
from irismq_runtime.stores.decisions import (
    NOTHING,
    Found,
    FoundRow,
    Standing,
    latest_claim,
    refusal,
)
from irismq_runtime.stores.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irismq_runtime.ports.state_store import CommitOutcome, Right, StateCommit
    from irismq_runtime.stores.postgres.connections import Connection
    from irismq_runtime.stores.postgres.statements import Statements

__all__ = ["Made", "columns", "commit", "standing"]


class Made(NamedTuple):
    """What a transaction comes to; `epoch`: that of the store, 0 where nothing is written."""

    outcomes: list[CommitOutcome]
    epoch: int


async def commit(
    connection: Connection, statements: Statements, commits: Sequence[StateCommit], store: str
) -> Made:
    """Write what stands of `commits`. Raises `StoreUnavailable` ("went back")."""
    found, inserted = await _lock(connection, statements, commits)
    asked = [(each.key, each.rights) for each in commits if each.rights]
    stands = await standing(connection, statements, asked, store, lock=True)
    outcomes: list[CommitOutcome | None] = [
        refusal(each, found.get(each.key, NOTHING), stands) for each in commits
    ]
    accepted = [each for each, no in zip(commits, outcomes, strict=True) if no is None]
    undone = sorted(inserted - {each.key for each in accepted})
    if not accepted and not undone:
        return Made([outcome for outcome in outcomes if outcome is not None], 0)
    arguments = _arguments(Writes.of(accepted, 0, 0.0), undone)
    row = await connection.fetchrow(statements["write"], *arguments)
    version, epoch = row if row is not None else (0, 0)
    written = Committed(version)
    return Made([written if outcome is None else outcome for outcome in outcomes], epoch)


async def standing(
    connection: Connection,
    statements: Statements,
    asked: Iterable[tuple[StateKey, Sequence[Right]]],
    store: str,
    *,
    lock: bool,
) -> Standing:
    """What the decision needs to know of rights. Raises `StoreUnavailable` ("went back")."""
    owned: list[OwnedRight] = []
    noted: list[tuple[str, str, str, bytes]] = []
    answers: list[tuple[str, str, str]] = []
    for key, rights in asked:
        for right in rights:
            if isinstance(right, OwnedRight):
                owned.append(right)
            elif isinstance(right, HandledRight):
                noted.append((*key, right.channel, right.id))
            else:
                answers.append((*key, right.id))
    stands = Standing()
    if owned:
        text = statements["lock_rights" if lock else "rights"]
        rows = await connection.fetch(text, [right.id for right in owned])
        stands.rows = {row[0]: FoundRow(StateKey(row[1], row[2]), *row[3:]) for row in rows}
        claim = latest_claim(owned, stands.rows)
        if claim > ABSENT and claim > await connection.fetchval(statements["latest"]):
            raise StoreUnavailable(store, "went back", "a message is newer than the store")
    if noted:
        rows = await connection.fetch(statements["handled"], *columns(noted, 4))
        stands.handled = {(StateKey(row[0], row[1]), row[2], row[3]) for row in rows}
    if answers:
        rows = await connection.fetch(statements["answered"], *columns(answers, 3))
        stands.answered = {(StateKey(row[0], row[1]), row[2]) for row in rows}
    return stands


async def _lock(
    connection: Connection, statements: Statements, commits: Sequence[StateCommit]
) -> tuple[dict[StateKey, Found], set[StateKey]]:
    """What stands at the keys, now locked; and those that this transaction has inserted."""
    existing = [each.key for each in commits if each.version != ABSENT]
    new = {each.key for each in commits if each.version == ABSENT}
    rows: list[Any] = []
    inserted: set[StateKey] = set()
    if existing:
        rows = await connection.fetch(statements["lock"], *columns(existing, 2))
    if new:
        made = await connection.fetch(statements["insert"], *columns(new, 2))
        inserted = {StateKey(*row) for row in made}
        if lost := new - inserted:
            rows += await connection.fetch(statements["found"], *columns(lost, 2))
    found = {StateKey(row[0], row[1]): Found(row[2], row[3]) for row in rows}
    return found, inserted


def columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[Sequence[Any]]:
    """Rows as columns, which a statement takes as arrays."""
    return list(zip(*rows, strict=True)) or [()] * width


def _arguments(writes: Writes, undone: Sequence[StateKey]) -> list[Sequence[Any]]:
    """The arrays of the statement "write", in its order."""
    return [
        *columns(writes.states, 4),
        *columns(writes.kept, 3),
        *columns(undone, 2),
        writes.taken,
        writes.aside,
        *columns(writes.handled, 5),
        *columns(writes.answers, 6),
        *columns(writes.staged, 12),
    ]
