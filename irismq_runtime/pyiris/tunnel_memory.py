"""The bytes that all tunnels of a node (or of one connection) may hold together.

Each tunnel has a window of them: what its peer may send before its reader has
taken it, and so the most that it can hold. Windows are lent when a tunnel opens
and given back as it ends; where there is none left, no tunnel opens. So the sum
is kept whatever peers send and readers do not read.

Who has not proved who it is gets less: until the first message of a tunnel has
been verified, its window is a small one, out of a smaller sum. A message is
refused by the length that its first chunk declares, before any of it is kept.
Decisions only: no socket, no clock. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.protocols.iris.tunnel import CHUNK_LIMIT

if TYPE_CHECKING:
    from irismq_runtime.pyiris.limits import Limits

__all__ = ["TunnelMemory", "TunnelWindow", "fixed_window"]

_MIB: Final = 1024 * 1024

#: Half of all is kept for small windows, so that many tunnels can open; of the rest
#: one tunnel is lent at most this part, so that others get some too.
_PART: Final = 2


class TunnelMemory:
    """What is free of `total` bytes, and of those for what is not verified yet.

    `least` and `most`: bytes of the window of one tunnel. `unverified`: None where
    nobody verifies anything, and every tunnel has its whole window at once.
    """

    __slots__ = ("_least", "_most", "_unverified", "free", "free_unverified", "total")

    def __init__(self, total: int, *, least: int, most: int, unverified: int | None) -> None:
        self.total = self.free = total
        self.free_unverified = unverified or 0
        self._unverified = unverified
        self._least = least
        self._most = most

    @classmethod
    def of(cls, limits: Limits) -> TunnelMemory:
        """Return the memory that `limits` allow."""
        verifies = limits.unverified_bytes is not None
        return cls(
            limits.tunnel_bytes,
            # Who was accepted is sure to have room for its messages.
            least=min(limits.tunnel, limits.tunnel_message, _MIB if verifies else CHUNK_LIMIT),
            most=limits.tunnel,
            unverified=limits.unverified_bytes,
        )

    def open(self) -> TunnelWindow | None:
        """Return the window of a new tunnel; None when there is no room for one."""
        if self.free < self._least:
            return None
        if self._unverified is None:
            size = self.share()
            self.free -= size
            return TunnelWindow(self, size, size, verified=True)
        first = min(CHUNK_LIMIT, self._least)
        if self.free_unverified < first:
            return None
        self.free -= self._least
        self.free_unverified -= first
        return TunnelWindow(self, first, self._least, verified=False)

    def share(self) -> int:
        """Bytes of the window that one more tunnel is to have."""
        return max(self._least, min((self.free - self.total // 2) // _PART, self._most))


class TunnelWindow:
    """The window of one tunnel: `size` bytes, out of the `lent` ones that are set aside."""

    __slots__ = ("_least", "_memory", "base", "lent", "size", "verified")

    def __init__(self, memory: TunnelMemory, size: int, lent: int, *, verified: bool) -> None:
        self._memory = memory
        self.size = size
        self.lent = lent
        self.verified = verified
        #: Bytes that stay set aside for it, however small the window is.
        self._least = lent
        #: To what it shrinks again after a message that was larger.
        self.base = size

    def grow(self, size: int) -> bool:
        """Make room for a message of `size` bytes; False when there is none."""
        memory = self._memory
        more = size - self.size
        missing = max(0, size - self.lent)
        if missing > memory.free or (not self.verified and more > memory.free_unverified):
            return False
        memory.free -= missing
        self.lent += missing
        if not self.verified:
            memory.free_unverified -= more
        self.size = size
        return True

    def verify(self) -> int:
        """The peer has proved who it is; returns how many bytes more it may send."""
        if self.verified:
            return 0
        memory = self._memory
        memory.free_unverified += self.size
        self.verified = True
        memory.free += self.lent
        size = max(self.size, self.lent, memory.share())
        size = min(size, memory.free)
        memory.free -= size
        more = size - self.size
        self.size = self.lent = self.base = self._least = size
        return more

    def shrink(self, length: int) -> None:
        """Give `length` bytes back."""
        self.size -= length
        back = self.lent - max(self.size, self._least)
        self.lent -= back
        self._memory.free += back
        if not self.verified:
            self._memory.free_unverified += length

    def close(self, held: int = 0) -> None:
        """The tunnel is over: keep what holds the `held` bytes that nobody has read."""
        held = min(held, self.size)
        memory = self._memory
        memory.free += self.lent - held
        if not self.verified:
            memory.free_unverified += self.size - held
        self.size = self.lent = self.base = held
        self._least = 0


def fixed_window(size: int) -> TunnelWindow:
    """Return the window of a tunnel that shares with no other."""
    memory = TunnelMemory(size, least=size, most=size, unverified=None)
    return TunnelWindow(memory, size, size, verified=True)
