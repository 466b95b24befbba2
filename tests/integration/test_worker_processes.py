"""Case 129: processes started from a running loop, killed 100 times under supervision."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, System, receives
from supervisors import Supervisor, child, start
from tests.support.until import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process

KILLS = 100
WORKERS = 4


@dataclass(frozen=True)
class Ended:
    code: int


class WorkerEnded(Exception):
    """A worker process ended by itself."""


class Worker(Actor):
    """Owns one process, and crashes when that ends: its supervisor starts both again."""

    def __init__(self, log: list[Process]) -> None:
        self.log = log

    async def on_start(self) -> None:
        self.process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        self.watching = asyncio.create_task(self._watch())
        self.log.append(self.process)

    async def _watch(self) -> None:
        self.actor_ref.tell(Ended(await self.process.wait()))

    @receives(Ended)
    def ended(self, ended: Ended) -> None:
        raise WorkerEnded(ended.code)

    async def on_stop(self, reason: str) -> None:
        self.watching.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def children() -> set[int]:
    """The processes that this one has started and not reaped."""
    found = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in found for pid in path.read_text().split()}


@pytest.mark.timeout(90)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
async def test_all_are_reaped_and_the_supervisor_is_told_once_each(caplog):
    caplog.set_level("CRITICAL")
    before = children()
    log: list[Process] = []
    deaths: Counter[str] = Counter()
    system = System("workers")

    def note(event: Any) -> None:
        if event.name == "supervisor.child_terminated":
            deaths[str(event.fields["report"].reason)] += 1

    system.events.subscribe(note)
    specs = [child(Worker, log, name=f"worker-{n}") for n in range(WORKERS)]
    root = start(Supervisor.of(*specs, max_restarts=KILLS, max_seconds=600.0), system)
    await root.started()
    for killed in range(0, KILLS, WORKERS):
        await until(lambda started=WORKERS + killed: len(log) == started)
        living = [process for process in log if process.returncode is None]
        assert len(living) == WORKERS
        for process in living:
            os.kill(process.pid, signal.SIGKILL)
    await until(lambda: len(log) == WORKERS + KILLS)
    assert [process.returncode for process in log[:KILLS]] == [-signal.SIGKILL] * KILLS
    assert deaths.total() == KILLS, deaths
    await system.shutdown()
    assert all(process.returncode is not None for process in log)
    assert len({process.pid for process in log}) == WORKERS + KILLS
    assert children() <= before
