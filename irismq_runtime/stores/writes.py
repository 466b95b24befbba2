"""What the commits that stand write, as rows for the statements of a database.

Pure, and the same for every database: which columns there are, in which order, and
what is in them. Times are `now` plus what was asked for; a database that has a clock
of its own is given 0 and adds its time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.ports.state_store import (
    KEEP,
    RESULTS,
    AnswerRight,
    HandledRight,
    OutboxRow,
    OwnedRight,
    StateCommit,
    StateKey,
    row_number,
)
from irismq_runtime.stores.decisions import order_pair, takes_part_in_order

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ROW_COLUMNS", "STAGED_COLUMNS", "Writes", "outbox_row"]

#: The columns of an outbox row, as a staged message fills them,
STAGED_COLUMNS: Final = (
    "id, from_address, from_key, address, key, envelope, owned, channel, number, pair, due, expires"
)
#: and as `outbox_row` takes them.
ROW_COLUMNS: Final = f"{STAGED_COLUMNS}, tries, dead"


def outbox_row(record: tuple[Any, ...]) -> OutboxRow:
    """A record of `ROW_COLUMNS` as the port gives it."""
    row_id, from_address, from_key, address, key, envelope, *about = record
    owned, channel, number, pair, due, expires, tries, dead = about
    return OutboxRow(
        id=row_id,
        sender=StateKey(from_address, from_key),
        to=StateKey(address, key),
        envelope=envelope,
        owned=bool(owned),
        channel=channel,
        number=number,
        ordered=pair is not None,
        due=due,
        expires=expires,
        tries=tries,
        dead=bool(dead),
    )


@dataclass(slots=True)
class Writes:
    """The rows of one transaction.

    `states`: (address, key, commit id, new state or None); `kept`: (address, key, commit
    id), whose state stays. `taken`, `aside`: ids of outbox rows that are deleted, and
    that become dead. `handled`: (address, key, channel, id,
    repeats). `answers`: (address, key,
    id, digest, answer, until). `staged`: `STAGED_COLUMNS`.
    """

    states: list[tuple[str, str, bytes, bytes | None]] = field(default_factory=list)
    kept: list[tuple[str, str, bytes]] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    aside: list[bytes] = field(default_factory=list)
    handled: list[tuple[str, str, str, bytes, bool]] = field(default_factory=list)
    answers: list[tuple[str, str, str, bytes, bytes, float]] = field(default_factory=list)
    staged: list[tuple[Any, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, commits: Iterable[StateCommit], version: int, now: float) -> Writes:
        """All that `commits` write under `version`."""
        writes = cls()
        for commit in commits:
            writes.add(commit, version, now)
        return writes

    def add(self, commit: StateCommit, version: int, now: float) -> None:
        """Add one commit. A staged message has the `STAGED_COLUMNS`."""
        address, key = commit.key
        if isinstance(commit.state, bytes):
            self.states.append((address, key, commit.id, commit.state))
        elif commit.state == KEEP:
            self.kept.append((address, key, commit.id))
        else:
            self.states.append((address, key, commit.id, None))
        for right in commit.rights:
            if isinstance(right, OwnedRight):
                (self.aside if right.aside else self.taken).append(right.id)
            elif isinstance(right, HandledRight):
                self.handled.append((address, key, right.channel, right.id, right.repeats))
            elif isinstance(right, AnswerRight):
                kept = (right.id, right.digest, right.answer, now + right.keep)
                self.answers.append((address, key, *kept))
        for each in commit.results:
            self.answers.append((*RESULTS, each.id.hex(), b"", each.result, now + each.keep))
        for index, message in enumerate(commit.staged):
            pair = order_pair(commit.key, message.to) if takes_part_in_order(message) else None
            expires = None if message.expires is None else now + message.expires
            self.staged.append(
                (
                    message.id,
                    address,
                    key,
                    *message.to,
                    message.envelope,
                    message.owned,
                    message.channel,
                    row_number(version, index),
                    pair,
                    now + message.delay,
                    expires,
                )
            )
