"""The bytes that all tunnels through a relay may make it hold, lent to their senders.

A sender is granted the allowance of a real relay while there is plenty, and less
when many share what there is. Decisions only.
"""

from __future__ import annotations

from typing import Final

from irismq_runtime.protocols.iris.tunnel import CHUNK_LIMIT, RELAY_ALLOWANCE

__all__ = ["TunnelRoom"]

#: Half of all is kept for small allowances; of the rest one sender gets this part at most.
#: So of 256 MiB the first seventeen senders get the allowance of a real relay, 4 MiB each.
_PART: Final = 16


class TunnelRoom:
    """What is free of `total` bytes."""

    __slots__ = ("_total", "free")

    def __init__(self, total: int) -> None:
        self._total = self.free = total

    def lend(self) -> int:
        """Return the allowance of one more sender; 0 when there is no room for one."""
        if self.free < CHUNK_LIMIT:
            return 0
        size = max(CHUNK_LIMIT, min((self.free - self._total // 2) // _PART, RELAY_ALLOWANCE))
        self.free -= size
        return size

    def give_back(self, size: int) -> None:
        """Take back what was lent."""
        self.free += size
