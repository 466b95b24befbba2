"""The message in hand, and what its handler may do with it.

A handler may look at the context, put the message aside, pass it on to another
actor, or promise an answer for later. In the last three cases it is `taken`
out of the slot's hands, and the slot then neither answers nor buries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._attachments import Attachments
from actors._failure import tell_ended
from actors._mailbox import Mailbox
from actors.ask import Ask
from actors.context import EMPTY, Context
from actors.delivery import Delivery, InboxItem, Outcome
from actors.errors import ActorDeadError, MailboxFull, StashFull
from actors.exits import Exit
from actors.texts import class_name

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["InHand"]


class InHand(Mailbox):
    """A mailbox one of whose messages is being handled."""

    __slots__ = ("attached", "handled", "taken")

    def __init__(self, system: System, actor_class: type) -> None:
        super().__init__(system, actor_class)
        #: Messages that its handlers have taken, in all incarnations.
        self.handled = 0
        #: True once the handler of the message in hand has taken it over.
        self.taken = False
        self.attached: Attachments | None = None

    def message_context(self) -> Context:
        """The context of the message in hand."""
        item = self.current
        return item.context() if isinstance(item, InboxItem) else EMPTY

    def asking_chain(self) -> tuple[str, ...]:
        """The asks that wait for the code that runs now, this actor last."""
        item = self.current
        if item is None:
            return ()
        return (*item.chain(), self.urn) if isinstance(item, InboxItem) else (self.urn,)

    def message_type(self) -> str | None:
        """The name of the class of the message in hand."""
        item = self.current
        if item is None:
            return None
        return class_name(item.message if isinstance(item, InboxItem) else item)

    def whereabouts(self, ask: Ask[Any]) -> str:
        """Where an unanswered ask is now, for the text of its timeout."""
        if self.current is ask:
            return "its handler is running"
        if self.down and not self.ended:
            return "the actor is restarting" if self.exit else "the actor has not started"
        if any(item is ask for item in tuple(self.inbox)):
            return f"waiting in the inbox, {len(self.inbox)} messages there"
        return "put aside, passed on or promised by its handler"

    # -- taking it over

    def take_current(self) -> InboxItem | None:
        """Take the item in hand over; whoever takes it answers it.

        None when nobody waits for an answer (a plain tell).
        """
        item = self.current
        if not isinstance(item, Ask | Delivery) or self.taken:
            return None
        self.taken = True
        return item

    def put_aside(self) -> None:
        """Stash the message in hand. Raises `StashFull`, or RuntimeError without one."""
        item = self.current
        if item is None or self.taken:
            raise RuntimeError("stash() puts the message in hand aside, and no message is in hand")
        stash = self.attachments().stash
        limit = getattr(self.actor_class, "stash_limit", 1000)
        if len(stash) >= limit:
            raise StashFull(self.ref, limit)
        self.taken = True
        stash.append(item)
        if isinstance(item, InboxItem):
            item.put_aside()

    def pass_on(self, ref: ActorRef[Any]) -> None:
        """Give the message in hand to `ref`, with whoever waits for its answer."""
        item = self.current
        if item is None or self.taken:
            raise RuntimeError("forward() passes the message in hand on, and no message is in hand")
        self.taken = True
        if isinstance(item, Ask | Delivery):
            ref._slot.put_forwarded(item)  # noqa: SLF001  # refs and slots are one module in two files
            return
        message = item.message if isinstance(item, InboxItem) else item
        try:
            ref.tell(message)
        except MailboxFull:
            self.system.dead_letters.record(message, ref, "mailbox full")
        except ActorDeadError:
            # The dead slot has recorded it.
            return

    def promise(self) -> InboxItem | None:
        """Take the message in hand over, to be answered later by this incarnation."""
        item = self.take_current()
        if item is not None:
            self.attachments().promises[item] = None
            item.promised()
            if isinstance(item, Ask):
                if item.done():  # its end came first, and has found no promise
                    self.keep_promise(item)
            elif isinstance(item, Delivery) and item.deadline is not None:
                self.system.call_on_loop(self._expect, item, item.deadline)
        return item

    def _expect(self, item: InboxItem, deadline: float) -> None:
        """End the promise at `deadline`; of a local ask the system knows that by itself."""
        promises = self.attachments().promises
        if item in promises:
            clock = self.system.clock
            delay = max(0.0, deadline - clock.monotonic())
            promises[item] = clock.call_later(delay, self._overdue, item)

    def _overdue(self, item: InboxItem) -> None:
        if self.keep_promise(item):
            self.system.counters.expired += 1
            item.fail(Outcome("expired"))

    def keep_promise(self, item: InboxItem) -> bool:
        """The promise ends, as the answer is about to be given, or nobody waits any more.

        False when it has ended before. Any thread.
        """
        if self.attached is None:
            return False
        try:
            timer = self.attached.promises.pop(item)
        except KeyError:
            return False
        if timer is not None:
            self.system.call_on_loop(timer.cancel)
        return True

    def cancel_current(self, item: InboxItem) -> bool:  # noqa: ARG002  # subclasses look at it
        """Cancel the handler of `item` if it runs and can be interrupted."""
        return False

    # -- failing

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None) -> None:
        """A wrapped tell was not handled to its end."""
        tell_ended(self, message, outcome, attempt)

    def unhandled(self, message: Any) -> None:
        """No handler takes `message`: a plain tell is buried, others are told by a refusal."""
        if not isinstance(self.current, Ask | Delivery):
            self.system.dead_letters.record(message, self.ref, "unhandled")
        self.system.report_unhandled(self, message)

    # -- those who stand around

    def attachments(self) -> Attachments:
        """The watchers, timers and stash of the slot; made on demand."""
        if self.attached is None:
            self.attached = Attachments()
        return self.attached

    def add_watcher(self, watcher: ActorRef[Any], incarnation: int) -> None:
        """Send `Terminated` to that incarnation of `watcher` at the end. Loop thread."""
        if self.ended:
            exit_ = self.exit or Exit("noproc")
            Attachments.tell(watcher, self.ref, exit_, incarnation)
        else:
            self.attachments().watchers[watcher] = incarnation

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back. Loop thread."""
        if self.attached is not None:
            self.attached.watchers.pop(watcher, None)
