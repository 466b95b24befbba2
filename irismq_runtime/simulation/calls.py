"""What a simulated loop has been given to run: calls, at once or at a time, and tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

__all__ = ["LoopCall", "LoopTimer", "SimulatedTask"]

T = TypeVar("T")


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


class SimulatedTask(asyncio.Task[T]):
    """A task that has the same place in a set in each run of a seed.

    Programs keep tasks in sets, asyncio too, and cancel them in the order of the set: by the
    address of each in memory, which depends on what the process did before.
    """

    def __init__(self, number: int, coro: Coroutine[Any, Any, T], **options: Any) -> None:
        self._number = number  # first: asyncio puts it in a set at once
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number
