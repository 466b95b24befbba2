"""A bad value fails the commit that has it, and none that shares its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import CommitInvalid, Committed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from irismq_runtime.ports.state_store import CommitOutcome, StateCommit

__all__ = ["one_by_one"]


async def one_by_one(
    commit: Callable[[Sequence[StateCommit]], Awaitable[list[CommitOutcome]]],
    commits: Sequence[StateCommit],
    bad_value: tuple[type[Exception], ...],
) -> list[CommitOutcome]:
    """Make `commits` in one transaction, or, where a value is bad, each in one of its own.

    Args:
        commit: Makes some in one transaction.
        commits: What is to be made.
        bad_value: What `commit` raises for a value that the store cannot hold.

    Raises:
        StoreUnavailable: As `commit`. The outcome is unknown where some were made before.
    """
    try:
        return await commit(commits)
    except bad_value as error:
        if len(commits) == 1:
            return [CommitInvalid(error)]
    outcomes: list[CommitOutcome] = []
    for each in commits:
        try:
            outcomes += await commit([each])
        except bad_value as error:
            outcomes.append(CommitInvalid(error))
        except StoreUnavailable as fault:
            if any(isinstance(outcome, Committed) for outcome in outcomes):
                raise StoreUnavailable(fault.store, fault.kind, fault.reason, "unknown") from fault
            raise
    return outcomes
