"""The samples of a soak run as a chart: for a terminal, and as a picture.

One row for each process and measure, drawn with eight heights between its least
and its most; the bar marks the end of the time that does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.soak.judgement import ALLOWANCES, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.soak.judgement import Verdict

__all__ = ["picture", "rows", "spark", "verdicts"]

_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 48
_MIB: Final = 1024 * 1024

#: The samples of one process: "seconds", and each measure by its name.
Series = "Mapping[str, Sequence[float]]"


def verdicts(series: Mapping[str, Sequence[float]], settle: float) -> dict[str, Verdict]:
    """The verdict of each measure of one process."""
    return {
        name: judge(series["seconds"], series[name], settle=settle, allowance=allowance)
        for name, allowance in ALLOWANCES.items()
    }


def spark(
    times: Sequence[float], values: Sequence[float], *, settle: float, width: int = _WIDTH
) -> str:
    """One line of `width` and a bar: the means of `width` equal spans of time."""
    if not values:
        return ""
    low, high, end = min(values), max(values), max(times) or 1.0
    columns: list[list[float]] = [[] for _ in range(width)]
    for at, value in zip(times, values, strict=True):
        columns[min(int(at / end * width), width - 1)].append(value)
    line = ""
    for number, column in enumerate(columns):
        if number == int(settle / end * width):
            line += "|"
        if not column:
            line += " "
            continue
        level = (sum(column) / len(column) - low) / (high - low or 1.0)
        line += _HEIGHTS[min(int(level * len(_HEIGHTS)), len(_HEIGHTS) - 1)]
    return line


def rows(name: str, series: Mapping[str, Sequence[float]], settle: float) -> list[str]:
    """The lines of one process."""
    found = []
    for measure, verdict in verdicts(series, settle).items():
        values = series[measure]
        drawn = spark(series["seconds"], values, settle=settle)
        low, high = _shown(measure, min(values)), _shown(measure, max(values))
        change = f"{_shown(measure, verdict.before)} -> {_shown(measure, verdict.after)}"
        found.append(
            f"{name:<8} {measure:<8} {drawn}  {low:>8} .. {high:<8}  {change:<20} {verdict.kind}"
        )
    return found


def _shown(measure: str, value: float) -> str:
    return f"{value / _MIB:.1f} M" if measure == "rss" else f"{value:,.0f}"


def picture(
    processes: Mapping[str, Mapping[str, Sequence[float]]], settle: float, to: Path
) -> bool:
    """Draw all series into a file, whose ending says the kind; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 2 * len(ALLOWANCES)), layout="constrained")
    for axes, measure in zip(
        figure.subplots(len(ALLOWANCES), 1, sharex=True), ALLOWANCES, strict=True
    ):
        for name, series in processes.items():
            scale = _MIB if measure == "rss" else 1
            axes.plot(
                [at / 60 for at in series["seconds"]],
                [value / scale for value in series[measure]],
                label=name,
            )
        axes.axvline(settle / 60, color="grey", linewidth=0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("rss, MiB" if measure == "rss" else measure)
    axes.set_xlabel("minutes")
    axes.legend()
    figure.savefig(to)
    return True
