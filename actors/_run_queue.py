"""The run queue of a system: the slots on its loop that have something to handle, in order.

One callback of the loop has them run, one turn each (`LoopSlot.run`), in the order in which
they became ready. A callback for each would cost more than many a turn does. Those that become
ready meanwhile come after the others that the loop has to run, and so do those for which the
time was not enough: a crowd of actors keeps neither the sockets nor the timers waiting.

Loop thread.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from actors._slot_view import SystemView

__all__ = ["RunQueue"]

#: Seconds that the slots of one queue run, before others have the loop, ...
TIME_BUDGET: Final = 0.005
#: ... looked at after so many of them.
CHUNK: Final = 32


class _Runs(Protocol):
    """A slot, as the queue knows it."""

    def run(self) -> None:
        """See `LoopSlot.run`."""
        ...


class RunQueue:
    """See the module."""

    __slots__ = ("_called", "_context", "_ready", "_system")

    def __init__(self, system: SystemView) -> None:
        self._system = system
        self._ready: deque[_Runs] = deque()
        #: Whether the loop is going to call `_run`.
        self._called = False
        #: Nobody's: each slot runs in its own.
        self._context = Context()

    @property
    def idle(self) -> bool:
        """Nobody waits for a turn."""
        return not self._ready

    def add(self, slot: _Runs) -> None:
        """Have `slot` run soon.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._ready.append(slot)
        # One that was closed before it could run what waits here says so, too.
        if not self._called or self._system.loop.is_closed():
            self._system.loop.call_soon(self._run, context=self._context)
            self._called = True

    def _run(self) -> None:
        ready, now, stop_at = self._ready, self._system.now, 0.0
        try:
            for number in range(1, len(ready) + 1):
                ready.popleft().run()
                if not number % CHUNK:
                    stop_at = stop_at or now() + TIME_BUDGET
                    if now() > stop_at:
                        break
        finally:
            # Also when the loop itself is being left, by a signal between two slots.
            self._called = False
            if ready:
                self._system.loop.call_soon(self._run, context=self._context)
                self._called = True
