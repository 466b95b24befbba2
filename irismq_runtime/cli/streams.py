"""The standard streams of the process, whatever state they were handed over in.

A stream that the caller has closed is opened on nothing: otherwise the first socket
would take its number, and the event loop refuses to close such a one. What the
encoding of a terminal has no form for is escaped. Imports nothing of ours.

Standard error is for remarks: one that cannot be written, because the disk below is
full, the reader gone or the terminal hung up, is dropped, and neither ends a service
nor changes the code that it ends with. Standard output is what a command is for.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import Final

__all__ = ["forget_stdout", "is_of_the_output", "prepare_streams", "settle_stderr"]

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
#: Seconds that a remark waits for a reader of a descriptor that somebody made non-blocking.
_PATIENCE: Final = 1.0
#: What writing to a full disk, or to a terminal that is gone, ends with.
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})


class _RawStderr(io.RawIOBase):
    """Writes to standard error; what it does not take is dropped. For any thread."""

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # any buffer
        """Write once; claims all of what fails, so that nobody tries again."""
        try:
            try:
                return os.write(2, data)
            except BlockingIOError:
                select.select([], [2], [], _PATIENCE)
                return os.write(2, data)
        except OSError:
            return len(data)


def prepare_streams() -> None:
    """Make all three streams usable. For the process of a command, at its start."""
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # it is the stream
    if isinstance(sys.stderr, io.TextIOWrapper):
        encoding = sys.stderr.encoding
        remarks = io.BufferedWriter(_RawStderr())  # type: ignore[type-var]  # it is a raw stream
        sys.stderr = io.TextIOWrapper(remarks, encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # it was replaced by some object
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # as above


def forget_stdout() -> None:
    """Keep the interpreter from flushing into what takes nothing any more when it ends."""
    _forget(sys.stdout.fileno())


def settle_stderr() -> None:
    """Write what waits for standard error, or forget it where nobody reads.

    The interpreter would find that at its end, and make its own exit code of it.
    """
    try:
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr.fileno())


def _forget(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def is_of_the_output(error: OSError) -> bool:
    """Whether an error that came out of a command is one of writing its result."""
    return error.filename is None and error.errno in _UNWRITABLE
