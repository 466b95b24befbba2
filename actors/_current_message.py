"""What a handler may do with its message besides returning: functions that take a slot.

It may put the message aside (`stash`), pass it on to another actor (`forward`), promise
an answer for later (`reply_later`), or take it over altogether (a supervisor answers a
request when the child has started). The message is then `taken`: when the handler
returns, the slot neither answers nor buries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._batches import BatchItem
from actors.ask import Ask
from actors.delivery import Delivery, InboxItem, Outcome
from actors.errors import ActorDeadError, MailboxFull, StashFull

if TYPE_CHECKING:
    from actors._slot import Slot
    from actors.ref import ActorRef

__all__ = [
    "forward_current",
    "promise_current",
    "stash_current",
    "take_current",
    "unhandled",
]


def take_current(slot: Slot) -> InboxItem | None:
    """Take the current message over; who takes it answers it with `reply` or `fail`.

    Returns:
        The message with whoever waits for its answer. None when nobody does (a plain
        tell), or it is taken already.
    """
    item = slot.current
    if not isinstance(item, Ask | Delivery) or slot.taken:
        return None
    slot.taken = True
    return item


def stash_current(slot: Slot) -> None:
    """Put the current message aside. Raises `StashFull`, or RuntimeError without one."""
    item = slot.current
    if item is None or slot.taken:
        raise RuntimeError("stash() puts the message in hand aside, and no message is in hand")
    stash = slot.attachments().stash
    limit = getattr(slot.actor_class, "stash_limit", 1000)
    if len(stash) >= limit:
        raise StashFull(slot.ref, limit)
    slot.taken = True
    stash.append(item)
    if isinstance(item, InboxItem):
        item.stashed()


def forward_current(slot: Slot, ref: ActorRef[Any]) -> None:
    """Give the current message to `ref`, with whoever waits for its answer."""
    item = slot.current
    if item is None or slot.taken:
        raise RuntimeError("forward() passes the message in hand on, and no message is in hand")
    slot.taken = True
    for each in item.apart() if isinstance(item, BatchItem) else (item,):
        _forward(slot, ref, each)


def _forward(slot: Slot, ref: ActorRef[Any], item: Any) -> None:
    if isinstance(item, Ask | Delivery):
        ref._slot.put_forwarded(item)  # noqa: SLF001  # a ref is a slot's address, of one package
        return
    message = item.message if isinstance(item, InboxItem) else item
    try:
        ref.tell(message)
    except MailboxFull:
        slot.system.bury(message, ref, "mailbox full")
    except ActorDeadError:
        # The dead slot has recorded it.
        return


def promise_current(slot: Slot) -> InboxItem | None:
    """Take the current message over, to be answered later by this incarnation.

    A promise ends once (`Slot.keep_promise`): with the answer, with the deadline, or
    with the incarnation. None when nobody waits for an answer. Raises RuntimeError in a
    handler of a batch, where it could be the answer of any.
    """
    if isinstance(slot.current, BatchItem):
        raise RuntimeError(  # noqa: TRY004  # as forward() and stash() without a message in hand
            "reply_later() promises the answer of the one message in hand, and here is a batch: "
            "return a list with an answer for each, or take @receives(..., batch=) away"
        )
    item = take_current(slot)
    if item is not None:
        slot.attachments().promises[item] = None
        item.promised()
        if isinstance(item, Ask):
            # The system knows the deadline of a local ask.
            if item.done():  # its end came first, and has found no promise
                slot.keep_promise(item)
        elif isinstance(item, Delivery) and item.deadline is not None:
            slot.system.call_on_loop(_expect, slot, item, item.deadline)
    return item


def _expect(slot: Slot, item: InboxItem, deadline: float) -> None:
    """End the promise at `deadline`, on the system's monotonic clock."""
    promises = slot.attachments().promises
    if item in promises:
        clock = slot.system.clock
        delay = max(0.0, deadline - clock.monotonic())
        promises[item] = clock.call_later(delay, _overdue, slot, item)


def _overdue(slot: Slot, item: InboxItem) -> None:
    if slot.keep_promise(item):
        slot.system.counters.expired += 1
        item.fail(Outcome("expired"))


def unhandled(slot: Slot, message: Any) -> None:
    """No handler takes `message`: a plain tell is buried, others are told by a refusal."""
    if not isinstance(slot.current, Ask | Delivery):
        slot.system.bury(message, slot.ref, "unhandled")
    slot.system.report_unhandled(slot, message)
