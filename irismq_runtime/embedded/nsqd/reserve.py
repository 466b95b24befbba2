"""Room that is kept for a full disk: without it nothing could be finished there.

To delete a message SQLite writes to its log first, and to fold the log into the
file the file may have to grow. On a disk without a free byte neither is possible,
so a full store could never be drained. A file that holds nothing keeps the room and
is given away when a write fails. Blocking; the store's thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from irismq_runtime.private_file import private_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Reserve"]

_NAME: Final = "nsqd.reserve"
#: Bytes that are kept at most and at least, and the share of a small disk.
_MOST: Final = 32 * 1024 * 1024
_LEAST: Final = 256 * 1024
_SHARE: Final = 8


class Reserve:
    """The file of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        #: Bytes that are kept now.
        self.size = 0

    def hold(self) -> bool:
        """Keep room, as much as there is; False: there is none."""
        descriptor = private_file(self._path)
        try:
            facts = os.fstatvfs(descriptor)
            kept = os.fstat(descriptor).st_blocks * 512
            size = min(_MOST, max(_LEAST, (facts.f_bavail * facts.f_frsize + kept) // _SHARE))
            while size >= _LEAST:
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError:
                    # What was allocated before it failed would be held for nothing.
                    os.ftruncate(descriptor, 0)
                    size //= 2
                    continue
                self.size = size
                return True
        finally:
            os.close(descriptor)
        self.size = 0
        return False

    def release(self) -> None:
        """Give the room away."""
        self.size = 0
        with suppress(OSError):
            os.truncate(self._path, 0)
