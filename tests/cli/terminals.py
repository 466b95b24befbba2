"""Commands at a terminal of a given width, as a person sees them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios

from tests.integration.processes import IRISMQ, ROOT

__all__ = ["at_terminal"]


async def at_terminal(
    *arguments: str, columns: int = 80, until: str = "", **environment: str
) -> tuple[int, str]:
    """Run a command to its end; its exit code and all that its terminal was sent.

    With `until` it is interrupted, as by Ctrl-C, when it has said that.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
    try:
        process = await asyncio.create_subprocess_exec(
            *IRISMQ,
            *arguments,
            cwd=ROOT,
            env={**plain, "TERM": "xterm", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        shown = await asyncio.to_thread(_read_all, ours, until.encode(), process.pid)
        return await process.wait(), shown.decode()
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


def _read_all(descriptor: int, until: bytes, pid: int) -> bytes:
    found = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
        while piece := os.read(descriptor, 65536):
            found += piece
            if until and until in found:
                until = b""
                os.kill(pid, signal.SIGINT)
    return found
