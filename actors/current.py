"""Which actor runs here: for code that an actor calls, and that is not its method.

Every actor has a `contextvars` context of its own, which the tasks that it spawns
copy. So these four answer in its handlers and hooks, in what those call, and in its
tasks; elsewhere there is no actor. Any thread; none of them waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from actors._current import current_slot

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["current_actor", "current_chain", "current_ref", "current_system"]


def current_actor() -> Any:
    """Return the actor whose code calls this.

    Returns:
        The instance of the present incarnation; None outside of actors, and in a task
        that has outlived its actor.
    """
    slot = current_slot.get()
    return None if slot is None else slot.actor


def current_ref() -> ActorRef[Any] | None:
    """Return the ref of the actor whose code calls this.

    Returns:
        The ref, the same in every incarnation; None outside of actors.
    """
    slot = current_slot.get()
    return None if slot is None else cast("ActorRef[Any]", slot.ref)


def current_system() -> System | None:
    """Return the system of the actor whose code calls this.

    Returns:
        The system; None outside of actors.
    """
    slot = current_slot.get()
    return None if slot is None else cast("System", slot.system)


def current_chain() -> tuple[str, ...]:
    """Return the actors whose asks wait for the code that calls this.

    Returns:
        Their urns, who asked first first and the actor that runs here last. Empty
        outside of a handler, and in a task whose handler has returned.
    """
    slot = current_slot.get()
    return () if slot is None else slot.asking_chain()
