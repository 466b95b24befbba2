"""Resident memory, in megabytes, of a process that has done one thing: it prints one number.

python -m contestants.resident bare|imported|celery
python -m contestants.resident idle NSQD IRIS
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path


def resident() -> float:
    """Megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def idle(nsqd: str, iris: str) -> float:
    """The same when a node has been up for some seconds."""
    from irismq_runtime import Node

    async with Node(nsqd=nsqd, iris=iris, name="idle"):
        await asyncio.sleep(3.0)
        return resident()


def measure(what: str, *servers: str) -> float:
    if what == "imported":
        from irismq_runtime import Node  # noqa: F401  # that is what is measured
    elif what == "idle":
        from irismq_runtime import loop

        return loop.run(idle(*servers))
    elif what == "celery":
        from celery import Celery

        Celery("bench")
    return resident()


if __name__ == "__main__":
    print(measure(*sys.argv[1:]))
