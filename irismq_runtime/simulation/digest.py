"""A digest of all that happened in a run: two runs with the same one did the same.

Every step of every loop goes in with its time, every byte that a connection handed over,
and whatever else a part reports. No object's address, hash or name does, so the digest
is the same in another process, with another PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
from array import array

__all__ = ["RunDigest"]

#: Numbers that are kept before they are hashed together.
_CHUNK = 65536


class RunDigest:
    """What happened so far, as a hash. One for each simulation.

    Attributes:
        add: Takes numbers in a tuple: who, and when. The quick way, for each turn of a loop.
    """

    __slots__ = ("_bytes", "_numbers", "_steps", "add")

    def __init__(self) -> None:
        # Two hashes, so that neither has to be fed in small pieces: the lengths of the
        # bytes are among the numbers, and say what came when.
        self._steps = hashlib.blake2b(digest_size=16)
        self._bytes = hashlib.blake2b(digest_size=16)
        self._numbers = array("d")
        self.add = self._numbers.extend

    def data(self, data: bytes, source: int) -> None:
        """Add bytes, and whose they are."""
        self.add((source, len(data)))
        self._bytes.update(data)

    def text(self, text: str) -> None:
        """Add a text."""
        self.data(text.encode("utf-8", "surrogatepass"), 0)

    def fold(self) -> None:
        """Hash the numbers if there are many."""
        if len(self._numbers) >= _CHUNK:
            self._fold()

    def _fold(self) -> None:
        self._steps.update(self._numbers)
        del self._numbers[:]

    def hexdigest(self) -> str:
        """Return the digest of what happened so far, 32 hexadecimal digits."""
        self._fold()
        together = self._steps.copy()
        together.update(self._bytes.digest())
        return together.hexdigest()
