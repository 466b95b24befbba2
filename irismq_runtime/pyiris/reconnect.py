"""When to dial again: exponential, with jitter, forgetting only a connection that held.

A pure decision: `Backoff` is the policy, `Attempts` the state, the random
number and the time are arguments. A relay that accepts and drops at once does
not reset the delay, and many clients of one relay do not come back in step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from actors.delays import exponential_delay
from actors.rules import POSITIVE_SECONDS, SECONDS, complaints, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.rules import Rule

__all__ = ["Attempts", "Backoff", "patience"]

#: Seconds that no handshake is waited for longer than, however often it was overdue.
_LONGEST_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt k (from 0): min(longest, first * factor**k), spread.

    Args:
        first: seconds before the first attempt.
        longest: seconds that no delay exceeds.
        factor: by how much each delay is longer than the one before.
        jitter: the delay d is drawn evenly from [(1 - jitter) * d, d].
        stable: seconds that a connection must have stood before the next loss starts
            again at k = 0.

    Raises:
        ValueError: that leaves no positive delay.
    """

    first: float = 0.1
    longest: float = 5.0
    factor: float = 2.0
    jitter: float = 0.5
    stable: float = 5.0

    def __post_init__(self) -> None:
        for name, complaint in complaints(_RULES, self):
            raise ValueError(f"{name}={complaint}")
        if self.first > self.longest:
            raise ValueError(f"first={self.first!r} is above longest ({self.longest!r})")

    def delay(self, attempt: int, sample: float) -> float:
        """Seconds before `attempt`; `sample` is a random number in [0, 1)."""
        return exponential_delay(
            attempt,
            self.first,
            self.longest,
            sample,
            spread=(1.0 - self.jitter, 1.0),
            factor=self.factor,
        )


_RULES: Final[Mapping[str, Rule]] = {
    "first": POSITIVE_SECONDS,
    "longest": POSITIVE_SECONDS,
    "factor": number(1.0, 1000.0, ""),
    "jitter": number(0.0, 0.999, ""),  # all of it would leave no delay
    "stable": SECONDS,
}


def patience(usual: float, overdue: int) -> float:
    """Seconds for the handshake of a connection that stands, after so many were overdue in a row.

    One that is late is twice as long waited for the next time: a relay, or a loop of our own,
    with a whole fleet to greet is not dead, and whoever dials again goes to the end of
    the queue and leaves one more dead connection in it.
    """
    return min(usual * 2.0 ** min(overdue, 60), max(usual, _LONGEST_PATIENCE))


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often dialling, or a connection that did not hold, has failed in a row."""

    policy: Backoff
    failed: int = 0

    def after_loss(self, stood: float) -> Attempts:
        """The state after a connection that stood for `stood` seconds (0: it never did)."""
        if stood >= self.policy.stable:
            return replace(self, failed=0)
        return self

    def next(self, sample: float) -> tuple[Attempts, float]:
        """The state of the next attempt and the seconds to wait before it."""
        return replace(self, failed=self.failed + 1), self.policy.delay(self.failed, sample)
