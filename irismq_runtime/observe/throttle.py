"""A throttle for reports: one a period, with the count of those that were held back.

A decision without a clock and without a log; `logs.RateLimitedLog` is made of it,
and code that counts things itself uses it alone.
"""

from __future__ import annotations

__all__ = ["Throttle"]


class Throttle:
    """Lets one report a period through, with the count of those it held back."""

    __slots__ = ("_interval", "held", "until")

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        #: Until then nothing is reported.
        self.until = float("-inf")
        #: What was not reported yet.
        self.held = 0

    def note(self, now: float) -> int:
        """Count one occurrence at `now`; how many to report now, 0 for silence."""
        self.held += 1
        return 0 if now < self.until else self.rest(now)

    def rest(self, now: float) -> int:
        """How many were held back, to be reported now; that is a report, too."""
        held, self.held = self.held, 0
        self.until = now + self._interval
        return held
