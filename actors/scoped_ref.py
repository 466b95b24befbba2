"""A ref through which local tells and asks take along what is in force where they are made.

Used by a system in which something has to be carried (`System.carry`), as the
trace of a message. Other systems have plain refs, whose hot paths know nothing of
it. What is carried is in force while the handler runs; see `Scope`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actors._parcels import Again
from actors.ask import Ask
from actors.context import EMPTY, Context
from actors.delivery import ScopedParcel
from actors.receipt import ACCEPTED, Receipt
from actors.ref import ActorRef

if TYPE_CHECKING:
    from actors.delivery import Scope

__all__ = ["ScopedRef"]

A = TypeVar("A")
T = TypeVar("T")


class _ScopedTell(ScopedParcel, Again):
    """A plain tell that carries something."""

    __slots__ = ("scope",)

    def context(self) -> Context:
        """As a plain tell has it, the first time."""
        return EMPTY if self.attempt == 1 else super().context()


class _ScopedAsk(ScopedParcel, Ask[T]):
    """An ask that carries something."""

    __slots__ = ("scope",)


class ScopedRef(ActorRef[A]):
    """See the module."""

    __slots__ = ()

    def tell(self, message: Any) -> Receipt:  # type: ignore[override]  # Pykka's gives None
        """As `ActorRef.tell`."""
        cell = self._cell
        scope: Scope | None = cell.system.scope_here()
        if scope is None:
            return super().tell(message)
        if len(cell.inbox) >= cell.limit:
            cell.refuse(message)
        parcel = _ScopedTell(cell, message, 1)
        parcel.scope = scope
        cell.inbox.append(parcel)
        if not cell.scheduled:
            cell.schedule()
        return ACCEPTED

    def _make_ask(self, *arguments: Any) -> Ask[Any]:
        scope = self._cell.system.scope_here()
        if scope is None:
            return Ask(*arguments)
        ask: _ScopedAsk[Any] = _ScopedAsk(*arguments)
        ask.scope = scope
        return ask
