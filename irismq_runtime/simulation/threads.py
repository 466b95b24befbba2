"""Threads as steps of a simulation: what blocks is done later, while no loop runs.

A function that is given to a thread is called at one moment of virtual time, on the
simulation's own thread, and what it returns is told to the loop later still. So a kill
comes before it, and nothing was done; or after it, and nobody was told; as with a real
thread. A `WorkerThread` does one thing after the other, in order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from irismq_runtime.simulation.loop import SimulatedLoop

__all__ = ["ThreadCalls"]

T = TypeVar("T")


class _ThreadJobs:
    """What waits for one simulated thread, and is done in order; see `WorkerThread`."""

    def __init__(self, loop: SimulatedLoop, do: Callable[[Any], object]) -> None:
        self._loop = loop
        self._do = do
        self._waiting: deque[Any] = deque()

    def put(self, given: Any) -> None:
        """Have it done after all that was given before; None is the end of the thread."""
        if given is not None:
            self._waiting.append(given)
            if len(self._waiting) == 1:
                self._loop.thread_step(self._work)

    def _work(self) -> None:
        self._do(self._waiting[0])
        self._waiting.popleft()
        if self._waiting:
            self._loop.thread_step(self._work)


class ThreadCalls:
    """The methods of a loop that have to do with threads. Mixed into `SimulatedLoop`."""

    def run_in_executor(
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call `func(*args)` as a thread would.

        Args:
            executor: Without meaning here: every pool is as large as it has to be.
            func: What is called.
            args: What it is given.
        """
        del executor
        loop = cast("SimulatedLoop", self)
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # it belongs to who waits
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(_settle, future, result)

        loop.thread_step(work)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """Do nothing: see `run_in_executor`."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing: there are no threads."""

    def begin_thread(self, do: Callable[[Any], object]) -> _ThreadJobs:
        """Return where a `WorkerThread` puts its jobs, in place of a thread that does them."""
        return _ThreadJobs(cast("SimulatedLoop", self), do)


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
