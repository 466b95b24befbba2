"""Whether a consumer may take messages now: open while nobody holds it.

Several parties may hold it at the same time (the actor restarts, its inbox is
full, the node drains); it opens when the last of them lets go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irismq_runtime.ports import Consumption

__all__ = ["Gate"]


class Gate:
    """Pauses and resumes a `Consumption`, which may be attached later."""

    __slots__ = ("_consumption", "_holders")

    def __init__(self) -> None:
        self._consumption: Consumption | None = None
        self._holders: set[str] = set()

    @property
    def holders(self) -> frozenset[str]:
        """Why it is closed; empty while it is open."""
        return frozenset(self._holders)

    def attach(self, consumption: Consumption) -> None:
        """Rule over `consumption` from now on."""
        self._consumption = consumption
        if self._holders:
            consumption.pause()

    def hold(self, why: str) -> None:
        """Take no more messages until `release(why)`."""
        if not self._holders and self._consumption is not None:
            self._consumption.pause()
        self._holders.add(why)

    def release(self, why: str) -> None:
        """Let go; the last one opens the gate. Not holding is no error."""
        if why not in self._holders:
            return
        self._holders.discard(why)
        if not self._holders and self._consumption is not None:
            self._consumption.resume()
