"""Chance as an argument: what whoever is given none takes.

Jitter and choices come from a `random.Random` that a caller may give, so that a test has
the same run again. A loop that brings a clock of its own may bring chance, too.
"""

from __future__ import annotations

import random
from asyncio import _get_running_loop as running_loop

__all__ = ["default_random"]


def default_random() -> random.Random:
    """Return a new generator, seeded by the machine; or by its loop, where that brings chance.

    Such a loop has a method `new_random`.
    """
    make = getattr(running_loop(), "new_random", random.Random)
    generator: random.Random = make()
    return generator
