"""The message in hand, and what its handler may do with it.

A handler may look at the context, put the message aside, pass it on to another
actor, or promise an answer for later. In the last three cases it is `taken`
out of the slot's hands, and the slot then neither answers nor buries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._bystanders import Bystanders
from actors._failure import tell_ended
from actors._mailbox import Mailbox
from actors.ask import Ask
from actors.context import EMPTY, Context
from actors.delivery import Delivery, Outcome, Parcel
from actors.errors import ActorDeadError, MailboxFull, StashFull
from actors.exits import Exit
from actors.texts import class_name

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["InHand"]


class InHand(Mailbox):
    """A mailbox one of whose messages is being handled."""

    __slots__ = ("bystanders", "handled", "taken")

    def __init__(self, system: System, actor_class: type) -> None:
        super().__init__(system, actor_class)
        #: Messages that its handlers have taken, in all incarnations.
        self.handled = 0
        #: True once the handler of the message in hand has taken it over.
        self.taken = False
        self.bystanders: Bystanders | None = None

    def message_context(self) -> Context:
        """The context of the message in hand."""
        item = self.in_hand
        return item.context() if isinstance(item, Parcel) else EMPTY

    def asking_chain(self) -> tuple[str, ...]:
        """The asks that wait for the code that runs now, this actor last."""
        item = self.in_hand
        if item is None:
            return ()
        return (*item.chain(), self.urn) if isinstance(item, Parcel) else (self.urn,)

    def message_type(self) -> str | None:
        """The name of the class of the message in hand."""
        item = self.in_hand
        if item is None:
            return None
        return class_name(item.message if isinstance(item, Parcel) else item)

    def whereabouts(self, ask: Ask[Any]) -> str:
        """Where an unanswered ask is now, for the text of its timeout."""
        if self.in_hand is ask:
            return "its handler is running"
        if self.down and not self.ended:
            return "the actor is restarting" if self.exit else "the actor has not started"
        if any(item is ask for item in tuple(self.inbox)):
            return f"waiting in the inbox, {len(self.inbox)} messages there"
        return "put aside, passed on or promised by its handler"

    # -- taking it over

    def take_in_hand(self) -> Parcel | None:
        """Take the parcel in hand over; whoever takes it answers it.

        None when nobody waits for an answer (a plain tell).
        """
        item = self.in_hand
        if not isinstance(item, Ask | Delivery) or self.taken:
            return None
        self.taken = True
        return item

    def put_aside(self) -> None:
        """Stash the message in hand. Raises `StashFull`, or RuntimeError without one."""
        item = self.in_hand
        if item is None or self.taken:
            raise RuntimeError("stash() puts the message in hand aside, and there is none in hand")
        stash = self.company().stash
        limit = getattr(self.actor_class, "stash_limit", 1000)
        if len(stash) >= limit:
            raise StashFull(self.ref, limit)
        self.taken = True
        stash.append(item)
        if isinstance(item, Parcel):
            item.put_aside()

    def pass_on(self, ref: ActorRef[Any]) -> None:
        """Give the message in hand to `ref`, with whoever waits for its answer."""
        item = self.in_hand
        if item is None or self.taken:
            raise RuntimeError("forward() passes the message in hand on, and there is none in hand")
        self.taken = True
        if isinstance(item, Ask | Delivery):
            ref._slot.put_parcel(item)  # noqa: SLF001  # refs and slots are one module in two files
            return
        message = item.message if isinstance(item, Parcel) else item
        try:
            ref.tell(message)
        except MailboxFull:
            self.system.dead_letters.record(message, ref, "mailbox full")
        except ActorDeadError:
            # The dead slot has recorded it.
            return

    def promise(self) -> Parcel | None:
        """Take the message in hand over, to be answered later by this incarnation."""
        parcel = self.take_in_hand()
        if parcel is not None:
            self.company().owed[parcel] = None
            parcel.promised()
            if isinstance(parcel, Ask):
                if parcel.done():  # its end came first, and has found no promise
                    self.keep_promise(parcel)
            elif isinstance(parcel, Delivery) and parcel.deadline is not None:
                self.system.call_on_loop(self._expect, parcel, parcel.deadline)
        return parcel

    def _expect(self, parcel: Parcel, deadline: float) -> None:
        """End the promise at `deadline`; of a local ask the system knows that by itself."""
        owed = self.company().owed
        if parcel in owed:
            clock = self.system.clock
            delay = max(0.0, deadline - clock.monotonic())
            owed[parcel] = clock.call_later(delay, self._overdue, parcel)

    def _overdue(self, parcel: Parcel) -> None:
        if self.keep_promise(parcel):
            self.system.counters.expired += 1
            parcel.fail(Outcome("expired"))

    def keep_promise(self, parcel: Parcel) -> bool:
        """The promise ends, as the answer is about to be given, or nobody waits any more.

        False when it has ended before. Any thread.
        """
        if self.bystanders is None:
            return False
        try:
            timer = self.bystanders.owed.pop(parcel)
        except KeyError:
            return False
        if timer is not None:
            self.system.call_on_loop(timer.cancel)
        return True

    def cancel_in_hand(self, parcel: Parcel) -> bool:  # noqa: ARG002  # subclasses look at it
        """Cancel the handler of `parcel` if it runs and can be interrupted."""
        return False

    # -- failing

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None) -> None:
        """A wrapped tell was not handled to its end."""
        tell_ended(self, message, outcome, attempt)

    def unhandled(self, message: Any) -> None:
        """No handler takes `message`: a plain tell is buried, others are told by a refusal."""
        if not isinstance(self.in_hand, Ask | Delivery):
            self.system.dead_letters.record(message, self.ref, "unhandled")
        self.system.report_unhandled(self, message)

    # -- those who stand around

    def company(self) -> Bystanders:
        """The watchers, timers and stash of the slot; made on demand."""
        if self.bystanders is None:
            self.bystanders = Bystanders()
        return self.bystanders

    def add_watcher(self, watcher: ActorRef[Any], incarnation: int) -> None:
        """Send `Terminated` to that incarnation of `watcher` at the end. Loop thread."""
        if self.ended:
            exit_ = self.exit or Exit("noproc")
            Bystanders.tell(watcher, self.ref, exit_, incarnation)
        else:
            self.company().watchers[watcher] = incarnation

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back. Loop thread."""
        if self.bystanders is not None:
            self.bystanders.watchers.pop(watcher, None)
