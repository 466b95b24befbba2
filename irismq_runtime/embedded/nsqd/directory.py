"""One owner for a data folder: a lock that names its holder.

The lock is the operating system's (flock), so it ends with the process that
held it, however that ended; the file's text only says who it is.

What is published is for nobody else on the machine: the folder is its owner's alone
(0700), and so is each file in it (0600), whatever the umask. A folder that was there
before and holds other things as well keeps its mode.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from irismq_runtime.private_file import private_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DataDirectoryError", "DirectoryInUse", "DirectoryLock"]

_NAME = "nsqd.lock"
#: What all files of a server are called.
_OURS = "nsqd."


class DataDirectoryError(Exception):
    """The data folder cannot be used. Fields: `path`, `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot keep data in {path}: {reason}")


class DirectoryInUse(DataDirectoryError):
    """Another server owns the folder. Field: `holder`, who that is."""

    def __init__(self, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(path, f"it belongs to {holder}; stop that server or take another folder")


class DirectoryLock:
    """The ownership of one folder, from `acquire` to `release`. Blocking calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, address: str, wall_time: float) -> None:
        """Make the folder if it is missing and take it.

        Raises `DirectoryInUse` with the holder, `DataDirectoryError` otherwise.
        """
        try:
            try:
                self.path.mkdir(parents=True, mode=0o700)
                self.path.chmod(0o700)
            except FileExistsError:
                _close_to_others(self.path)
            descriptor = private_file(self.path / _NAME)
        except OSError as error:
            raise DataDirectoryError(self.path, error.strerror or str(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise DirectoryInUse(self.path, holder) from None
        except OSError as error:
            os.close(descriptor)
            raise DataDirectoryError(self.path, error.strerror or str(error)) from error
        self._descriptor = descriptor
        try:
            _sign(descriptor, address, wall_time)
        except OSError:
            # The name is a courtesy: a full disk must not keep the owner out.
            return

    def release(self) -> None:
        """Give the folder up. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _close_to_others(folder: Path) -> None:
    """Take the folder, and what servers before left in it, away from everybody else."""
    names = [entry.name for entry in os.scandir(folder)]
    with suppress(PermissionError):  # somebody else's: it is theirs to close
        if all(name.startswith(_OURS) for name in names):
            folder.chmod(0o700)
        for name in names:
            if name.startswith(_OURS):
                (folder / name).chmod(0o600, follow_symlinks=False)


def _sign(descriptor: int, address: str, wall_time: float) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "address": address,
        "since": wall_time,
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"the server at {holder['address']} (process {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a server that has not left its name"
