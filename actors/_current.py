"""Who is running here: the actor in whose context this code was called.

Every slot has a `contextvars.Context` of its own in which `current_slot` is
set, so code that an actor calls, and tasks that it spawns, know their actor.
The asks in hand are a different matter: a task may outlive the message that
spawned it. A `Frame` belongs to one message and says whether that is still in
hand; a synchronous handler needs none, because nothing runs beside it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors._slot import Slot
    from actors.ref import ActorRef
    from actors.system import System

__all__ = [
    "Frame",
    "current_actor",
    "current_chain",
    "current_frame",
    "current_ref",
    "current_slot",
    "current_system",
]


class Frame:
    """One message that an async handler has in hand, and its chain of asks."""

    __slots__ = ("active", "chain")

    def __init__(self, chain: tuple[str, ...]) -> None:
        self.active = True
        self.chain = chain


current_slot: ContextVar[Slot | None] = ContextVar("actors.current_slot", default=None)
current_frame: ContextVar[Frame | None] = ContextVar("actors.current_frame", default=None)


def current_actor() -> Any:
    """The actor whose code calls this, None outside of actors."""
    slot = current_slot.get()
    return None if slot is None else slot.actor


def current_ref() -> ActorRef[Any] | None:
    """The ref of the actor whose code calls this, None outside of actors."""
    slot = current_slot.get()
    return None if slot is None else slot.ref


def current_system() -> System | None:
    """The system of the actor whose code calls this, None outside of actors."""
    slot = current_slot.get()
    return None if slot is None else slot.system


def current_chain() -> tuple[str, ...]:
    """The actors whose asks wait for the code that calls this, itself last.

    Empty outside of a handler, and in a task whose handler has returned.
    """
    slot = current_slot.get()
    return () if slot is None else slot.asking_chain()
