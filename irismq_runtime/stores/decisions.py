"""Which commits of a transaction stand: pure functions of what was read under its locks.

Every store reads, then asks here, then writes. So what a commit rests on is the same
in all of them, and is tested without any:

    the version is the one that was loaded, and *every* right stands    -> it is written
    otherwise                                                           -> nothing of it

A batch in which *some* right stands must not be written: its effects were all made by
one run over all of its messages, one of which was handled by somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from irismq_runtime.ports.state_store import (
    ABSENT,
    MAX_STAGED,
    CommitInvalid,
    CommitLost,
    HandledRight,
    OwnedRight,
    RightsGone,
    RightState,
    StateCommit,
    StateKey,
    right_name,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from irismq_runtime.ports.state_store import OutboxRow, Right, StagedMessage

__all__ = [
    "NOTHING",
    "STANDS",
    "Found",
    "FoundRow",
    "Refusal",
    "Standing",
    "check_commits",
    "latest_claim",
    "order_pair",
    "pair_of_row",
    "refusal",
    "right_states",
    "takes_part_in_order",
]

STANDS = RightState("stands")
_GONE = RightState("gone")
_EARLY = RightState("early")

Refusal = CommitLost | RightsGone | CommitInvalid


class Found(NamedTuple):
    """What stands at a key: its version, and the id of the commit that wrote it."""

    version: int
    commit: bytes


NOTHING = Found(ABSENT, b"")


class FoundRow(NamedTuple):
    """What a right over an outbox row needs to know of the row.

    `previous`: the waiting row right before it in the order of its sender to its key.
    """

    to: StateKey
    tries: int
    dead: bool
    previous: bytes | None


@dataclass(slots=True)
class Standing:
    """What was read for the rights of a transaction.

    `rows`: by id, those that exist. `handled`, `answered`: those that are noted already.
    """

    rows: Mapping[bytes, FoundRow] = field(default_factory=dict)
    handled: Collection[tuple[StateKey, str, bytes]] = ()
    answered: Collection[tuple[StateKey, str]] = ()


def check_commits(commits: Sequence[StateCommit]) -> None:
    """Raise `ValueError` for what no caller may give: see `StateStore.commit`."""
    if len({commit.key for commit in commits}) != len(commits):
        raise ValueError("two commits of one transaction are about the same key")
    for commit in commits:
        if len(commit.staged) > MAX_STAGED:
            raise ValueError(f"{len(commit.staged)} messages are staged, over {MAX_STAGED}")
        if len(set(map(right_name, commit.rights))) != len(commit.rights):
            raise ValueError("a commit has the same right twice")


def right_states(
    key: StateKey, rights: Sequence[Right], standing: Standing
) -> tuple[RightState, ...]:
    """How each of `rights` of `key` stands, those before it used up."""
    used: set[bytes] = set()
    return tuple(_right_state(key, right, standing, used) for right in rights)


def _right_state(key: StateKey, right: Right, standing: Standing, used: set[bytes]) -> RightState:
    if isinstance(right, OwnedRight):
        row = standing.rows.get(right.id)
        if row is None or row.to != key:
            return _GONE
        if row.dead:
            return RightState("dead", row.tries)
        if row.previous is not None and row.previous not in used:
            return RightState("early", row.tries) if row.tries else _EARLY
        used.add(right.id)
        return RightState("stands", row.tries) if row.tries else STANDS
    if isinstance(right, HandledRight):
        return _GONE if (key, right.channel, right.id) in standing.handled else STANDS
    return _GONE if (key, right.id) in standing.answered else STANDS


def latest_claim(rights: Iterable[Right], rows: Collection[bytes]) -> int:
    """The highest version that rights without a row in `rows` say that this store had.

    One above what the store has given out so far shows that it went back in time: the
    row is not gone because it was handled, it never was in what the store is now.
    """
    claims = (
        right.number // MAX_STAGED
        for right in rights
        if isinstance(right, OwnedRight) and right.id not in rows
    )
    return max(claims, default=ABSENT)


def refusal(commit: StateCommit, found: Found, standing: Standing) -> Refusal | None:
    """Why `commit` must not be written; None: it may.

    Args:
        commit: What is to be written.
        found: What stands at its key, under a lock of this transaction. For a commit on
            `ABSENT` it is `NOTHING` where the lock is a row that this transaction made.
        standing: What was read for its rights, after the lock was taken.
    """
    if found.version != commit.version:
        return CommitLost(*found)
    states = right_states(commit.key, commit.rights, standing)
    if all(state.state == "stands" for state in states):
        return None
    return RightsGone(states)


@lru_cache(maxsize=8192)
def order_pair(sender: StateKey, to: StateKey) -> int:
    """A number for "messages of `sender` to `to`", short enough for an index.

    Two pairs may share one: whoever looks by it compares the four names as well.
    """
    names = "\0".join((*sender, *to)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(names, digest_size=8).digest(), "big", signed=True)


def pair_of_row(row: OutboxRow) -> int | None:
    """The `order_pair` of a row; None: it takes no part in an order."""
    return order_pair(row.sender, row.to) if row.ordered and row.owned else None


def takes_part_in_order(staged: StagedMessage) -> bool:
    """Whether a row waits for earlier rows of its sender to its key, and later ones for it."""
    return staged.owned and staged.ordered and not staged.delay
