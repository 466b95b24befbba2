"""How many messages an actor handles a second: `handler_rate = Rate(10)`.

A class that says none has nothing of this around its handlers. The decision is `turn_at`, a
function of times (the "generic cell rate algorithm" of ATM: a leaky bucket of one number).
An actor takes one message after another, so it waits where it would handle one: what comes
meanwhile waits in its inbox or at the broker, whose lease is renewed. The number belongs to
the slot, and outlives incarnations: who crashes gets no more for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from actors.rules import count, need, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._slot import Slot
    from actors.handlers import Handler

__all__ = ["Rate", "pacing", "turn_at"]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many messages a second, over any time.

    Args:
        per_second: More than 0, at most a million; 0.1 is one in ten seconds.
        burst: How many may follow each other at once after a time of quiet.

    Raises:
        ValueError: One of them has no meaning.
    """

    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        need(number(0.0, 1e6, "", above=True), "per_second", self.per_second)
        need(count(1, 1_000_000), "burst", self.burst)


def turn_at(due: float, now: float, rate: Rate) -> tuple[float, float]:
    """Return when the next message may be handled, and what `due` is after it.

    `due`: when it would be the turn of the next one if all came evenly; 0 before the first.
    Monotonic seconds.
    """
    interval = 1.0 / rate.per_second
    due = max(due, now)
    return max(now, due - (rate.burst - 1) * interval), due + interval


def pacing(rate: Rate | None, unpaced: frozenset[Handler]) -> Callable[[Handler], Handler] | None:
    """What makes of each handler the one that waits for its turn; None: nothing is limited.

    `unpaced`: those that only put a message aside.
    """
    if rate is None:
        return None

    def around(handler: Handler) -> Handler:
        return handler if handler in unpaced else _paced(handler, rate)

    return around


def _paced(handler: Handler, rate: Rate) -> Handler:
    def begin(actor: Any, message: Any) -> Any:
        slot: Slot = actor._slot  # noqa: SLF001  # the attribute that actors keep for their slot
        attached, now = slot.attachments(), slot.system.now()
        turn, attached.due = turn_at(attached.due, now, rate)
        if turn <= now:
            return handler(actor, message)
        return _later(slot, turn - now, handler, message)

    return begin


async def _later(slot: Slot, delay: float, handler: Handler, message: Any) -> Any:
    actor = slot.actor
    turn = slot.system.loop.create_future()
    timer = slot.system.clock.call_later(delay, turn.set_result, None)
    try:
        await turn
    finally:
        timer.cancel()
    result = handler(actor, message)
    return await result if type(result) is CoroutineType else result
