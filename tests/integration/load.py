"""The service under load: every run of a job is one line in the file JOBS_JOURNAL.

    NUMBER PID ATTEMPT TIME

TIME is the monotonic clock of the machine, one for all its processes. The lines
of several processes go into one file, each by one write.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from actors import Actor, message, receives
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = "load.jobs"


@message("load.job")
@dataclass(frozen=True)
class Job:
    number: int
    seconds: float = 0.0


@message("load.question")
@dataclass(frozen=True)
class Question:
    number: int
    seconds: float = 0.0


class Run(NamedTuple):
    """One line of the journal."""

    number: int
    pid: int
    attempt: int
    time: float


def runs(journal: Path) -> list[Run]:
    """What the journal holds now."""
    return list(_runs(journal)) if journal.exists() else []


def _runs(journal: Path) -> Iterator[Run]:
    text = journal.read_text()
    # A reader may see the beginning of a line that is being written.
    for line in text[: text.rfind("\n") + 1].splitlines():
        number, pid, attempt, at = line.split()
        yield Run(int(number), int(pid), int(attempt), float(at))


async def _passing(seconds: float) -> None:
    """Return after so long; a timer of the loop, for a handler that waits."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


class Worker(Actor):
    """Answers questions. Works on a job for as long as the job says, then writes its line."""

    address = ADDRESS

    def __init__(self) -> None:
        self.file = os.open(os.environ["JOBS_JOURNAL"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def on_stop(self, reason: str) -> None:
        os.close(self.file)

    @receives(Question)
    async def answer(self, question: Question) -> tuple[int, int]:
        await _passing(question.seconds)
        return question.number, os.getpid()

    @receives(Job)
    async def work(self, job: Job) -> None:
        if job.seconds:
            await _passing(job.seconds)
        line = f"{job.number} {os.getpid()} {self.context.attempt} {time.monotonic()}\n"
        os.write(self.file, line.encode())


class Works(Supervisor):
    """The tree that `irismq run` runs."""

    children = (child(Worker),)
