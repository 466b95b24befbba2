"""Pykka's view of an inbox, over a slot.

Code written for Pykka may hold `ref.actor_inbox` and put envelopes there. They
join the mailbox like any other message, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.ask import error_for_caller
from actors.context import EMPTY, Context
from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from actors._slot_view import SlotView

__all__ = ["PykkaInbox", "PykkaItem"]


class PykkaItem(InboxItem):
    """An envelope of Pykka's: a message, and perhaps a future for the answer."""

    __slots__ = ("_reply_to", "_slot", "message")

    def __init__(self, slot: SlotView, envelope: Any) -> None:
        self._slot = slot
        self.message = envelope.message
        self._reply_to = envelope.reply_to

    def admit(self, slot: Any) -> bool:  # noqa: ARG002  # every item has the parameter
        """Always: Pykka's asks have no deadline."""
        return True

    def context(self) -> Context:
        """Nothing is known of it."""
        return EMPTY

    def reply(self, value: Any) -> None:
        """Answer the future, if there is one."""
        if self._reply_to is not None:
            self._reply_to.set(value)

    def fail(self, outcome: Outcome) -> None:
        """Fail the future, if there is one."""
        if self._reply_to is None:
            self._slot.tell_failed(self.message, outcome, None)
            return
        error = error_for_caller(self._slot.ref, outcome)
        self._reply_to.set_exception((type(error), error, error.__traceback__))


class PykkaInbox:
    """`put`, `get` and `empty`, as Pykka's inboxes have them."""

    __slots__ = ("_slot",)

    def __init__(self, slot: SlotView) -> None:
        self._slot = slot

    def put(self, envelope: Any) -> None:
        """Add an envelope. Raises what `tell` raises. Any thread."""
        self._slot.ref.tell(PykkaItem(self._slot, envelope))

    def get(self) -> Any:
        """The runtime takes messages itself; nobody else may."""
        raise TypeError("only the runtime takes messages out of an actor's inbox")

    def empty(self) -> bool:
        """True when nothing waits."""
        return not self._slot.inbox
