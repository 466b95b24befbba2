"""How long a failed message waits before it comes again. Pure.

Delay of attempt n: `base * 2**(n-1)`, at most `cap`, drawn from half to all of
that. A delay that a handler asked for takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.delays import exponential_delay

if TYPE_CHECKING:
    import random

__all__ = ["RequeueDelays"]


class RequeueDelays:
    """The growing, jittered delays of one transport."""

    __slots__ = ("_base", "_cap", "_rng")

    def __init__(self, rng: random.Random, *, base: float, cap: float) -> None:
        self._rng = rng
        self._base = base
        self._cap = cap

    def after(self, attempts: int) -> float:
        """Seconds to wait after delivery number `attempts` (from 1) failed."""
        failed = max(attempts - 1, 0)
        return exponential_delay(failed, self._base, self._cap, self._rng.random())
