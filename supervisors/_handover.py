"""The few things a supervisor asks of its own cell that other actors do not.

To learn of the end of its incarnation, to end with a reason of its own, and to
take the message in hand out of the cell's hands, so that somebody answers later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.delivery import Delivery, Outcome, Parcel
from actors.errors import ActorDeadError, MailboxFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.exits import ExitReason

__all__ = ["end_with", "pass_on", "take_in_hand", "when_over"]


class _AtEnd:
    """Stands among the timers of the incarnation, all of which end with it."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.cancel = callback


def when_over(cell: Any, callback: Callable[[], None]) -> None:
    """Call `callback` when this incarnation is over: stopped, crashed, killed, not started."""
    if hasattr(cell, "when_over"):
        cell.when_over(callback)
    else:
        cell.company().timers.add(_AtEnd(callback))


def end_with(cell: Any, reason: ExitReason) -> None:
    """End this incarnation as the actor's own wish, with that reason."""
    if hasattr(cell, "exit_soon"):
        cell.exit_soon(reason)
    else:
        from actors._stopping import Stop

        cell.push_control(Stop(reason))


def take_in_hand(cell: Any) -> Parcel | None:
    """The message in hand if somebody waits for its answer; it is ours to answer now."""
    if hasattr(cell, "take_in_hand"):
        parcel: Parcel | None = cell.take_in_hand()
        return parcel
    held = cell.in_hand
    if not isinstance(held, Parcel):
        return None
    stash = cell.company().stash
    stash.append(held)
    cell.system.loop.call_soon(stash.remove, held)
    return held


def pass_on(cell: Any, message: Any, target: Any) -> None:
    """Give the message in hand, with whoever waits for its answer, to another cell.

    A full or ended target answers an ask with its error, sends a transport's message
    back for later, and makes a plain tell a dead letter.
    """
    parcel = take_in_hand(cell)
    full = len(target.inbox) >= target.limit
    if not full:
        target.put_system(message if parcel is None else parcel)
        return
    error = ActorDeadError(target.ref) if target.ended else MailboxFull(target.ref, target.limit)
    if parcel is None:
        reason = "dead" if target.ended else "mailbox full"
        target.system.dead_letters.record(message, target.ref, reason)
    elif isinstance(parcel, Delivery):
        parcel.fail(Outcome("retry", error=error, penalty=False))
    else:
        parcel.fail(Outcome("refused", error=error))
