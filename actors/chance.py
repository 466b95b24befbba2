"""Chance as an argument: what whoever is given none takes.

Jitter and choices come from a `random.Random` that a caller may give, so that a test has
the same run again. A `VirtualLoop` brings chance of its own.
"""

from __future__ import annotations

import random

from actors.virtual_loop import virtual_loop

__all__ = ["default_random"]


def default_random() -> random.Random:
    """Return a new generator, seeded by the machine; or by its loop, if that is a virtual one."""
    loop = virtual_loop()
    return random.Random() if loop is None else loop.new_random()
