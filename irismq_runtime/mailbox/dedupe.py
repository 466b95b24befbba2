"""A bounded memory of FINs, to know a message when it comes again. Pure.

One broker's ids only: across brokers and copies a duplicate is known by its
envelope id alone (case 39), which is the business of whoever reads envelopes.
"""

from __future__ import annotations

__all__ = ["Recent"]


class Recent:
    """The last puts: at least `size` of them, at most twice as many."""

    __slots__ = ("_old", "_size", "young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._old: dict[bytes, int] = {}
        #: Written to directly on the hot path; then `turn` is called when it is full.
        self.young: dict[bytes, int] = {}

    @property
    def size(self) -> int:
        """Entries of `young` after which `turn` is due."""
        return self._size

    def put(self, key: bytes, value: int) -> None:
        """Remember `value` under `key`."""
        self.young[key] = value
        if len(self.young) >= self._size:
            self.turn()

    def turn(self) -> None:
        """Forget the older half."""
        self._old = self.young
        self.young = {}

    def get(self, key: bytes) -> int | None:
        """What was put last under `key`, if it is still known."""
        value = self.young.get(key)
        return self._old.get(key) if value is None else value
