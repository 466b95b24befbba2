"""The watchdog of a loop: who blocks it, and where.

A handler that blocks the loop stops every actor on it, and whatever else runs
there. The watchdog is a thread, because the loop cannot look at itself while it
is blocked. While actors are busy it has the loop answer a ping; when the answer
does not come in time it takes the stack of the loop's thread, finds out whose
handler it is, and reports once for each blockage. An idle system is not pinged.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors._slot import Slot
    from actors._system_core import SystemCore
    from actors.ref import ActorRef

__all__ = ["BlockedLoop", "Watchdog"]

logger = logging.getLogger("actors")


@dataclass(frozen=True, slots=True)
class BlockedLoop:
    """A blockage: `ref` and `message_type` are None when no handler is to blame.

    `seconds` is how long the loop had been blocked at least when this was
    noticed; `stack` is what its thread ran then, innermost last.
    """

    ref: ActorRef[Any] | None
    message_type: str | None
    seconds: float
    stack: str


class Watchdog:
    """One thread that watches the loop of one system."""

    def __init__(self, system: SystemCore, limit: float) -> None:
        self._system = weakref.ref(system)
        self._limit = limit
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"actors-watchdog-{system.name}", daemon=True
        )

    def start(self) -> None:
        """Start to watch. The system has its loop."""
        self._thread.start()

    def stop(self) -> None:
        """Stop soon. Any thread."""
        self._stopped.set()

    def _run(self) -> None:
        turns = -1
        while not self._stopped.wait(self._limit / 2):
            system = self._system()
            if system is None or system.loop_closed():
                return
            if system.tasks or system.busy is not None or system.turns != turns:
                turns = system.turns
                if not self._ping(system):
                    return
            del system

    def _ping(self, system: SystemCore) -> bool:
        """Wait for the loop's answer; False when there will be none."""
        answered = threading.Event()
        turns = system.turns
        try:
            system.loop.call_soon_threadsafe(answered.set)
        except RuntimeError:
            return False
        if answered.wait(self._limit):
            return True
        if system.turns == turns and not answered.is_set() and not self._stopped.is_set():
            self._report(system, blocked_by(system), self._limit)
        while not answered.wait(self._limit):
            if self._stopped.is_set() or system.loop_closed():
                return False
        return True

    @staticmethod
    def _report(system: SystemCore, slot: Slot | None, seconds: float) -> None:
        frame = sys._current_frames().get(system.thread_id)  # noqa: SLF001  # the documented way to see another thread
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""
        ref = slot.ref if slot is not None else None
        message_type = slot.message_type() if slot is not None else None
        if ref is not None:
            logger.warning(
                "%s blocks the loop while handling %s, for more than %.0f ms; it stands at\n%s",
                ref,
                message_type,
                seconds * 1000,
                stack,
            )
        if system.events.active:
            blocked = BlockedLoop(ref, message_type, seconds, stack)
            system.events.emit("loop.blocked", blocked=blocked)


def blocked_by(system: SystemCore) -> Slot | None:
    """The slot whose handler runs on the loop at this moment."""
    busy = system.busy
    if busy is not None:
        return busy
    task = asyncio.current_task(system.loop)
    return system.tasks.get(task) if task is not None else None
