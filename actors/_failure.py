"""What becomes of a message whose handler failed.

An item tells those who wait for it. A plain tell has nobody: a crash puts it
first in the inbox again while the class's `crash_retries` allow, and otherwise
it becomes a dead letter. `Retry` brings it back after a delay, `Reject` makes
it a dead letter. Nothing goes away silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._items import Again, Internal, Stamped
from actors.ask import Ask
from actors.delivery import InboxItem, Outcome, outcome_of

if TYPE_CHECKING:
    from actors._slot_view import SlotView
    from actors.exits import Exit

__all__ = [
    "again_later",
    "crashed",
    "endured",
    "fail_current",
    "is_crash",
    "meant",
    "settle_failed",
]


def endured(slot: SlotView, item: Any, error: BaseException, *, taken: bool) -> None:
    """The handler of `item` failed, and its actor lives on all the same.

    Whoever waits is told of a crash, so that what is stored comes again.
    """
    exit_ = slot.make_exit("crash", error)
    system = slot.system
    if not taken:
        outcome = Outcome("crashed", error=error, exit=exit_)
        system.attempt(slot, settle_failed, slot, item, outcome)
    system.report_hook_failure(slot, f"handling {exit_.message_type}", error)


def meant(slot: SlotView, actor: Any, error: BaseException, item: Any = None) -> Outcome | None:
    """The outcome that the handler of `item` meant by raising `error`; None for a crash.

    Nobody waits for the answer of what the runtime itself put there (`after_start`).
    `refuses` and the attributes of `error` are a user's. A slip in them is reported,
    and the error is what one that nobody declared is: a crash.
    """
    if isinstance(item, Internal):
        return None
    try:
        return outcome_of(error, getattr(actor, "refuses", ()))
    except BaseException as slip:
        slot.system.report_hook_failure(slot, "what the error of a handler means", slip)
        return None


def crashed(slot: SlotView, item: Any, error: BaseException, exit_: Exit, *, taken: bool) -> None:
    """The handler of `item` crashed: tell whoever waits, keep or bury the message."""
    system = slot.system
    if not taken:
        outcome = Outcome("crashed", error=error, exit=exit_)
        system.attempt(slot, settle_failed, slot, item, outcome)
    system.attempt(slot, system.report_crash, slot, exit_)


def is_crash(slot: SlotView, error: BaseException) -> bool:
    """Whether what left the actor's code is a crash; False: it meant an answer."""
    return meant(slot, slot.actor, error) is None


def settle_failed(slot: SlotView, item: Any, outcome: Outcome) -> None:
    """Tell whoever waits for `item` how it ended."""
    if isinstance(item, InboxItem):
        item.fail(outcome)
    else:
        slot.tell_failed(item, outcome)


def fail_current(slot: SlotView) -> None:
    """Whoever waits for the current message learns that the actor was killed."""
    item = slot.current
    if item is not None and not slot.taken:
        outcome = Outcome("dead", exit=slot.make_exit("killed"))
        slot.system.attempt(slot, settle_failed, slot, item, outcome)


def again_later(slot: SlotView, item: Any, after: float | None) -> bool:
    """Bring `item` back in `after` seconds. False: its transport does that."""
    if isinstance(item, InboxItem) and item.retries:
        return False
    if isinstance(item, Again):
        item.attempt += 1
    elif isinstance(item, Ask):
        item.again()
    elif not isinstance(item, Stamped):
        item = Again(slot, item, 2)
    slot.system.call_on_loop(slot.put_later, item, after or 0.0)
    return True
