"""A thread that does one job after another, and tells an event loop how each ended.

For libraries that block, SQLite above all: one thread owns the connection, the loop
never waits. Jobs are done in the order in which they were given. The thread is a
daemon: who does not end it does not hold the program up at its exit. On a `VirtualLoop` the
loop does the jobs in place of a thread.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from actors.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from actors.virtual_loop import JobQueue

__all__ = ["WorkerThread"]

_T = TypeVar("_T")
#: What is to be done, and who is told how it ended.
_Job: TypeAlias = "tuple[Callable[[], Any], Callable[[Any, BaseException | None], object]]"


class WorkerThread:
    """One thread, from the constructor to `end`. All methods are called on `loop`.

    Args:
        name: Of the thread, for whoever looks at the process.
        loop: Where it is told how a job ended.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: JobQueue
        if isinstance(loop, VirtualLoop):
            self._jobs = loop.begin_thread(self._do)
            return
        jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs = jobs
        threading.Thread(target=self._run, args=(jobs,), name=name, daemon=True).start()

    def submit(
        self, job: Callable[[], _T], done: Callable[[_T | Any, BaseException | None], object]
    ) -> None:
        """Have the thread do `job`; then `done(result, error)` is called on the loop."""
        self._jobs.put((job, done))

    def call(self, job: Callable[[], _T]) -> asyncio.Future[_T]:
        """Have the thread do `job`; the future has its result or its error.

        A future that is cancelled does not keep the job from being done.
        """
        future: asyncio.Future[_T] = self._loop.create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(job, done)
        return future

    def end(self) -> None:
        """Let the thread end after the jobs that it was given."""
        self._jobs.put(None)

    def _run(self, jobs: SimpleQueue[_Job | None]) -> None:
        while (given := jobs.get()) is not None:
            if not self._do(given):
                return
            del given  # nothing is kept alive between two jobs

    def _do(self, given: _Job) -> bool:
        """Do one job, and have its end told; False: there is nobody left to tell."""
        job, done = given
        result: Any = None
        error: BaseException | None = None
        try:
            result = job()
        except BaseException as caught:  # whatever it is, who waits must hear of it
            error = caught
        try:
            self._loop.call_soon_threadsafe(done, result, error)
        except RuntimeError:
            # The loop was closed before `end`.
            return False
        return True
