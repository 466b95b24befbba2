"""Nodes in processes of their own, through the command line as users run it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import fork_server
from tests.support.until import until

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Sequence

__all__ = ["INSTALLED", "IRISMQ", "Process", "irismq", "running", "start"]

ROOT = Path(__file__).parents[2]
#: How `irismq` is started, in front of its arguments.
IRISMQ = (sys.executable, "-m", "irismq_runtime.cli")
#: The same as the script that is installed: the folder that it is run in is not on the path.
INSTALLED = (sys.executable, "-P", *IRISMQ[1:])


class Process:
    """One `irismq` process; what it writes to standard error is kept in `said`."""

    def __init__(self, process: asyncio.subprocess.Process | fork_server.ForkedProcess) -> None:
        self.process = process
        self.said: list[str] = []
        self._more = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said.append(line.decode())
            self._more.set()
        self._more.set()

    async def says(self, text: str) -> None:
        """Wait until a line holds `text`; fail when the process ends before."""
        while not any(text in line for line in self.said):
            await self.says_more()

    async def says_more(self) -> None:
        """Wait for another line; fail when the process ends before."""
        assert not self._reading.done(), f"it ended: {''.join(self.said)}"
        self._more.clear()
        await self._more.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends_by_another(self, number: int) -> int:
        """Send a signal until one counts as another than the first; return the exit code.

        One counts that comes a second after the first, and Python takes two that come at
        the same moment for one.
        """

        def ended() -> bool:
            if self.process.returncode is None:
                self.signal(number)
            return self.process.returncode is not None

        await until(ended, "an end by another signal", at_leisure=True)
        return await self.ends()

    async def ends(self) -> int:
        """Wait for its end and return the exit code (negative: by a signal)."""
        code = await self.process.wait()
        await self._reading
        return code


async def start(
    *arguments: str,
    program: Sequence[str] = IRISMQ,
    cwd: Path = ROOT,
    stdout: int | None = None,
    stderr: int | None = None,
    **environment: str,
) -> asyncio.subprocess.Process | fork_server.ForkedProcess:
    """Start `irismq` (or `program`); what is no descriptor of the caller's is a pipe."""
    environment = {**os.environ, "COLUMNS": "200", **environment}
    if program in {IRISMQ, INSTALLED} and fork_server.CAN_FORK:
        name = "irismq" if program == INSTALLED else ""
        given = {"stdout": stdout, "stderr": stderr}
        return await fork_server.start(
            arguments, cwd=cwd, environment=environment, name=name, **given
        )
    return await asyncio.create_subprocess_exec(
        *program,
        *arguments,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE if stderr is None else stderr,
    )


@contextlib.asynccontextmanager
async def running(
    *arguments: str, program: Sequence[str] = IRISMQ, cwd: Path = ROOT, **environment: str
) -> AsyncIterator[Process]:
    """A running `irismq` command (or `program`), killed at the end if it still runs."""
    process = Process(await start(*arguments, program=program, cwd=cwd, **environment))
    try:
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
        await process.ends()


async def irismq(
    *arguments: str, program: Sequence[str] = IRISMQ, cwd: Path = ROOT, **environment: str
) -> tuple[int, str, str]:
    """Run a command to its end; exit code, standard output, standard error."""
    process = await start(*arguments, program=program, cwd=cwd, **environment)
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
