"""Why and when a node stops: a signal, a root that gave up, or its own caller.

One value, set from three sides, waited for by one (`process.run`). The first reason
counts. As an `actors.Lifecycle` it sees the roots of the tree end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from irismq_runtime.observe.logs import shorten

if TYPE_CHECKING:
    from actors import ActorRef, Exit

__all__ = ["StopReason"]


class StopReason:
    """Why one node stops; empty while it does not."""

    def __init__(self) -> None:
        #: The roots that run, in the order of their start.
        self.roots: dict[ActorRef[Any], None] = {}
        #: How a root ended by itself; None while none did.
        self.gave_up: Exit | None = None
        #: What made it stop, for people.
        self.reason = ""
        #: What the others are told of an end that nobody asked for; else empty.
        self.why = ""
        self._decided = asyncio.Event()

    def decide(self, reason: str) -> None:
        """The node is to stop. Later reasons change nothing."""
        if not self.reason:
            self.reason = reason
        self._decided.set()

    async def decided(self) -> None:
        """Wait until somebody has decided."""
        await self._decided.wait()

    async def started(self, ref: ActorRef[Any], actor: Any) -> None:
        """Nothing to do."""

    async def restarting(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # Lifecycle's name
        """Nothing to do."""

    async def restarted(self, ref: ActorRef[Any], actor: Any) -> None:
        """Nothing to do."""

    async def ended(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # Lifecycle's name
        """A slot has ended: a root that did so unasked has given up."""
        if self.roots.pop(ref, False) is None and not self.reason:
            self.gave_up = exit
            self.why = f"tree gave up: {shorten(exit)}"
            self.decide(f"the {self.why}")
