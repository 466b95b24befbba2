"""Bounded memories of what was done, to know a copy when it comes. Pure.

`DedupeWindow` is for whoever knows envelopes: across brokers and copies the key
must be the envelope id, because broker ids repeat between brokers (case 39).
`Recent` is for one lane's FINs: a put must cost next to nothing there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["DedupeWindow", "Recent"]


class DedupeWindow:
    """Remembers up to `size` keys for `seconds` each; memory is bounded by `size`."""

    __slots__ = ("_seconds", "_seen", "_size")

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        # Ordered by age. Not a plain dict: its first key is slow to find after
        # many removals at the front.
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, key: Hashable, now: float) -> None:
        """Remember `key`; again counts as new."""
        seen = self._seen
        seen.pop(key, None)
        seen[key] = now
        while len(seen) > self._size:
            seen.popitem(last=False)

    def discard(self, key: Hashable) -> None:
        """Forget `key`, if it is known."""
        self._seen.pop(key, None)

    def seen(self, key: Hashable, now: float) -> bool:
        """Whether `key` was added within the window."""
        at = self._seen.get(key)
        return at is not None and now - at <= self._seconds


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
