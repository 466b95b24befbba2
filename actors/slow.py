"""Handlers that take very long without blocking the loop: async ones, and threads.

An async handler that waits for ever, or a thread that hangs in a call, stops
nothing but its own actor, so no deadline notices it. Here a timer looks, while
any such handler runs, and reports each one once with the place where it
stands. The clock is the system's, so a test can move it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors._slot import Slot
    from actors._system_core import SystemCore
    from actors.ref import ActorRef

__all__ = ["SlowHandler", "SlowHandlers"]

logger = logging.getLogger("actors")


@dataclass(frozen=True, slots=True)
class SlowHandler:
    """One handler that has run longer than it should. `stack`: innermost last."""

    ref: ActorRef[Any]
    message_type: str | None
    seconds: float
    stack: str


class SlowHandlers:
    """The watch of one system over handlers that run for `limit` seconds or more."""

    __slots__ = ("_armed", "_reported", "_system", "limit")

    def __init__(self, system: SystemCore, limit: float) -> None:
        self._system = system
        self._armed = False
        self._reported: set[tuple[int, float]] = set()
        self.limit = limit

    def began(self) -> float:
        """A handler begins; gives the time. Any thread."""
        if not self._armed:
            self._armed = True
            self._system.call_on_loop(self._arm)
        return self._system.now()

    def now(self) -> list[SlowHandler]:
        """The handlers that are over the limit at this moment. Loop thread."""
        return [self._slow(*each) for each in self._running() if each[1] >= self.limit]

    def _arm(self) -> None:
        self._system.clock.call_later(self.limit / 2, self._look)

    def _look(self) -> None:
        running = list(self._running())
        if not running:
            self._reported.clear()
            self._armed = False
            # A thread may have begun between the two lines, and seen `_armed` True.
            if not any(True for _ in self._running()):
                return
            self._armed = True
        for slot, seconds, since in running:
            key = (slot.serial, since)
            if seconds >= self.limit and key not in self._reported:
                self._reported.add(key)
                self._report(self._slow(slot, seconds, since))
        self._arm()

    def _report(self, slow: SlowHandler) -> None:
        events = self._system.events
        if events.active:
            events.emit("actor.slow_handler", slow=slow)
        logger.warning(
            "%s has been handling %s for %.0f s; it stands at\n%s",
            slow.ref,
            slow.message_type,
            slow.seconds,
            slow.stack,
        )

    def _running(self) -> Iterator[tuple[Slot, float, float]]:
        """Each slot whose handler runs, for how many seconds, and since when."""
        now = self._system.now()
        for slot in (*self._system.tasks.values(), *self._system.threads):
            since = slot.handling_since()
            if since is not None:
                yield slot, now - since, since

    @staticmethod
    def _slow(slot: Slot, seconds: float, _since: float) -> SlowHandler:
        """One that is over the limit: only then its stack is looked at, which takes long."""
        return SlowHandler(slot.ref, slot.message_type(), seconds, slot.stack())
