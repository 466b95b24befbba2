"""`WorkerProcess`: the actor that owns one process of `irismq run`, and ends with it.

Its supervisor decides what a death means, as it does for every child; here is what a death
is. The order: a socket for its notices, the process, and the start is over when it says that
it is ready. From then on the actor crashes when the process has ended, when it has been silent
for too long (then it is killed: whoever hangs obeys no request), and it ends in order when
the process has grown too large. Its end is the process's: SIGTERM, time to drain, SIGKILL.

The process is a fresh interpreter and no fork, in a session of its own, so that a Ctrl-C
reaches the parent alone. It holds one end of a pipe whose other end is the parent's: when
that closes without a word, the parent is gone, and the process ends in order by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors import Actor, receives
from irismq_runtime.cli.workers.asked import WORKER
from irismq_runtime.cli.workers.notices import Notice, Notices

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

__all__ = ["Launch", "WorkerFailed", "WorkerProcess", "WorkerState", "environment_of", "why"]

_LOG = logging.getLogger("irismq.workers")

#: Seconds between two looks at a process.
PERIOD: Final = 1.0


class WorkerFailed(Exception):
    """A worker process ended by itself, or was ended because it was of no use.

    Attributes:
        number: Which one, from 1.
        code: Its exit code; negative: the signal that ended it; None: it still ran.
    """

    def __init__(self, number: int, code: int | None, what: str) -> None:
        self.number = number
        self.code = code
        super().__init__(f"worker {number} {what}")


def why(code: int) -> str:
    """What an exit code means, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@dataclass(frozen=True, slots=True)
class Launch:
    """How the processes are started and kept.

    Args:
        command: The program and its arguments.
        folder: Where the sockets are, of this user alone.
        silence: Seconds without a sign of life after which a process is killed.
        start: Seconds that it may take until it is ready.
        stop: Seconds between SIGTERM and SIGKILL.
        max_memory: Bytes of resident memory above which it is started anew; None: any.
    """

    command: tuple[str, ...]
    folder: Path
    silence: float
    start: float
    stop: float
    max_memory: int | None = None


@dataclass(slots=True)
class WorkerState:
    """What is known of one worker now; its actor writes it, its parent reads it."""

    number: int
    ready: bool = False
    status: str = "not started"
    pid: int | None = None
    starts: int = field(default=0)


@dataclass(frozen=True)
class _ProcessEnded:
    process: Process
    code: int


@dataclass(frozen=True)
class _Look:
    pass


class WorkerProcess(Actor):
    """Owns one process; see the head of this file."""

    def __init__(self, launch: Launch, worker: WorkerState) -> None:
        self._launch = launch
        self._worker = worker
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        #: The end of the pipe that says that the parent is there.
        self._presence = -1
        #: Looks since it was last heard of: time in which this process itself stood still
        #: is not held against another.
        self._silent = 0
        self._is_ready = asyncio.Event()
        self._notices = Notices(launch.folder / str(worker.number), self._heard)

    async def on_start(self) -> None:
        """Start the process, and wait until it is ready."""
        try:
            await self._notices.open()
            self._process = await self._spawned()
            self._worker.pid, self._worker.status = self._process.pid, "starting"
            self._worker.starts += 1
            await self._until_ready(self._process)
        except BaseException:
            await self._over()
            raise
        self._watching = asyncio.create_task(self._watch(self._process))
        self._silent = 0
        self.send_every(PERIOD, _Look())

    async def _spawned(self) -> Process:
        theirs, self._presence = os.pipe()
        try:
            return await asyncio.create_subprocess_exec(
                *self._launch.command,
                env=environment_of(
                    os.environ,
                    self._notices.path,
                    self._worker.number,
                    theirs,
                    self._launch.silence,
                ),
                pass_fds=(theirs,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    async def _until_ready(self, process: Process) -> None:
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._is_ready.wait())
        try:
            await asyncio.wait(
                {ended, ready}, timeout=self._launch.start, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ended.cancel()
            ready.cancel()
        number = self._worker.number
        if process.returncode is not None:
            raise WorkerFailed(number, process.returncode, why(process.returncode))
        if not self._is_ready.is_set():
            raise WorkerFailed(number, None, f"was not ready in {self._launch.start:g} s")

    async def _watch(self, process: Process) -> None:
        self.actor_ref.tell(_ProcessEnded(process, await process.wait()))

    def _heard(self, notice: Notice) -> None:
        self._silent = 0
        if notice.ready:
            self._is_ready.set()
        if notice.status is not None:
            self._worker.status = notice.status
            self._worker.ready = notice.status == "ready"

    @receives(_ProcessEnded)
    def _has_ended(self, ended: _ProcessEnded) -> None:
        if ended.process is self._process:  # and not that of an earlier incarnation
            raise WorkerFailed(self._worker.number, ended.code, why(ended.code))

    @receives(_Look)
    async def _look(self, _: _Look) -> None:
        self._silent += 1
        if self._silent * PERIOD > self._launch.silence:
            what = f"gave no sign of life for {self._launch.silence:g} s, and is killed"
            raise WorkerFailed(self._worker.number, None, what)
        most = self._launch.max_memory
        if most is None:
            return
        if (held := await asyncio.to_thread(_resident, self._worker.pid)) > most:
            _LOG.warning(
                "worker %d holds %d MiB, more than %d MiB: it is started anew",
                self._worker.number,
                held >> 20,
                most >> 20,
            )
            self.stop()

    async def on_stop(self, _reason: str) -> None:
        """SIGTERM, and time to drain."""
        process = self._process
        if process is not None and process.returncode is None:
            self._worker.status = "stopping"
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._launch.stop)
            except TimeoutError:
                _LOG.warning(
                    "worker %d has not ended %g s after SIGTERM, and is killed",
                    self._worker.number,
                    self._launch.stop,
                )
            finally:
                await self._over()
        else:
            await self._over()

    async def on_failure(self, *_: object) -> None:
        """It hangs, or has ended."""
        await self._over()

    async def _over(self) -> None:
        """Whatever is left of the process ends now."""
        self._notices.close()
        self._worker.ready, self._worker.pid, self._worker.status = False, None, "not running"
        if self._watching is not None:
            self._watching.cancel()
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._presence >= 0:
            os.close(self._presence)
            self._presence = -1


def environment_of(
    mine: Mapping[str, str], notify: Path, number: int, pipe: int, silence: float
) -> dict[str, str]:
    """What a worker is told by its environment: ours, with its parent in the place of systemd."""
    told = {name: value for name, value in mine.items() if name != "WATCHDOG_PID"}
    told["NOTIFY_SOCKET"] = str(notify)
    told["WATCHDOG_USEC"] = str(int(silence * 1e6))
    told[WORKER] = f"{number}:{pipe}"
    return told


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process holds; 0 where that cannot be known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
