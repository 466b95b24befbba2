"""Message ids: 16 bytes, unique without asking anybody, cheap.

Ten random bytes drawn once a process, then a 48-bit count. Two processes share
a prefix with a chance of 2**-80; a process after fork draws its own. The ids
say nothing of time and need not be secret: authenticity is what signing is for.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ID_SIZE", "named_id", "new_id", "reseed_ids"]

#: Bytes of an envelope's id.
ID_SIZE: Final = 16
_PREFIX_SIZE: Final = 10


class _IdGenerator:
    """The prefix and the count of this process; `next` is atomic in CPython."""

    __slots__ = ("count", "prefix")

    prefix: bytes
    count: Callable[[], int]

    def __init__(self) -> None:
        self.reseed()

    def reseed(self) -> None:
        self.prefix = os.urandom(_PREFIX_SIZE)
        self.count = itertools.count(1).__next__


_source: Final = _IdGenerator()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_source.reseed)


def reseed_ids() -> None:
    """Draw another prefix, and count from the start: what follows is as in a new process."""
    _source.reseed()


def new_id() -> bytes:
    """A new message id: 16 bytes. May be called from any thread."""
    return _source.prefix + _source.count().to_bytes(ID_SIZE - _PREFIX_SIZE, "big")


def named_id(place: str, name: str) -> bytes:
    """The message id that `name` is at `place`, in every process: 16 bytes of a digest."""
    return hashlib.sha256(f"irismq\0{place}\0{name}".encode()).digest()[:ID_SIZE]
