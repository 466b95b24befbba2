"""The clock as an argument: what time it is, and "call me later".

`LoopClock` is the real one. `actors.testing.ManualClock` moves only when a test says so,
and a loop may bring a clock of its own (`default_clock`). Intervals, deadlines and restart
windows use `monotonic()`; `time()` is the wall clock and serves due times of stored messages alone.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from actors.virtual_loop import virtual_loop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "LoopClock", "TimerHandle", "default_clock"]


class TimerHandle(Protocol):
    """A call that has been ordered and can be taken back."""

    def cancel(self) -> None:
        """Take the call back. Does nothing when it was made already."""
        ...


class Clock(Protocol):
    """What the runtime asks of a clock. Seconds everywhere."""

    def monotonic(self) -> float:
        """Seconds since some point, never going back. Any thread."""
        ...

    def time(self) -> float:
        """Seconds since the epoch; may jump. Any thread."""
        ...

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> TimerHandle:
        """Call `callback(*args)` on the loop later. Loop thread only.

        Args:
            delay: Seconds from now; 0 is the next turn of the loop.
            callback: What is called.
            args: What it is given.

        Returns:
            A handle with which the call can be taken back.
        """
        ...


class LoopClock:
    """The clock of the machine and the timers of the running loop."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> TimerHandle:
        """Order a call from the running loop. Loop thread only.

        Args:
            delay: Seconds from now.
            callback: What is called.
            args: What it is given.

        Raises:
            RuntimeError: no loop runs on this thread.
        """
        return asyncio.get_running_loop().call_later(delay, callback, *args)


def default_clock() -> Clock:
    """Return the clock that whoever is given none has: its loop's own, or the machine's.

    Only a `VirtualLoop` brings one.
    """
    loop = virtual_loop()
    return LoopClock() if loop is None else loop.clock
