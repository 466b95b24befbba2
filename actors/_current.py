"""The context variables that say which slot, and which message of it, runs here.

Every slot has a `contextvars.Context` of its own in which `current_slot` is
set, so code that an actor calls, and tasks that it spawns, know their actor.
The chain of asks is a different matter: a task may outlive the message that
spawned it. A `Frame` belongs to one message and says whether that is still being
handled; a synchronous handler needs none, because nothing runs beside it.

What users may ask of this is in current.py.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors._slot_view import SlotView

__all__ = ["Frame", "current_frame", "current_slot"]


class Frame:
    """One message that an async handler is handling, and its chain of asks."""

    __slots__ = ("active", "chain")

    def __init__(self, chain: tuple[str, ...]) -> None:
        self.active = True
        self.chain = chain


current_slot: ContextVar[SlotView | None] = ContextVar("actors.current_slot", default=None)
current_frame: ContextVar[Frame | None] = ContextVar("actors.current_frame", default=None)
