"""The charts of `irismq top`: which number each draws, and how it is written. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from irismq_runtime.cli.top.numbers import count, per_second, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.observer import Point

__all__ = ["CHARTS", "Chart"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A number over time: what it is, how it is written, and where it is in a point."""

    name: str
    write: Callable[[float | None], str]
    value: Callable[[Point], float | None]

    def series(self, history: Sequence[Point], most: int) -> list[float]:
        """The last `most` values; what is not known counts as 0 here."""
        return [self.value(point) or 0.0 for point in history[-most:]]

    def label(self, history: Sequence[Point]) -> str:
        """The name, and the value now."""
        return f"{self.name} {self.write(self.value(history[-1]) if history else None)}"


CHARTS: Final = (
    Chart("handled/s", per_second, lambda point: point.handled),
    Chart("waiting", count, lambda point: (point.waiting or 0) + point.inboxes),
    Chart("asks p99", seconds, lambda point: point.p99),
)
