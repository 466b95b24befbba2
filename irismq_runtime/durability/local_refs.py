"""Refs to actors of this process, where there are durable actors: told and asked in order.

    in a handler of a durable actor   a tell reaches its actor with the commit of the handler, if
                                      that is ever made; an ask when what the actor did before
                                      is committed
    `outside()`                       both when what the actor did before is committed
    everywhere else                   as ever

What waits keeps what was in force where it was told, as its trace.

A system's refs become such when its first durable actor starts (`hold_refs`): until then its
tells look at nothing. Any thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors import ActorRef, Outcome
from actors.errors import ActorDeadError, MailboxFull
from actors.receipt import ACCEPTED, Receipt
from actors.runtime import slot_of
from irismq_runtime.durability.unit import Outside, current_unit, is_mine
from irismq_runtime.durability.waiting import activation_behind, when_committed

if TYPE_CHECKING:
    from actors import System
    from actors.ask import Ask

__all__ = ["hold_refs"]

_FULL: Final = "mailbox full"


class _InOrderRef(ActorRef[Any]):
    """See the module."""

    __slots__ = ()

    defers = True

    def tell(self, message: Any) -> Receipt | Any:  # type: ignore[override]  # Pykka's gives None
        """As `ActorRef.tell`; what waits for a commit is accepted all the same."""
        unit = current_unit.get()
        if unit is None:
            return super().tell(message)
        if isinstance(unit, Outside):
            activation = activation_behind()
            if activation is not None:
                when_committed(activation, partial(self._tell_late, message, self.carried(message)))
                return ACCEPTED
        elif is_mine(unit):
            unit.after.append(partial(self._tell_committed, message, self.carried(message)))
            return ACCEPTED
        return super().tell(message)

    def _tell_committed(self, message: Any, carried: Any, error: BaseException | None) -> None:
        if error is None:
            self._tell_late(message, carried)

    def _tell_late(self, message: Any, carried: Any) -> None:
        """Nobody is there any more to be told that it cannot be: then it is a dead letter."""
        try:
            super().tell(carried)
        except MailboxFull:
            slot_of(self).system.bury(message, self, _FULL)
        except ActorDeadError:
            return  # the dead slot has recorded it

    def enqueue(self, ask: Ask[Any]) -> None:
        """As `ActorRef.enqueue`."""
        activation = activation_behind()
        if activation is None:
            super().enqueue(ask)
        else:
            undone = partial(ask.fail, Outcome("cancelled"))
            when_committed(activation, partial(super().enqueue, ask), lambda _error: undone())


def hold_refs(system: System) -> None:
    """Let all refs of `system`, and those to come, be such. Loop thread. Idempotent."""
    plain = system.ref_class
    if not issubclass(plain, _InOrderRef):
        held = type("InOrderRef", (_InOrderRef, plain), {"__slots__": ()})
        system.ref_class = held
        for slot in system.slots():
            slot.ref.__class__ = held
