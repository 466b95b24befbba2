"""The delay before a restart: it doubles, is capped, and then spread by chance.

    delay(k) = min(max, min * 2**k) * (1 + random * jitter),   k = 0, 1, 2, ...

The chance is added after the cap (Pekko's rule). A child that has run for
`reset_after` seconds has had its quiet time: its next failure is number 0 again.
Randomness is an argument; nothing here waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actors.delays import exponential_delay
from actors.rules import SECONDS
from supervisors.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff(NamedTuple):
    """Delays in seconds between the restarts of one child.

    `jitter` is the share of chance: 0.2 makes each delay up to a fifth longer.
    `reset_after` is `(min + max) / 2` unless given. A plain tuple
    `(min, max, jitter)` means the same wherever a backoff is asked for.
    """

    min: float
    max: float
    jitter: float = 0.2
    reset_after: float | None = None

    @property
    def quiet(self) -> float:
        """Seconds of running after which the count of failures starts again."""
        return (self.min + self.max) / 2 if self.reset_after is None else self.reset_after

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait before the next try.

        Args:
            failures: How many tries in a row have failed before; 0 before the first.
            random: Gives a number in [0, 1) for the jitter.
        """
        spread = (1.0, 1.0 + self.jitter)
        return exponential_delay(failures, self.min, self.max, random(), spread=spread)


def checked_backoff(value: object) -> Backoff | None:
    """The backoff that `value` means (`None`, a `Backoff`, or a tuple), checked.

    Raises:
        SpecError: reason `invalid_backoff`.
    """
    if value is None:
        return None
    numbers = value if isinstance(value, tuple) and 2 <= len(value) <= 4 else ()
    if not numbers or not all(
        _is_seconds(number) or (number is None and place == 3)
        for place, number in enumerate(numbers)
    ):
        raise SpecError(
            "invalid_backoff",
            value,
            "give backoff=(min, max, jitter): seconds, seconds, and a share such as 0.2",
        )
    backoff = Backoff(*numbers)
    if backoff.min > backoff.max:
        raise SpecError("invalid_backoff", value, "min is greater than max")
    return backoff


def _is_seconds(value: object) -> bool:
    return SECONDS.takes(value)
