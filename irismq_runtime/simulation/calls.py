"""What a simulated loop has been given to call: at once, or at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ["LoopCall", "LoopTimer"]


class LoopCall(asyncio.Handle):
    """A callback that is ready, or will be. As asyncio's, without what it does for debugging."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def failed(self, error: BaseException) -> None:
        """It raised: that goes to the loop's handler, and does not end the loop, as in asyncio."""
        message = f"Exception in callback {self._callback!r}"
        self._loop.call_exception_handler({"message": message, "exception": error, "handle": self})


class LoopTimer(LoopCall, asyncio.TimerHandle):
    """A callback with a time, on the clock of its loop."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        super().__init__(callback, args, loop, context)
        self._when = when
        # It waits for its time: a `cancel` is told to the loop.
        self._scheduled = True

    def due(self) -> None:
        """It is its time."""
        self._scheduled = False
