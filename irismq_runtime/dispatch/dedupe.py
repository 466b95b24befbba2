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

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, key: bytes) -> None:
        """Remember `key`."""
        if not self._size:
            return
        if len(self._young) >= self._size:
            self._old = self._young
            self._young = set()
        self._young.add(key)
