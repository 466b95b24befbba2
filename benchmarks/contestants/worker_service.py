"""What benchmarks/processes.py runs: an actor that computes for a millisecond of each message.

It computes for as long on its own processor's clock, so that another load on the machine
makes it slower, and not the work less.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from actors import Actor, Request, message, receives
from supervisors import Supervisor, child

ADDRESS = "bench.worker"
#: Seconds of processor time that a message takes.
WORK = 0.001


@message("bench.worker.job")
@dataclass(frozen=True)
class Job:
    """Something to compute."""

    number: int


@message("bench.worker.count")
@dataclass(frozen=True)
class Count(Request[int]):
    """How many have been computed here?"""


class Worker(Actor[Job | Count]):
    """Computes, and counts."""

    address = ADDRESS

    def __init__(self) -> None:
        self.done = 0

    @receives(Job)
    def job(self, _message: Job) -> None:
        end = time.thread_time() + WORK
        while time.thread_time() < end:
            pass
        self.done += 1

    @receives(Count)
    def count(self, _message: Count) -> int:
        return self.done


tree = Supervisor.of(child(Worker))
