"""`irismq run --reload`: which Python file of a folder has changed.

For development. The times of all files are compared every half second, on a thread: that is
slow enough for a laptop and quick enough for a person, and needs nothing of the system. A
folder that is hidden, or an environment of its own (a pyvenv.cfg in it), is left out. Two
changes within one look are one.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["changed", "changes", "times_of"]

#: Seconds between two looks.
PERIOD: Final = 0.5
#: Folders that hold no code of the user's.
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


async def changes(folder: Path) -> AsyncIterator[str]:
    """Give the name of one file for each time that some have changed; ends never."""
    before = await asyncio.to_thread(times_of, folder)
    while True:
        await asyncio.sleep(PERIOD)
        now = await asyncio.to_thread(times_of, folder)
        name = changed(before, now)
        before = now
        if name:
            yield name


def changed(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """The first file that is new, gone or another than before; empty: none."""
    differing = {name for name, _ in before.items() ^ now.items()}
    return min(differing, default="")


def times_of(folder: Path) -> dict[str, int]:
    """When each Python file below `folder` was written, in nanoseconds, by its path."""
    times = {}
    for path, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [each for each in folders if each[0] != "." and each not in _LEFT_OUT]
        for name in files:
            if name.endswith(".py"):
                where = Path(path, name)
                try:
                    times[str(where.relative_to(folder))] = where.stat().st_mtime_ns
                except OSError:  # it is gone already
                    continue
    return times
