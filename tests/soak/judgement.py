"""Whether a series of samples is flat. Pure: numbers in, a verdict out.

The first `settle` seconds do not count: caches fill, pools grow, connections are
made. What is left is cut into thirds, and the *floor* (the lower quartile) of the
first is compared with that of the last: work in hand and a collection of garbage
that is due lie on top of the floor and go again, a leak lifts it. A growth of no
more than the allowance is flat: a share of the first floor, and a number beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALLOWANCES", "LEAST", "Allowance", "Verdict", "judge"]

#: Samples that a third must have.
LEAST: Final = 4


@dataclass(frozen=True)
class Allowance:
    """What may be more at the end: a share of the beginning, and so many beside."""

    share: float
    beside: float

    def of(self, floor: float) -> float:
        """The growth that is allowed from this floor."""
        return self.share * floor + self.beside


#: By what is measured. Memory in bytes; the others are counts.
ALLOWANCES: Final = {
    "rss": Allowance(0.05, 3 * 1024 * 1024),
    "objects": Allowance(0.02, 1000),
    "fds": Allowance(0.0, 4),
    "tasks": Allowance(0.05, 6),
    "threads": Allowance(0.0, 2),
}


@dataclass(frozen=True)
class Verdict:
    """`before` and `after` are floors; `grown` and `allowed` are differences."""

    kind: Literal["flat", "grows", "too short"]
    before: float = 0.0
    after: float = 0.0
    allowed: float = 0.0
    per_hour: float = 0.0

    @property
    def grown(self) -> float:
        """How much more there is at the end."""
        return self.after - self.before


def judge(
    times: Sequence[float], values: Sequence[float], *, settle: float, allowance: Allowance
) -> Verdict:
    """Judge `values`, sampled at `times` (seconds, increasing), from `settle` on."""
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times and {len(values)} values")
    kept = [(at, value) for at, value in zip(times, values, strict=True) if at >= settle]
    third = len(kept) // 3
    if third < LEAST:
        return Verdict("too short")
    first, last = kept[:third], kept[-third:]
    before, after = _floor(first), _floor(last)
    hours = (_middle(last) - _middle(first)) / 3600
    allowed = allowance.of(before)
    kind: Literal["flat", "grows"] = "grows" if after - before > allowed else "flat"
    return Verdict(kind, before, after, allowed, (after - before) / hours)


def _floor(samples: Sequence[tuple[float, float]]) -> float:
    """The lower quartile of the values."""
    return sorted(value for _, value in samples)[len(samples) // 4]


def _middle(samples: Sequence[tuple[float, float]]) -> float:
    return (samples[0][0] + samples[-1][0]) / 2
