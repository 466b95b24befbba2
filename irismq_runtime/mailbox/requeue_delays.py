"""How long a failed message waits before it comes again. Pure.

Delay of attempt n: `base * 2**(n-1)`, at most `cap`, drawn from half to all of
that. Whatever was asked for is clamped below the broker's own maximum before it
is written: older nsqd close the connection over one bad REQ, and with it every
message in flight. On the wire a delay is whole milliseconds, rounded
up, so that a message never comes before its time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors.delays import exponential_delay

if TYPE_CHECKING:
    import random

__all__ = ["RequeueDelays", "milliseconds"]


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


def milliseconds(delay: float, longest: float) -> int:
    """`delay` seconds as the broker takes them: 0 to `longest`, rounded up."""
    if not delay > 0.0:  # also what is not a number
        return 0
    return math.ceil(min(delay, longest) * 1000)
