"""Bytes read as a script of small steps, so that one input serves both tools.

Hypothesis makes the bytes from structured steps, atheris by coverage; either
way an input is a byte string that replays by itself. Reading never fails: past
the end everything is zero.
"""

from __future__ import annotations

from itertools import pairwise


class Script:
    """A byte string that is read step by step."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value

    def below(self, limit: int) -> int:
        return self.byte() % limit

    def raw(self, most: int) -> bytes:
        size = self.below(most + 1)
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def rest(self) -> bytes:
        piece = self._data[self._at :]
        self._at = len(self._data)
        return piece


def cut(data: bytes, script: Script, most: int) -> list[bytes]:
    """`data` in up to `most` + 1 pieces, cut where the script says."""
    places = sorted({(script.byte() << 8 | script.byte()) % (len(data) + 1) for _ in range(most)})
    edges = [0, *places, len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
