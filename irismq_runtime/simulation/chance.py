"""Chance that can be had again: all of it comes from one seed, in streams with names.

A stream is a generator of its own, so that a part which draws more than before does not
change what the others draw: a host's jitter stays as it was when a fault is taken out
of a plan. A seed is an integer; people read it in hexadecimal.
"""

from __future__ import annotations

import random

__all__ = ["Chance"]


class Chance:
    """The seed of a run, and the streams that come from it."""

    __slots__ = ("seed",)

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, name: str) -> random.Random:
        """Return a new generator: the same for the same seed and name, on every machine."""
        # Of a text, `random` takes the SHA-512, and not `hash`, which differs by process.
        return random.Random(f"{self.seed:x}/{name}")
