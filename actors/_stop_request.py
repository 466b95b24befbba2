"""A wish that an incarnation end: `Stop`, and what `ref.stop()` gives for it.

`Stop` is a message of the control lane, which goes before what waits. `StopFuture` is
for those who want to know when that is. An actor that awaits its own end would wait
for itself: that raises.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import BlockingCall
from actors.future import Future

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors._slot_view import SlotView
    from actors.exits import ExitReason

__all__ = ["Stop", "StopFuture"]


class StopFuture(Future[bool]):
    """True when the actor was alive and has stopped, False when it was dead."""

    __slots__ = ("_slot",)

    def __init__(self, slot: SlotView) -> None:
        # Each stop makes one: there is no time for the base class's own.
        self._done = False
        self._value = self._error = None
        self._waiters = ()
        self._slot = slot

    def resolve(self, *, value: bool) -> None:
        """Resolve unless somebody has. Loop thread."""
        if not self._done:
            self._resolve(value, None)

    def _loop_thread(self) -> int:
        return self._slot.system.thread_id

    def _wait(self) -> Generator[Any, None, None]:
        if asyncio.current_task() is self._slot.handler_task():
            raise BlockingCall(
                f"{self._slot.ref} cannot wait for its own end; call stop() and return"
            )
        yield from super()._wait()


@dataclass(slots=True, eq=False)
class Stop:
    """End the incarnation after the current message. Not frozen, as that takes long to make."""

    reason: ExitReason
    #: The cause, when the actor itself wants to end and says why.
    error: BaseException | None = None
    #: Whoever wants to know when that is.
    future: StopFuture | None = None
