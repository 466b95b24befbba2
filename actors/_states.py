"""The states of a slot; _slot.py draws the way between them."""

from __future__ import annotations

import enum

__all__ = ["SlotState"]


class SlotState(enum.Enum):
    """Where a slot is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DOWN = "down"
    ENDED = "ended"
