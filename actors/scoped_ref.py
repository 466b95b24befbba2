"""A ref whose tells and asks carry along what is in force where they are made, as a trace.

Used by a system in which something has to be carried (`System.propagate_context`), as the
trace of a message. Other systems have plain refs, whose hot paths know nothing of
it. What is carried is in force while the handler runs; see `Scope`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from actors._items import Again
from actors.ask import Ask
from actors.context import EMPTY, Context
from actors.delivery import ScopedItem
from actors.receipt import ACCEPTED, Receipt
from actors.ref import ActorRef

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from actors.delivery import Scope

__all__ = ["ScopedRef", "scoped_ref"]

A = TypeVar("A")
T = TypeVar("T")


class _ScopedTell(ScopedItem, Again):
    """A plain tell that carries something."""

    __slots__ = ("scope",)

    def context(self) -> Context:
        """As a plain tell has it, the first time."""
        return EMPTY if self.attempt == 1 else super().context()


class _ScopedAsk(ScopedItem, Ask[T]):
    """An ask that carries something."""

    __slots__ = ("scope",)


class ScopedRef(ActorRef[A]):
    """See the module. A system has a subclass of its own, which `scoped_ref` makes."""

    __slots__ = ()

    #: What is in force in handlers now. Tells look at it first: they are too quick
    #: for more, so one that is made outside of every handler carries nothing.
    in_force: ClassVar[Collection[object]] = ()

    @staticmethod
    def scope_here() -> Scope | None:
        """What is in force where it is called."""
        return None

    def tell(self, message: Any) -> Receipt:  # type: ignore[override]  # Pykka's gives None
        """As `ActorRef.tell`."""
        slot = self._slot
        inbox = slot.inbox
        if self.in_force and type(message) is not _ScopedTell:
            message = self._scoped(message)
        if len(inbox) >= slot.limit:
            slot.refuse(message.message if type(message) is _ScopedTell else message)
        inbox.append(message)
        if not slot.scheduled:
            slot.schedule()
        return ACCEPTED

    def carried(self, message: Any) -> Any:
        """As `ActorRef.carried`: with what is in force here."""
        return self._scoped(message) if self.in_force else message

    def _scoped(self, message: Any) -> Any:
        scope = self.scope_here()
        if scope is None:
            return message
        item = _ScopedTell(self._slot, message, 1)
        item.scope = scope
        return item

    def _make_ask(self, *arguments: Any) -> Ask[Any]:
        scope = self.scope_here()
        if scope is None:
            return Ask(*arguments)
        ask: _ScopedAsk[Any] = _ScopedAsk(*arguments)
        ask.scope = scope
        return ask


def scoped_ref(
    scope_here: Callable[[], Scope | None], in_force: Collection[object]
) -> type[ScopedRef[Any]]:
    """The class of the refs of one system; see `System.propagate_context`."""
    names = {
        "__slots__": (),
        "__module__": ScopedRef.__module__,
        "in_force": in_force,
        "scope_here": staticmethod(scope_here),
    }
    return type("ScopedRef", (ScopedRef,), names)
