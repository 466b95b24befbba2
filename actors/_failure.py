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
from actors.delivery import Delivery, InboxItem, Outcome, outcome_of
from actors.texts import text_of

if TYPE_CHECKING:
    from actors._ending import Ending
    from actors._in_hand import InHand
    from actors.exits import Exit

__all__ = ["again_later", "crashed", "endured", "meant", "settle_failed", "tell_ended"]


def endured(slot: Ending, item: Any, error: BaseException, *, taken: bool) -> None:
    """The handler of `item` failed, and its actor lives on all the same.

    Whoever waits is told of a crash, so that what is stored comes again.
    """
    exit_ = slot.make_exit("crash", error)
    system = slot.system
    if not taken:
        outcome = Outcome("crashed", error=error, exit=exit_)
        system.attempt(slot, settle_failed, slot, item, outcome)
    system.report_hook_failure(slot, f"handling {exit_.message_type}", error)


def meant(slot: Ending, actor: Any, error: BaseException, item: Any = None) -> Outcome | None:
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


def crashed(slot: Ending, item: Any, error: BaseException, exit_: Exit, *, taken: bool) -> None:
    """The handler of `item` crashed: tell whoever waits, keep or bury the message."""
    system = slot.system
    if not taken:
        outcome = Outcome("crashed", error=error, exit=exit_)
        system.attempt(slot, settle_failed, slot, item, outcome)
    system.attempt(slot, system.report_crash, slot, exit_)


def settle_failed(slot: InHand, item: Any, outcome: Outcome) -> None:
    """Tell whoever waits for `item` how it ended."""
    if isinstance(item, InboxItem):
        item.fail(outcome)
    else:
        tell_ended(slot, item, outcome)


def tell_ended(slot: InHand, message: Any, outcome: Outcome, attempt: int | None = 1) -> None:
    """A tell was not handled to its end. `attempt` None: never try it again."""
    system = slot.system
    retries = getattr(slot.actor_class, "crash_retries", 0)
    if outcome.kind == "crashed" and attempt is not None and attempt <= retries:
        slot.inbox.appendleft(Again(slot, message, attempt + 1))
    elif outcome.kind == "refused":
        if system.events.active:
            system.events.emit("tell.refused", ref=slot.ref, message=message, error=outcome.error)
    else:
        system.dead_letters.record(message, slot.ref, _reason(outcome), outcome.exit)


def _reason(outcome: Outcome) -> str:
    if outcome.kind == "reject":
        return f"rejected: {text_of(outcome.error)}"
    return "killed" if outcome.kind == "dead" else outcome.kind


def again_later(slot: InHand, item: Any, after: float | None) -> bool:
    """Bring `item` back in `after` seconds. False: its transport does that."""
    if isinstance(item, Delivery):
        return False
    if isinstance(item, Again):
        item.attempt += 1
    elif isinstance(item, Ask):
        item.again()
    elif not isinstance(item, Stamped):
        item = Again(slot, item, 2)
    slot.system.call_on_loop(slot.put_later, item, after or 0.0)
    return True
