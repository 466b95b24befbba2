"""The runtime's own wrappers around local messages.

`Again` is a tell that comes once more (a retry, or a redelivery after a crash).
`Stamped` belongs to one incarnation: a timer's message, or word of a death that
this incarnation watched. A later incarnation never sees it. `Internal` items
are nobody's message: `INTERRUPT` stands before what waits when there is
something in the control lane or the handlers have changed, so that the hot path
need not look at these for each message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.context import EMPTY, Context
from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from actors._slot_view import SlotView

__all__ = ["INTERRUPT", "Again", "Internal", "Interrupt", "Stamped"]


class Again(InboxItem):
    """A plain tell on its second or later attempt."""

    __slots__ = ("_slot", "attempt", "message")

    def __init__(self, slot: SlotView, message: Any, attempt: int) -> None:
        self._slot = slot
        self.message = message
        self.attempt = attempt

    def admit(self, slot: SlotView) -> bool:  # noqa: ARG002  # every item has the parameter
        """Always worth it."""
        return True

    def context(self) -> Context:
        """A context that counts the attempt."""
        return Context(attempt=self.attempt)

    def reply(self, value: Any) -> None:
        """Nobody waits."""

    def fail(self, outcome: Outcome) -> None:
        """As a plain tell ends."""
        self._slot.tell_failed(self.message, outcome, self.attempt)


class Stamped(InboxItem):
    """A message for one incarnation."""

    __slots__ = ("_slot", "incarnation", "message")

    def __init__(self, slot: SlotView, message: Any, incarnation: int) -> None:
        self._slot = slot
        self.message = message
        self.incarnation = incarnation

    def admit(self, slot: SlotView) -> bool:
        """Only for the incarnation it was meant for; a stale one is recorded."""
        if self.incarnation == slot.incarnation:
            return True
        slot.system.bury(self.message, slot.ref, "of an earlier incarnation")
        return False

    def context(self) -> Context:
        """Nothing is known of it."""
        return EMPTY

    def reply(self, value: Any) -> None:
        """Nobody waits."""

    def fail(self, outcome: Outcome) -> None:
        """As a plain tell ends, but never again in another incarnation."""
        self._slot.tell_failed(self.message, outcome, None)


class Internal(InboxItem):
    """Something that the runtime puts in an inbox for itself."""

    __slots__ = ()

    message: Any = None

    def admit(self, slot: SlotView) -> bool:  # noqa: ARG002  # every item has the parameter
        """There is nothing to handle."""
        return False

    def context(self) -> Context:
        """Nothing is known of it."""
        return EMPTY

    def reply(self, value: Any) -> None:
        """Nobody waits."""

    def fail(self, outcome: Outcome) -> None:
        """There is no message to keep."""


class Interrupt(Internal):
    """Look at the control lane and at the handlers before you go on."""

    __slots__ = ()


INTERRUPT: Final = Interrupt()
