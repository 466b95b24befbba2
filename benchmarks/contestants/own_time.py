"""A clock that stands still while the machine runs something else: for many nodes in one process.

Nodes speak each second. On a machine that has much else to do, a start of them that would
take a second lasts ten, and is full of beats that it would not have had. So nodes and
relays are given this clock: the machine's, less the time for which this thread was ready
to run and did not, as Linux counts it (`/proc/self/schedstat`). Where that is not
told, it is the machine's. Tables of figures say processor time, which it does not change.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks at how long the thread has waited.
LOOK = 0.002
#: Timers of a loop are so many seconds early, or late.
EXACT = 0.001


class _Timer:
    """Runs again until its time has come on the clock."""

    __slots__ = ("handle",)

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self.handle = handle

    def cancel(self) -> None:
        self.handle.cancel()


class OwnTime:
    """See the module; an `actors.Clock`."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self._now = self._waited = 0.0
        try:
            self._told = os.open("/proc/self/schedstat", os.O_RDONLY)
            self._look()
        except OSError:
            self._told = -1
        else:
            self._again()

    def _again(self) -> None:
        self._look()
        asyncio.get_running_loop().call_later(LOOK, self._again)

    def _look(self) -> None:
        self._waited = int(os.pread(self._told, 100, 0).split()[1]) / 1e9

    def monotonic(self) -> float:
        self._now = max(self._now, time.monotonic() - self._waited)
        return self._now

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self.call_later(seconds, over.set)
        await over.wait()

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> _Timer:
        loop = asyncio.get_running_loop()
        due = self.monotonic() + delay

        def reached() -> None:
            rest = due - self.monotonic()
            if rest > EXACT:
                timer.handle = loop.call_later(rest, reached)
            else:
                callback(*args)

        timer = _Timer(loop.call_later(delay, reached))
        return timer
