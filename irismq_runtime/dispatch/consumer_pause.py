"""Pauses a consumer for as long as there is a reason to.

There may be several at the same time (its actor restarts, the inbox is full, the node
drains); messages are asked for again when the last of them is gone. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from irismq_runtime.ports import Consumption

__all__ = ["FULL", "ConsumerPause"]

#: The reason while the inbox of the actor has no room.
FULL: Final = "full"


class ConsumerPause:
    """The reasons to pause a `Consumption`, which may be attached later."""

    __slots__ = ("_consumption", "_reasons")

    def __init__(self) -> None:
        self._consumption: Consumption | None = None
        self._reasons: set[str] = set()

    @property
    def reasons(self) -> frozenset[str]:
        """Why it is paused; empty while it is not."""
        return frozenset(self._reasons)

    def attach(self, consumption: Consumption) -> None:
        """Pause and resume `consumption` from now on."""
        self._consumption = consumption
        if self._reasons:
            consumption.pause()

    def add(self, reason: str) -> None:
        """Pause until `remove(reason)`; the same reason counts once."""
        if not self._reasons and self._consumption is not None:
            self._consumption.pause()
        self._reasons.add(reason)

    def remove(self, reason: str) -> None:
        """Take a reason away; the last one resumes. One that is not there changes nothing."""
        if reason not in self._reasons:
            return
        self._reasons.discard(reason)
        if not self._reasons and self._consumption is not None:
            self._consumption.resume()
