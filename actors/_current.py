"""The context variables that say which slot, and which message of it, runs here.

Every slot has a `contextvars.Context` of its own in which `current_slot` is
set, so code that an actor calls, and tasks that it spawns, know their actor.
The chain of asks is a different matter: a task may outlive the message that
spawned it. A `Frame` belongs to one message: who finds another one in its context than
its slot has now was spawned by an earlier message. A synchronous handler needs none,
because nothing runs beside it.

What users may ask of this is in current.py.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from contextvars import Context

    from actors._slot_view import SlotView

__all__ = ["Frame", "current_frame", "current_slot", "same_context"]


#: One message that an async handler is handling: made for its identity, and empty until
#: its chain of asks is wanted. A context outlives the message, so it does not hold that.
Frame: TypeAlias = "list[tuple[str, ...]]"

current_slot: ContextVar[SlotView | None] = ContextVar("actors.current_slot", default=None)
current_frame: ContextVar[Frame | None] = ContextVar("actors.current_frame", default=None)


def same_context(one: Context, other: Context | None) -> bool:
    """Whether nothing was set in `one` since `other` was copied from it, or to it."""
    try:
        return one == other
    except BaseException:
        # It compares the values that differ, which are users': what cannot be is another.
        return False
