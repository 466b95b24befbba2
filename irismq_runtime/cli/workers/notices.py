"""What a worker tells its parent: the words that systemd understands, sd_notify(3).

A node says by them already that it is ready, in which state it is, and that it lives
(node/process/systemd.py), so a worker needs no words of its own: its parent is what its
`NOTIFY_SOCKET` names. The socket is in a folder of the parent's user alone. What comes is
not believed to be well-formed: what is no known word is left out, and what is too long is
cut by the kernel. Reading is a function of bytes; the socket is of the parent's loop.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Notice", "Notices", "parse_untrusted"]

#: Bytes of one datagram; a node sends a status of 200 characters at most.
LARGEST: Final = 4096
#: Characters of a status that are kept.
_STATUS: Final = 300
#: Datagrams that are read before others have the loop.
_AT_ONCE: Final = 16


class Notice(NamedTuple):
    """What one datagram says. `status`: one line, None when it says none."""

    ready: bool = False
    status: str | None = None


def parse_untrusted(datagram: bytes) -> Notice:
    """Read one datagram: lines of NAME=VALUE, of which a few names are known."""
    ready, status = False, None
    for line in datagram[:LARGEST].decode(errors="replace").split("\n"):
        name, _, value = line.partition("=")
        if name == "READY":
            ready = value == "1"
        elif name == "STATUS":
            status = safe(value)[:_STATUS]
    return Notice(ready, status)


class Notices:
    """The socket to which one worker speaks. Loop thread only.

    `path`: where it is made; its folder belongs to this user alone. `heard` is called with
    each notice.
    """

    def __init__(self, path: Path, heard: Callable[[Notice], None]) -> None:
        self.path = path
        self._heard = heard
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        """Listen there."""
        self._socket = await asyncio.to_thread(self._bound)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def _bound(self) -> socket.socket:
        """A new socket in the place of an earlier one."""
        self.path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(str(self.path))
        return made

    def close(self) -> None:
        """Listen no more. Idempotent; the file goes with its folder."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(LARGEST)
            except OSError:  # there is no more, or it is closed
                return
            self._heard(parse_untrusted(datagram))
