"""What becomes of a stored message: a pure table from outcome to settlement.

Knows no broker, no actor, no clock. Two decisions, in this order:

1. `admission`, before the handler: attempts are the broker's count (less what the
   transport knows to have begun no handler), so that a message that kills the
   process stops here (nothing this process could have written down would have
   survived), and a message that comes before its due time is sent away again in
   hops the broker can keep.
2. `settlement`, after the handler: FINish only what was handled; everything else
   is given back or buried with its reason.

Where a message that is early can only be requeued (an event, whose topic has
several channels) each hop costs a delivery; those are allowed for. A mailbox
stores it again instead, which costs none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from actors.errors import Overloaded, Unhandled
from actors.texts import class_name, text_of

if TYPE_CHECKING:
    from actors import Outcome

__all__ = [
    "FINISH",
    "GIVE_BACK",
    "HANDLE",
    "NO_ROOM",
    "UNREAD",
    "AdmissionDecision",
    "AttemptLimits",
    "Settlement",
    "admission",
    "buried_as",
    "hops",
    "is_unread",
    "settlement",
]

#: A message may be this much early and still run: brokers look at their
#: deferred queues every 100 ms, and wall clocks of two hosts differ a little.
EARLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Settlement:
    """How to settle a stored message.

    `delay` seconds of a requeue, None: the transport's growing delay. `counted`:
    the delivery was one of its attempts. `reason` says why it is buried or, for a
    FINished one that no handler finished, why.
    """

    action: Literal["finish", "requeue", "bury"]
    delay: float | None = None
    penalty: bool = True
    reason: str = ""
    counted: bool = True


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """Whether a handler may start: "handle", or settle at once."""

    action: Literal["handle", "finish", "requeue", "bury"]
    delay: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """`max_attempts` deliveries; the broker defers up to `max_delay` seconds.

    `expires`: seconds that a message which says nothing itself is worth handling, from when
    it was stored, or due; None: for ever.
    """

    max_attempts: int = 5
    max_delay: float = 3600.0
    expires: float | None = None


FINISH: Final = Settlement("finish")
#: Back to the broker for another consumer, without delay or blame.
GIVE_BACK: Final = Settlement("requeue", 0.0, penalty=False)
#: Back until there is room: where a partition stays full, no good message may use up its
#: attempts by being passed on to it.
NO_ROOM: Final = Settlement("requeue", None, penalty=False, counted=False)
#: Back for a member with newer code. It counts as a failure: a member that takes nothing
#: of what comes slows down, and leaves more to the others.
UNREAD: Final = Settlement("requeue", None)
HANDLE: Final = AdmissionDecision("handle")


def hops(due: float, stored: float, max_delay: float) -> int:
    """Deliveries that a message due at `due` needs beyond its first.

    `stored` is when the broker took it; both wall time. One more than the
    arithmetic says, because a broker that restarts forgets the first deferral.
    """
    span = due - stored
    return max(0, math.ceil(span / max_delay) - 1) + 1 if span > 0 else 1


def admission(
    *,
    attempts: int,
    now: float,
    stored: float,
    due: float | None,
    expires: float | None,
    limits: AttemptLimits,
    counts_hops: bool = False,
) -> AdmissionDecision:
    """Decide before the handler. All times are wall time in seconds.

    `counts_hops`: being sent away early has cost deliveries.
    """
    allowed = limits.max_attempts
    if due is not None:
        if due - now > EARLY:
            return AdmissionDecision("requeue", min(due - now, limits.max_delay), "not due yet")
        if counts_hops:
            allowed += hops(due, stored, limits.max_delay)
    if attempts > allowed:
        return AdmissionDecision("bury", reason=f"given out {attempts} times, never finished")
    if expires is None and limits.expires is not None:
        expires = max(stored, due or 0.0) + limits.expires
    if expires is not None and now >= expires:
        return AdmissionDecision("finish", reason="expired")
    return HANDLE


def settlement(outcome: Outcome, *, attempts: int, allowed: int) -> Settlement:
    """Decide after the handler.

    `attempts`: deliveries so far, this one included. `allowed`: the most a
    message may have (`AttemptLimits.max_attempts`, and its hops).
    """
    match outcome.kind:
        case "replied":
            return FINISH
        case "crashed" | "retry":
            return _failed(outcome, last=attempts >= allowed)
        case "refused" | "reject":
            return _turned_away(outcome, last=attempts >= allowed)
        case "expired":
            return Settlement("finish", reason="expired")
        case "dead" | "cancelled":
            return GIVE_BACK


def _turned_away(outcome: Outcome, *, last: bool) -> Settlement:
    """Refused by the actor, or by its class for want of a handler."""
    if issubclass(type(outcome.error), Overloaded):
        return NO_ROOM
    if is_unread(outcome) and not last:
        return UNREAD
    return buried_as("refused" if outcome.kind == "refused" else "rejected", outcome.error)


def is_unread(outcome: Outcome) -> bool:
    """Whether the class of the actor has no handler for it: newer code may have one."""
    return outcome.kind in {"refused", "reject"} and issubclass(type(outcome.error), Unhandled)


def _failed(outcome: Outcome, *, last: bool) -> Settlement:
    if last:
        word = "crashed" if outcome.kind == "crashed" else "gave up after retries"
        return buried_as(word, outcome.error)
    penalty = outcome.kind == "crashed" or outcome.penalty
    return Settlement("requeue", outcome.retry_after, penalty=penalty)


def buried_as(word: str, error: BaseException | None) -> Settlement:
    """Put aside, with what happened in one word and the error."""
    return Settlement("bury", reason=_reason(word, error))


def _reason(word: str, error: BaseException | None) -> str:
    """One line: the word, the error's type and the start of its text."""
    if error is None:
        return word
    text = " ".join(text_of(error).split())[:300]
    name = class_name(error)
    return f"{word}: {name}: {text}" if text else f"{word}: {name}"
