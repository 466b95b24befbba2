"""What a slot keeps beside its inbox: watchers, timers, the stash, promises.

Most actors have none of these, so a slot makes this on demand. What an
incarnation set up ends with it, in this order: its timers, its watches, the
stash (back to the front of the inbox, in order), the answers it has promised
(they fail, unless their deadlines came first), the callbacks that wait for its end.
Those who watch the slot stay until the slot has ended.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors._items import Stamped
from actors.delivery import Outcome
from actors.exits import Exit, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._slot import Slot
    from actors.clock import TimerHandle
    from actors.delivery import InboxItem
    from actors.ref import ActorRef

__all__ = ["Attachments"]


def _unanswered(exit_: Exit | None) -> Outcome:
    """What the asker learns when whoever promised an answer is gone."""
    if exit_ is not None and exit_.reason == "crash":
        return Outcome("crashed", error=exit_.error, exit=exit_)
    return Outcome("dead", exit=exit_)


class Attachments:
    """The attachments of one slot. Loop thread, except for the stash of a thread."""

    __slots__ = (
        "at_end",
        "batches",
        "due",
        "owned",
        "progress",
        "promises",
        "stash",
        "timers",
        "wake",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        #: Who wants to know of the end, and which incarnation of them.
        self.watchers: dict[ActorRef[Any], int] = {}
        #: Whose end this incarnation wants to know.
        self.watching: dict[Any, None] = {}
        self.timers: set[TimerHandle] = set()
        self.stash: deque[Any] = deque()
        #: See `turn_at` of _rates.py; of the slot, whatever its incarnations.
        self.due = 0.0
        #: Ends the wait for that turn, on the loop; None: nobody waits for one.
        self.wake: Callable[[], None] | None = None
        #: What handlers of batches have put aside, by handler; see _batches.py.
        self.batches: dict[Any, Any] = {}
        #: Requests that this incarnation has promised to answer later, each with the
        #: timer of its deadline; a local ask has none, for its system knows the deadline.
        self.promises: dict[InboxItem, TimerHandle | None] = {}
        #: How far the handler of a message says that it is: the message, and that in words.
        self.progress: tuple[Any, str] | None = None
        #: The supervisors that this incarnation has started, which end with it.
        self.owned: dict[Slot, None] = {}
        #: Called once when this incarnation is over.
        self.at_end: list[Callable[[], None]] = []

    def end_incarnation(self, slot: Slot) -> None:
        """The incarnation is over, as `slot.exit` says."""
        system = slot.system
        for timer in tuple(self.timers):
            timer.cancel()
        watching, self.watching = self.watching, {}
        for ref in watching:
            system.attempt(slot, ref.remove_watcher, slot.ref)
        batches, self.batches = self.batches, {}
        for aside in batches.values():
            aside.put_back()
        self.unstash(slot)
        promises, self.promises = self.promises, {}
        for item, due in promises.items():
            if due is not None:
                due.cancel()
            system.attempt(slot, item.fail, _unanswered(slot.exit))
        at_end, self.at_end = self.at_end, []
        for callback in at_end:
            system.attempt(slot, callback)

    def unstash(self, slot: Slot) -> None:
        """Put what was stashed before what waits, in the order of stashing."""
        while self.stash:
            slot.inbox.appendleft(self.stash.pop())

    def tell_watchers(self, ref: ActorRef[Any], exit_: Exit) -> None:
        """The slot has ended: each watcher is told once."""
        watchers, self.watchers = self.watchers, {}
        for watcher, incarnation in watchers.items():
            self.tell(watcher, ref, exit_, incarnation)

    @staticmethod
    def tell(watcher: ActorRef[Any], ref: ActorRef[Any], exit_: Exit, incarnation: int) -> None:
        """Put `Terminated` in the inbox of the watcher, full or not."""
        slot = watcher._slot  # noqa: SLF001  # a ref is a slot's address, of one package
        Attachments.forget(watcher, ref)
        if not slot.ended:
            slot.put_system(Stamped(slot, Terminated(ref, exit_), incarnation))

    @staticmethod
    def forget(watcher: ActorRef[Any], ref: object) -> None:
        """`ref` has ended: `watcher` does not watch it any more, and keeps nothing of it."""
        attached = watcher._slot.attached  # noqa: SLF001  # as above
        if attached is not None:
            attached.watching.pop(ref, None)
