"""Contestants, each in a process of its own, in turn; the best of their rounds.

What disturbs a run only ever makes it slower, so the best round says most. A
contestant that fails is left out from then on, with its reason.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

BENCHMARKS = Path(__file__).resolve().parents[1]

Figures = dict[str, dict[str, float]]


def run_one(module: str, scale: float, seconds: float) -> dict[str, float] | str:
    """The figures of one contestant in a fresh process, or why there are none."""
    code = (
        "import json, sys;"
        f"from contestants.{module} import measure;"
        "print('FIGURES ' + json.dumps(measure(float(sys.argv[1]))))"
    )
    path = f"{BENCHMARKS}{os.pathsep}{BENCHMARKS.parent}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(scale)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # The whole group: a contestant may have started servers.
            os.killpg(process.pid, signal.SIGKILL)
            return f"it did not end within {seconds:g} s"
    for line in output.splitlines():
        if line.startswith("FIGURES "):
            figures: dict[str, float] = json.loads(line.removeprefix("FIGURES "))
            return figures
    reason = errors.strip().splitlines()
    return reason[-1] if reason else f"exit code {process.returncode}"


def run_all(
    contestants: Mapping[str, str],
    names: Iterable[str],
    *,
    rounds: int,
    scale: float,
    seconds: float,
    less_is_better: Collection[str],
) -> tuple[Figures, dict[str, str]]:
    """All figures, and the contestants that have none with the reason."""
    figures: Figures = {}
    missing: dict[str, str] = {}
    for turn in range(rounds):
        for name in names:
            if name in missing:
                continue
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            result = run_one(contestants[name], scale, seconds)
            if isinstance(result, str):
                missing[name] = result
                continue
            known = figures.setdefault(name, {})
            for row, value in result.items():
                better = min if row in less_is_better else max
                known[row] = better(known.get(row, value), value)
    return figures, missing


def table(
    figures: Figures,
    rows: Mapping[str, str],
    times: Callable[[str, str], float | None],
) -> str:
    """The figures as Markdown. `times(row, name)`: the ratio to print; None: none."""
    names = list(figures)
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for row, unit in rows.items():
        cells = []
        for name in names:
            value = figures[name].get(row)
            ratio = None if value is None else times(row, name)
            text = "-" if value is None else f"{value:,.0f}"
            cells.append(text if ratio is None else f"{text} ({ratio:.1f}x)")
        lines.append(f"| {row}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """What was measured on what; packages that are not installed are left out."""
    known = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
    }
    for package in packages:
        try:
            known[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return known
