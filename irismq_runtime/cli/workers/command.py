"""The parent of `irismq run --processes`: it supervises processes, and does nothing else.

It has no node and no connection, imports no code of a user's, and so has nothing to crash of.
What is restarted, when, and how often before it gives up is decided by the function that
decides it for actors: the processes are children of a supervisor. It listens to signals:

    SIGTERM, SIGINT     all processes drain, then it ends with code 0
    the same again      it ends at once; the processes lose it, and end at once as well
    SIGHUP              each process is ended and started anew, one after another

A process that does not come back in a rolling restart ends that: the others go on with what
they run, and the next SIGHUP tries again. Readiness is one for all: to systemd, and at `--status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from actors import AskTimeout, Refused, System
from actors.texts import text_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.workers.process import Launch, WorkerFailed, WorkerProcess, WorkerState
from irismq_runtime.cli.workers.reload import changes
from irismq_runtime.node.process.signals import Signals
from irismq_runtime.node.process.stop_reason import StopReason
from irismq_runtime.node.process.systemd import ServiceManager
from irismq_runtime.observe import Check, Health, Sample, prometheus_text
from supervisors import (
    Backoff,
    ChildStartFailed,
    Supervisor,
    child,
    restart_child,
    start,
    terminate_child,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from actors import ActorRef
    from irismq_runtime.cli.workers.asked import Workers

    #: Tells people one line: a template, and what stands in it.
    Say = Callable[..., None]

__all__ = ["Parent", "again"]

_LOG = logging.getLogger("irismq.workers")

#: Restarts of each process in so many seconds, after which the parent gives up.
_RESTARTS: Final = 5
_WITHIN: Final = 60.0
#: Seconds before a process that has ended by itself is started again: they grow.
_BACKOFF: Final = Backoff(0.2, 10.0, 0.2)
#: Seconds beyond what a process may take to stop or to start.
_MARGIN: Final = 5.0


def again() -> tuple[str, ...]:
    """The command that this process runs, for another one."""
    return (sys.executable, "-m", "irismq_runtime.cli", *sys.argv[1:])


class Parent:
    """The processes of one command. Loop thread only.

    `folder`: an empty one of this user alone, for their sockets.
    """

    def __init__(self, workers: Workers, command: Sequence[str], folder: Path) -> None:
        self._asked = workers
        self._folder = folder
        self._command = tuple(command)
        self._workers = [WorkerState(number) for number in range(1, workers.processes + 1)]
        self._roll = asyncio.Event()

    def health(self) -> Health:
        """Ready when each process is."""
        return Health(
            tuple(
                Check(
                    f"worker {each.number}", ok=each.ready, reason="" if each.ready else each.status
                )
                for each in self._workers
            )
        )

    def metrics(self) -> str:
        """Of the processes as such; what each does is at its own page."""
        samples = []
        for each in self._workers:
            labels = {"worker": str(each.number)}
            text = "How often a worker process was started."
            samples += [
                Sample("worker_starts_total", each.starts, "counter", text, labels),
                Sample("worker_ready", each.ready, help="Whether one is ready.", labels=labels),
            ]
        return prometheus_text(samples)

    async def run(self, say: Say) -> int:
        """Run them until a signal; returns the exit code. `say` gets what happens, for people."""
        loop = asyncio.get_running_loop()
        system, stop_reason = System("irismq-run"), StopReason()
        system.attach()
        system.lifecycle.append(stop_reason)
        manager = ServiceManager.of_this_process(self.health)
        with (
            Signals(loop, stop_reason.decide, codes.FORCED),
            _on_hangup(loop, self._roll),
            _workers_without_tracebacks(),
            manager,
        ):
            root = start(self._tree(), system)
            stop_reason.roots[root] = None
            tasks = [loop.create_task(stop_reason.decided()), loop.create_task(root.started())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if tasks[1].done():
                    if (error := tasks[1].exception()) is not None:
                        return _not_started(error, say)
                    manager.ready()
                    say("processes: %d", len(self._workers))
                    tasks += [loop.create_task(each) for each in self._besides(root, say)]
                    await tasks[0]
                say("%s: the processes drain", stop_reason.reason)
            finally:
                manager.stopping(stop_reason.reason or "it failed")
                await _ended(tasks)
                await system.shutdown(self._asked.stop + _MARGIN)
        return codes.OK if stop_reason.gave_up is None else codes.GAVE_UP

    def _tree(self) -> Any:
        asked = self._asked
        most = asked.max_memory
        launch = Launch(
            self._command,
            self._folder,
            asked.silence,
            asked.start,
            asked.stop,
            None if most is None else most << 20,
        )
        return Supervisor.of(
            *(
                child(
                    WorkerProcess,
                    launch,
                    worker,
                    name=_name(worker),
                    shutdown=asked.stop + _MARGIN,
                )
                for worker in self._workers
            ),
            max_restarts=_RESTARTS * len(self._workers),
            max_seconds=_WITHIN,
            backoff=_BACKOFF,
            name="workers",
        )

    def _besides(self, root: ActorRef[Any], say: Say) -> list[Any]:
        """What goes on while they run."""
        rolling = [self._roll_on(root, say)]
        if self._asked.reload is not None:
            rolling.append(self._watch(self._asked.reload, say))
        return rolling

    async def _watch(self, folder: Path, say: Say) -> None:
        async for changed in changes(folder):
            say("%s has changed", changed)
            self._roll.set()

    async def _roll_on(self, root: ActorRef[Any], say: Say) -> None:
        while True:
            await self._roll.wait()
            self._roll.clear()
            say("rolling restart: each process in its turn")
            for worker in self._workers:
                if not await self._renewed(root, worker, say):
                    break
            else:
                say("rolling restart: done")

    async def _renewed(self, root: ActorRef[Any], worker: WorkerState, say: Say) -> bool:
        name, asked = _name(worker), self._asked
        try:
            await terminate_child(root, name, timeout=asked.stop + 2 * _MARGIN)
            await restart_child(root, name, timeout=asked.start + 2 * _MARGIN)
        except (Refused, AskTimeout) as error:
            say(
                "worker %d did not come back (%s); the others run on: "
                "mend it, and send SIGHUP again",
                worker.number,
                text_of(error),
            )
            return False
        return True


class _NoTraceback(logging.Filter):
    """What a worker ended of is one line: where in this process it was noticed helps nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, WorkerFailed | ChildStartFailed):
            return True
        if record.name == "actors":  # of the supervisor of all, which has said so itself
            return False
        record.exc_info = record.exc_text = None
        return True


@contextlib.contextmanager
def _workers_without_tracebacks() -> Iterator[None]:
    short, handlers = _NoTraceback(), list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(short)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(short)


def _name(worker: WorkerState) -> str:
    return f"worker-{worker.number}"


def _not_started(error: BaseException, say: Say) -> int:
    """Say why they did not start; the code is that of the process."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, WorkerFailed):
        cause = cause.__cause__
    say("not started: %s", text_of(cause or error))
    return cause.code if cause is not None and cause.code and cause.code > 0 else codes.FAILED


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.debug("ended with %r", error)


@contextlib.contextmanager
def _on_hangup(loop: asyncio.AbstractEventLoop, roll: asyncio.Event) -> Iterator[None]:
    loop.add_signal_handler(signal.SIGHUP, roll.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
