"""The slots behind refs, for what is built on actors: supervisors, transports, observers.

An actor needs nothing of this. A supervisor makes slots and starts, stops and ends them;
a transport asks which actor sends; an observer reads what a slot is doing. All of it is
of the slot's loop thread unless it says otherwise. No other module of this package whose
name begins with an underscore is imported from outside (a test holds that).

    slot = runtime.new_slot(system, Worker, (1, 2), name="first", parent=supervisor_ref)
    slot.on_down = lambda slot, exit: ...   # an incarnation ended on its own
    await runtime.start(slot)               # StartFailed, ActorDeadError
    await runtime.stop(slot, "shutdown", timeout=5.0)
    await runtime.end(slot, slot.exit)      # nothing will run in it again

Of a `Slot` these may be read: `ref`, `urn`, `system`, `actor_class`, `actor` (None while
it is down), `state`, `exit`, `restarts`, `incarnation`, `handled`, `inbox` (its length),
`ended`, `ignored`, `attached`; and these set: `on_down`, `parent`, `retry_after`. Its
methods `make_exit` and `kill` are for supervisors too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._attachments import Attachments
from actors._current import current_slot
from actors._current_message import take_current
from actors._failure import is_crash, meant
from actors._forked import Gone
from actors._items import INTERRUPT
from actors._slot import Slot, SlotState
from actors._slot_kinds import new_slot
from actors._starting import start
from actors._stopping import end, end_now, exit_with, on_incarnation_end, stop
from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.errors import Refused
    from actors.ref import ActorRef

__all__ = [
    "Gone",
    "Slot",
    "SlotState",
    "current_slot",
    "end",
    "end_now",
    "exit_with",
    "forget_watched",
    "is_crash",
    "is_refusal",
    "new_slot",
    "on_incarnation_end",
    "owned_by",
    "progress_of",
    "put_back",
    "refuse_waiting",
    "slot_of",
    "start",
    "stop",
    "take_current",
]


def slot_of(ref: ActorRef[Any]) -> Slot:
    """Return the slot that a local ref points to. Any thread.

    Args:
        ref: A ref of this process; those of other nodes have no slot here.

    Returns:
        The slot, the same for the whole life of the ref.
    """
    return ref._slot  # noqa: SLF001  # this is the door to it


def owned_by(slot: Slot) -> list[Slot]:
    """Return the slots of the supervisors that this actor has started itself. Any thread."""
    if slot.attached is None:
        return []
    return [one for one in tuple(slot.attached.owned) if not one.ended]


def progress_of(slot: Slot) -> str:
    """Return how far the handler that runs says that it is; "" for nothing. Any thread.

    Args:
        slot: Whose handler it is.
    """
    attached = slot.attached
    said = None if attached is None else attached.progress
    return "" if said is None or said[0] is not slot.current else said[1]


def refuse_waiting(slot: Slot, kind: type, error: Refused) -> None:
    """Answer what waits in the inbox of one class before its turn comes.

    Args:
        slot: Whose inbox it is.
        kind: The class of the messages.
        error: What their askers get.
    """
    for item in tuple(slot.inbox):
        if isinstance(item, InboxItem) and isinstance(item.message, kind):
            item.fail(Outcome("refused", error=error))


def forget_watched(watcher: ActorRef[Any], ref: object) -> None:
    """Keep nothing more of `ref`, which `watcher` watched and which has ended.

    For refs of another kind, whose own code sends `Terminated`.
    """
    Attachments.forget(watcher, ref)


def is_refusal(slot: Slot, error: BaseException) -> bool:
    """Whether what left a handler means that it refuses: `Refused`, or what `refuses` names.

    Args:
        slot: Whose handler it was.
        error: What left it.
    """
    outcome = meant(slot, slot.actor, error)
    return outcome is not None and outcome.kind == "refused"


def put_back(slot: Slot, items: Sequence[Any]) -> None:
    """Put messages that were in hand to the front of the inbox, full or not. Loop thread.

    Args:
        slot: Whose messages they were; one that has ended makes dead letters of them.
        items: The messages as they stood in the inbox, in the order in which they came.
    """
    if slot.ended:
        for item in items:
            slot.system.attempt(slot, slot.undeliverable, item)
        return
    slot.inbox.extendleft(reversed(items))
    if slot.control:
        slot.inbox.appendleft(INTERRUPT)
    if not slot.scheduled:
        slot.schedule()
