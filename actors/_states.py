"""The states of a slot; _cell.py draws the way between them."""

from __future__ import annotations

import enum

__all__ = ["CellState"]


class CellState(enum.Enum):
    """Where a slot is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DOWN = "down"
    ENDED = "ended"
