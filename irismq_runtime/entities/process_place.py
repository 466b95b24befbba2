"""Where a process is, as text, so that another one of its host can see that it is gone.

A node that was killed and is started again need not wait for the end of the lease of the one
before it: both are on one host, and the kernel knows which processes run. The text names the run
of the kernel, the namespace of the process ids, the process and when it was started; of another
host, or where there is no /proc, nothing is concluded.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors.virtual_loop import virtual_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["gone_among", "process_place"]

_PROC: Final = Path("/proc")
#: The place of the start time in /proc/PID/stat, counted behind the name in parentheses.
_START_TIME: Final = 19


async def process_place() -> str:
    """Where this process is; "" where that cannot be said, and on simulated machines."""
    return "" if virtual_loop() is not None else await asyncio.to_thread(_here)


async def gone_among(places: Mapping[str, str], here: str) -> frozenset[str]:
    """Who of these is known to have ended.

    Args:
        places: By whatever name, where each process is.
        here: Where this process is.
    """
    host = here.rpartition("/")[0].rpartition("/")[0]
    near = {
        name: place
        for name, place in places.items()
        if host and place != here and place.startswith(f"{host}/")
    }
    return await asyncio.to_thread(_gone_among, near) if near else frozenset()


def _here() -> str:
    host, pid = _namespace(), os.getpid()
    started = _started(str(pid))
    return f"{host}/{pid}/{started}" if host and started else ""


def _gone_among(places: Mapping[str, str]) -> frozenset[str]:
    gone = set()
    for name, place in places.items():
        pid, _, started = place.partition("/")[2].partition("/")
        if pid.isascii() and pid.isdigit() and _started(pid) != started:
            gone.add(name)
    return frozenset(gone)


def _namespace() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: str) -> str:
    """When a process was started, in ticks of the kernel; "" where there is none."""
    try:
        text = (_PROC / pid / "stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return fields[_START_TIME] if len(fields) > _START_TIME else ""
