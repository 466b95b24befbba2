"""The unit: what one message of a durable actor does, all of it or nothing.

    begun -> open: the handler runs, what it tells is kept here
          -> returned: state encoded, waits for its commit
          -> dropped: the handler ended in any other way, nothing of it is kept
          -> done: committed, or undone by another activation's commit

Which unit code belongs to is a context variable, so that the tasks which a handler makes
are known as well, also when they outlive it. Knows no store; loop thread, but for what a
handler tells from a thread that it waits for.
"""

from __future__ import annotations

import enum
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from actors import Delivery
from actors.ask import Ask
from actors.runtime import current_slot
from irismq_runtime.durability.errors import NotInUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports.state_store import KeptResult, Right, StagedMessage, StoreTransaction

__all__ = [
    "Outside",
    "Unit",
    "UnitState",
    "address_in_force",
    "current_unit",
    "engine_in_force",
    "is_answered",
    "is_durable",
    "is_mine",
    "outside",
    "unit_in_force",
]


class UnitState(enum.Enum):
    """Where a unit is in its life."""

    OPEN = "open"
    RETURNED = "returned"
    DROPPED = "dropped"
    DONE = "done"


class Unit:
    """What one message does.

    Attributes:
        item: The message as it stood in the inbox; None for one that the runtime began.
        right: What has to be taken so that it counts; None: it has no identity.
        state: The bytes of the state after it, once it has returned.
        staged: What was told, as rows of the outbox.
    """

    __slots__ = (
        "after",
        "change",
        "ended",
        "generation",
        "item",
        "life",
        "question",
        "refusal",
        "result",
        "right",
        "spoiled",
        "staged",
        "transaction",
        "uses_sql",
        "waits",
    )

    def __init__(self, item: Any, right: Right | None, generation: int) -> None:
        self.item = item
        self.right = right
        #: Which load of the state it rests on.
        self.generation = generation
        self.life = UnitState.OPEN
        self.staged: list[StagedMessage] = []
        #: What the commit does to the state; None: nothing.
        self.change: Any = None
        #: Called with None when it is committed, with an error when it never will be.
        self.after: list[Callable[[BaseException | None], object]] = []
        #: That end, once it is known.
        self.ended: tuple[BaseException | None] | None = None
        #: The id and the digest of an ask that has one.
        self.question: tuple[str, bytes] | None = None
        #: What the handler refused, where that is what is committed.
        self.refusal: BaseException | None = None
        #: What is kept of it for who waits for its result.
        self.result: KeptResult | None = None
        #: The transaction of `self.sql()`, once the handler has one,
        self.transaction: StoreTransaction | None = None
        self.uses_sql = False
        #: and the first error in it.
        self.spoiled: BaseException | None = None
        #: Whoever waits for an answer, and the answer; None: nobody does.
        self.waits: tuple[Any, Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it that a store would keep."""
        return self.change is None and self.right is None and not self.staged

    def drop(self) -> None:
        """The handler ended in another way than by returning."""
        self.life = UnitState.DROPPED
        self.staged.clear()
        self.end(NotInUnit("what was told by a handler that did not return"))

    def end(self, error: BaseException | None) -> None:
        """It is known what became of it: tell those who wait."""
        if error is None:
            self.life = UnitState.DONE
        if self.ended is None:
            self.ended = (error,)
        after, self.after = self.after, []
        for callback in after:
            callback(error)


class Outside:
    """Stands for a unit where code has said that it goes past the outbox.

    Attributes:
        unit: The one whose handler said so, if it was one.
    """

    __slots__ = ("unit",)

    def __init__(self, unit: Unit | None) -> None:
        self.unit = unit


#: The unit that the running code belongs to.
current_unit: Final[ContextVar[Unit | Outside | None]] = ContextVar(
    "irismq.current_unit", default=None
)


@contextmanager
def outside() -> Iterator[None]:
    """Go past the outbox: what is told inside leaves at once, whatever becomes of the handler.

        with outside():
            await self.audit.tell(Tried(order.id))

    What the actor did before, in its earlier messages, is committed first. It may leave for a
    change that is never committed, and again when the message is handled again. In a task that
    outlives its handler it is the only way to tell.
    """
    now = current_unit.get()
    token = current_unit.set(Outside(now.unit if isinstance(now, Outside) else now))
    try:
        yield
    finally:
        current_unit.reset(token)


def is_answered(item: Any) -> bool:
    """Whether somebody waits for the end of `item`: who asked, or the broker."""
    return isinstance(item, Ask | Delivery)


def is_durable(actor: object) -> bool:
    """Whether this is an instance of a durable class."""
    return getattr(type(actor), "__durable__", False)


def unit_in_force(what: str) -> Unit | None:
    """Return the unit of the running code; None: it is of no durable actor, or outside.

    Args:
        what: What is about to be done, for the text of the error.

    Raises:
        NotInUnit: It is code of a durable actor, and no handler of it runs it.
    """
    slot = current_slot.get()
    if slot is None or not is_durable(slot.actor):
        return None
    unit = current_unit.get()
    if isinstance(unit, Outside):
        return None
    if unit is None or not _is_open_in(unit, slot):
        raise NotInUnit(what)
    return unit


def is_mine(unit: Unit) -> bool:
    """Whether the handler of `unit` is the running code, or has not ended beside it.

    The context of a handler goes on into what it starts, which may be another actor.
    """
    slot = current_slot.get()
    return slot is not None and is_durable(slot.actor) and _is_open_in(unit, slot)


def _is_open_in(unit: Unit, slot: Any) -> bool:
    activation: Activation | None = slot.actor.__activation__
    return unit.life is UnitState.OPEN and activation is not None and activation.open is unit


def address_in_force() -> str:
    """The address of the durable actor whose code runs."""
    slot: Any = current_slot.get()
    address: str = slot.actor.__activation__.key.address
    return address


def engine_in_force() -> DurableEngine:
    """The engine of the durable actor whose code runs."""
    slot: Any = current_slot.get()
    engine: DurableEngine = slot.actor.__activation__.engine
    return engine
