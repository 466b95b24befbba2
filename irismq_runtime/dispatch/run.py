"""One message in the inbox or in its handler, and the deliveries it came by.

A message may come again while it is here. When the lease of the delivery it came
by is lost, the new one takes its place. When it is not, there are copies: the
message is kept by several brokers, and each of them gave it out. All copies are
claimed with the first and end as it does, so that none is held for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors import Context, Outcome
    from irismq_runtime.dispatch.stored import StoredDispatch
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = ["Run"]


class Run:
    """See the module. `allowed`: deliveries after which a failure is the last."""

    __slots__ = ("allowed", "begun", "context", "copies", "dispatch", "envelope", "gone", "stored")

    def __init__(
        self,
        dispatch: StoredDispatch,
        stored: StoredMessage,
        envelope: Envelope | None,
        context: Context,
        allowed: int,
    ) -> None:
        self.dispatch = dispatch
        self.stored = stored
        #: Further deliveries of the same envelope, by other brokers.
        self.copies: tuple[StoredMessage, ...] = ()
        self.envelope = envelope
        self.context = context
        self.allowed = allowed
        #: The handler runs, or has run.
        self.begun = False
        #: The claim failed: the broker has the message, the handler did not run.
        self.gone = False

    def begin(self) -> bool:
        """Called right before the handler runs; False keeps it from running."""
        claim = self.dispatch.claim
        self.begun = claim(self.stored)
        for copy in self.copies:
            if claim(copy) and not self.begun:
                self.stored, self.begun = copy, True
        self.gone = not self.begun
        return self.begun

    def done(self, outcome: Outcome) -> None:
        """Called once, with the end of it."""
        self.dispatch.settle(self, outcome)

    def again(self, stored: StoredMessage) -> bool:
        """The same message was given out again; True when that is one more copy."""
        copy = not self.stored.lease_lost
        if copy:
            self.copies += (stored,)
        else:
            self.stored = stored
            stored.on_lease_lost = self.lease_lost
        if self.begun:
            self.dispatch.claim(stored)
        return copy

    def lease_lost(self) -> None:
        """Tell the handler through its context."""
        self.context.lease_lost = True
        self.dispatch.lease_lost(self)
