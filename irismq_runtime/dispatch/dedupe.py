"""Remembers which envelopes were finished, a bounded number of them.

The key is our envelope id: the broker's ids repeat across brokers and restarts.
Pure: no clock. Two generations of a set are kept; when the younger is full it
becomes the older, and the older is forgotten. Memory is thus bounded, adding
costs one set insertion, and between `size` and twice `size` ids are known.
"""

from __future__ import annotations

__all__ = ["DedupeWindow"]


class DedupeWindow:
    """Ids of finished envelopes. `size=0` remembers nothing."""

    __slots__ = ("_size", "old", "young")

    def __init__(self, size: int) -> None:
        self._size = size
        #: The two generations; looked into directly on the hot path.
        self.young: set[bytes] = set()
        self.old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self.young or key in self.old

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def add(self, key: bytes) -> None:
        """Remember `key`."""
        if not self._size:
            return
        if len(self.young) >= self._size:
            self.old = self.young
            self.young = set()
        self.young.add(key)
