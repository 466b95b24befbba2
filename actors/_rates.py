"""How many messages an actor handles a second: `handler_rate = Rate(10)`.

A class that says none has nothing of this around its handlers. The decision is `turn_at`, a
function of times (the "generic cell rate algorithm" of ATM: a leaky bucket of one number).
The number belongs to the slot, and outlives incarnations: who crashes gets no more for it.

It is the outermost of all that stands around handlers (`PacedLookup`), before a message is
taken from those who wait for it: one that comes too soon goes back to the front of the inbox,
and the actor waits with nothing in hand. So a stop, a kill and the end of an ask come at once,
nothing is slow, and what is not handled any more uses up no turn. What comes meanwhile
waits in the inbox or at the broker, whose lease is renewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors._fixed import OWN_HANDLERS, AfterStart
from actors._items import INTERRUPT, Interrupt
from actors.delivery import InboxItem
from actors.handlers import Lookup
from actors.rules import count, need, number

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from actors._loop_slot import LoopSlot
    from actors.handlers import Handler

__all__ = ["Rate", "paced", "turn_at"]

#: Seconds by which a turn may be early: a timer that has waited for it sees a rounded time.
EARLY: Final = 1e-6
#: The items that are nobody's message.
_OWN_ITEMS: Final = frozenset({Interrupt, AfterStart})


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


def paced(lookup: Lookup, rate: Rate | None, unpaced: frozenset[Handler]) -> Lookup:
    """Return a lookup of the same handlers, each of which has its turn; without a rate itself.

    `unpaced`: those that only put a message aside.
    """
    return lookup if rate is None else PacedLookup(lookup, lookup, rate, unpaced | OWN_HANDLERS)


class PacedLookup(Lookup):
    """The handlers of an actor with a rate: `plain` ones, behind their turn.

    `named` has them as the class does, whatever stands around them, so that those which are
    `unpaced` are known.
    """

    __slots__ = ("_named", "_plain", "_rate", "_unpaced")

    def __init__(
        self, plain: Lookup, named: Lookup, rate: Rate, unpaced: frozenset[Handler]
    ) -> None:
        self._plain = plain
        self._named = named
        self._rate = rate
        self._unpaced = unpaced
        self.known = {}

    def __missing__(self, kind: type) -> Handler | None:
        handler: Handler | None = self._plain[kind]
        if handler is not None and self._named[kind] not in self._unpaced:
            handler = partial(_in_turn, self._rate, handler)
        elif handler is None and kind not in _OWN_ITEMS:
            handler = partial(_item_in_turn, self._rate, self._named, self._unpaced)
        self[kind] = self.known[kind] = handler
        return handler

    def around(self, each: Callable[[Handler], Handler], but: frozenset[type]) -> Lookup:
        """As of any lookup: what it makes stands within the turn."""
        return PacedLookup(self._plain.around(each, but), self._named, self._rate, self._unpaced)


def _in_turn(rate: Rate, handler: Handler, actor: Any, message: Any) -> Any:
    """Handle a message, if its turn has come."""
    slot: LoopSlot = actor._slot  # noqa: SLF001  # the attribute that actors keep for their slot
    attached, now = slot.attachments(), slot.system.now()
    turn, due = turn_at(attached.due, now, rate)
    if turn - now > EARLY:
        return _put_off(slot, turn - now)
    attached.due = due
    return handler(actor, message)


def _item_in_turn(
    rate: Rate, named: Lookup, unpaced: frozenset[Handler], actor: Any, item: InboxItem
) -> Any:
    """Handle an item; it is not even begun before the turn of its message has come."""
    slot: LoopSlot = actor._slot  # noqa: SLF001  # as above
    if named[type(item.message)] not in unpaced:
        now = slot.system.now()
        turn, _ = turn_at(slot.attachments().due, now, rate)
        if turn - now > EARLY:
            return _put_off(slot, turn - now)
    return slot.handle_wrapped(actor, item)


async def _put_off(slot: LoopSlot, delay: float) -> None:
    """Put what is in hand before all that waits, and wait with nothing in hand."""
    item = slot.current
    slot.taken, slot.current = True, None
    slot.handled -= 1
    if isinstance(item, InboxItem):
        item.stashed()
    turn = slot.system.loop.create_future()
    attached = slot.attachments()
    attached.wake = partial(_wake, turn)
    slot.inbox.appendleft(item)
    timer = slot.system.clock.call_later(delay, attached.wake)
    try:
        if slot.control:  # looked at last: who puts something there calls `wake` afterwards
            slot.inbox.appendleft(INTERRUPT)
        else:
            await turn
    finally:
        attached.wake = None
        timer.cancel()


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
