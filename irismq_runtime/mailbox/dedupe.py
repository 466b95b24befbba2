"""A bounded memory of messages, to know one when it comes again. Pure.

One broker's ids only: across brokers and copies a duplicate is known by its
envelope id alone (case 39), which is the business of whoever reads envelopes.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")


class Recent(Generic[K]):
    """The keys put last: at least `size` of them, at most twice as many."""

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._old: dict[K, int] = {}
        self._young: dict[K, int] = {}

    def put(self, key: K, value: int) -> None:
        """Remember `value` under `key`."""
        young = self._young
        young[key] = value
        if len(young) >= self._size:
            self._old, self._young = young, {}

    def get(self, key: K) -> int | None:
        """What was put last under `key`, if it is still known."""
        value = self._young.get(key)
        return self._old.get(key) if value is None else value
