"""What a process measures of itself: memory, descriptors, tasks, threads, objects.

One line of JSON a sample, on standard output, so that whoever started the process
can read them as they come.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Sampling", "pause", "sample"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def sample() -> dict[str, float]:
    """This process now. Collects garbage first, so that what is counted is held."""
    gc.collect()
    return {
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        "fds": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
    }


async def pause(seconds: float) -> None:
    """Let so much time pass."""
    done = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        timer.cancel()


class Sampling:
    """Takes a sample each `period` seconds; `counts` is added to what is written."""

    def __init__(
        self,
        period: float,
        *,
        counts: Callable[[], dict[str, Any]] = dict,
        write: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._period = period
        self._counts = counts
        self._write = write or _print
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await pause(self._period)
            seconds = time.monotonic() - self._began
            self._write({"seconds": round(seconds, 2), **sample(), "counts": self._counts()})


def _print(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
