"""What becomes of a message whose handler failed.

A parcel tells those who wait for it. A plain tell has nobody: a crash puts it
first in the inbox again while the class's `crash_retries` allow, and otherwise
it becomes a dead letter. `Retry` brings it back after a delay, `Reject` makes
it a dead letter. Nothing goes away silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._parcels import Again, Stamped
from actors.ask import Ask
from actors.delivery import Delivery, Outcome, Parcel
from actors.errors import StashFull

if TYPE_CHECKING:
    from actors._cell import Cell
    from actors.exits import Exit

__all__ = ["again_later", "crashed", "put_aside", "settle_failed", "tell_ended"]


def crashed(cell: Cell, item: Any, error: BaseException, exit_: Exit) -> None:
    """The handler of `item` crashed: tell whoever waits, keep or bury the message."""
    if not cell.is_stashed(item):
        settle_failed(cell, item, Outcome("crashed", error=error, exit=exit_))
    cell.system.report_crash(cell, exit_)


def settle_failed(cell: Cell, item: Any, outcome: Outcome) -> None:
    """Tell whoever waits for `item` how it ended."""
    if isinstance(item, Parcel):
        item.fail(outcome)
    else:
        tell_ended(cell, item, outcome)


def tell_ended(cell: Cell, message: Any, outcome: Outcome, attempt: int | None = 1) -> None:
    """A tell was not handled to its end. `attempt` None: never try it again."""
    system = cell.system
    if outcome.kind == "crashed" and attempt is not None:
        if attempt <= getattr(cell.actor_class, "crash_retries", 0):
            cell.inbox.appendleft(Again(cell, message, attempt + 1))
            return
        system.dead_letters.record(message, cell.ref, "crashed", outcome.exit)
    elif outcome.kind == "refused":
        if system.events.active:
            system.events.emit("tell.refused", ref=cell.ref, message=message, error=outcome.error)
    else:
        system.dead_letters.record(message, cell.ref, _reason(outcome), outcome.exit)


def _reason(outcome: Outcome) -> str:
    if outcome.kind == "reject":
        return f"rejected: {outcome.error}"
    return {"retry": "retry of a dead actor", "dead": "killed"}.get(outcome.kind, outcome.kind)


def again_later(cell: Cell, item: Any, after: float | None) -> bool:
    """Bring `item` back in `after` seconds. False: its transport does that."""
    if isinstance(item, Delivery):
        return False
    if isinstance(item, Again):
        item.attempt += 1
    elif isinstance(item, Ask):
        item.again()
    elif not isinstance(item, Stamped):
        item = Again(cell, item, 2)
    cell.system.call_on_loop(cell.put_later, item, after or 0.0)
    return True


def put_aside(cell: Cell) -> None:
    """Stash the message in hand. Raises `StashFull`, or RuntimeError without one."""
    item = cell.in_hand
    if item is None:
        raise RuntimeError("stash() puts the message in hand aside, and there is none in hand")
    stash = cell.company().stash
    limit = getattr(cell.actor_class, "stash_limit", 1000)
    if len(stash) >= limit:
        raise StashFull(cell.ref, limit)
    stash.append(item)
    if isinstance(item, Delivery):
        item.stashed()
