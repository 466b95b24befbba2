"""A bounded memory of what came last, to know it when it comes again. Pure: no clock.

Two generations are kept; when the younger is full it becomes the older, and the older is
forgotten. So memory is bounded, remembering costs one insertion, and between `size` and
twice `size` of the latest keys are known.

Mailboxes remember envelope ids by it (the broker's ids repeat across brokers and
restarts), and a broker's client the ids of one broker.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The keys put last, each with a value. `size=0` remembers nothing."""

    __slots__ = ("_size", "old", "young")

    def __init__(self, size: int) -> None:
        self._size = size
        #: The two generations; looked into directly on hot paths.
        self.young: dict[K, V] = {}
        self.old: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self.young or key in self.old

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def put(self, key: K, value: V) -> None:
        """Remember `value` under `key`."""
        young = self.young
        if len(young) >= self._size:
            if not self._size:
                return
            self.old = young
            self.young = young = {}
        young[key] = value

    def get(self, key: K) -> V | None:
        """Return what was put last under `key`, if it is still known."""
        value = self.young.get(key)
        return self.old.get(key) if value is None else value
