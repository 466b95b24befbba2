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
_CHUNK = 4096


class RunDigest:
    """What happened so far, as a hash. One for each simulation."""

    __slots__ = ("_hash", "_numbers")

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._numbers = array("d")

    def number(self, *values: float) -> None:
        """Add numbers: who, and when."""
        self._numbers.extend(values)
        if len(self._numbers) >= _CHUNK:
            self._flush()

    def data(self, data: bytes) -> None:
        """Add bytes, with their length: no two sequences of them are alike."""
        self._numbers.append(len(data))
        self._flush()
        self._hash.update(data)

    def text(self, text: str) -> None:
        """Add a text."""
        self.data(text.encode("utf-8", "surrogatepass"))

    def _flush(self) -> None:
        self._hash.update(self._numbers)
        del self._numbers[:]

    def hexdigest(self) -> str:
        """Return the digest of what happened so far, 32 hexadecimal digits."""
        self._flush()
        return self._hash.hexdigest()
