"""Local actors: ours beside what people use instead, in one run, in one table.

    python benchmarks/local.py [--rounds N] [--scale F] [--only NAME ...]
                               [--json FILE] [--chart FILE] [--cpu]

Every contestant runs in a process of its own, one after another, `rounds` times
in turn; the table has the best of its rounds, because what disturbs a run only
ever makes it slower. `scale` shortens everything alike. What is measured:

tell            one sender to one actor, an ask after every 1,000 messages
tell, stream    100,000 messages at once, until the last is handled
ask             one after another, each awaited
asks in flight  1,000 at a time
async handler   the same where the handler is a coroutine function; others have no such thing
ask between     one actor asks another, one after another, inside a handler
fan-out         one message to each of many actors, until the last is handled
start, stop     actors a second; every one has run its on_start, or its on_stop
memory          bytes of RSS for each idle actor

With `--cpu` a second is one of processor time, for a machine that has other
things to do. It flatters those that wait much, which are the threads.

Erlang is `gen_server` (cast, call, start, stop), which waits for the init of each before the
next is started; it runs on all cores at once, and a sender that is ahead of its receiver is
slowed down.

The figures of one run on one machine compare with each other and with nothing
else. A contestant whose package is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import charts
from contestants import rounds

CONTESTANTS = {
    "Actor": "ours",
    "Actor, observed": "ours_observed",
    "ThreadActor": "ours_thread",
    "Pykka": "pykka_threads",
    "Thespian": "thespian_queue",
    "xoscar": "xoscar_pool",
    "Erlang": "erlang_local",
}
ROWS = {
    "tell": "messages/s",
    "tell, stream": "messages/s",
    "tell, async handler": "messages/s",
    "ask": "asks/s",
    "ask, async handler": "asks/s",
    "asks in flight": "asks/s",
    "ask between": "asks/s",
    "fan-out": "messages/s",
    "start": "actors/s",
    "stop": "actors/s",
    "memory": "bytes/actor",
}
AGAINST = "Pykka"
LESS_IS_BETTER = {"memory", "growth"}
#: What the runtime promises against Pykka, in the same run.
TARGETS = {"tell": 8.0, "tell, stream": 8.0, "ask": 4.0, "start": 10.0}
#: What is wanted beside Erlang: our row, which share, of which of its rows.
BESIDE_ERLANG = (
    ("tell", 1.0, "tell"),
    ("ask", 0.5, "ask"),
    ("ask, async handler", 0.3, "ask"),
    ("start", 0.5, "start"),
)


def ratio(row: str, figures: dict[str, dict[str, float]], name: str) -> float | None:
    """How many times better `name` is than Pykka."""
    mine = figures.get(name, {}).get(row)
    theirs = figures.get(AGAINST, {}).get(row)
    if not mine or not theirs:
        return None
    return theirs / mine if row == "memory" else mine / theirs


def table(figures: rounds.Figures) -> str:
    """The figures as a Markdown table, with the ratios to Pykka."""

    def times(row: str, name: str) -> float | None:
        return None if name == AGAINST else ratio(row, figures, name)

    return rounds.table(figures, ROWS, times)


def chart(figures: dict[str, dict[str, float]]) -> str:
    """The ratios to Pykka as an SVG of bars, on a logarithmic scale."""
    import math

    rows = [row for row in ROWS if any(ratio(row, figures, n) for n in figures)]
    names = [name for name in figures if name != AGAINST]
    colours = ("#1b6ca8", "#7fb2d8", "#2a9d8f", "#b0b0b0", "#d9a441")
    bar, gap, left, width = 13, 12, 150, 560
    parts: list[str] = []
    y = 40
    for row in rows:
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{row}</text>')
        for number, name in enumerate(names):
            times = ratio(row, figures, name)
            if times is None:
                continue
            length = max(2.0, (math.log10(max(times, 0.01)) + 2) / 4 * width)
            colour = colours[number % len(colours)]
            parts.append(
                f'<rect x="{left}" y="{y}" width="{length:.0f}" height="{bar - 2}" '
                f'fill="{colour}"/><text x="{left + length + 5:.0f}" y="{y + 10}">'
                f"{name} {times:.2g}x</text>"
            )
            y += bar
        y += gap
    one = left + width / 2
    parts.append(f'<line x1="{one}" y1="30" x2="{one}" y2="{y}"/>')
    parts.append(f'<text x="{one + 4}" y="26">{AGAINST} = 1</text>')
    return charts.document(left + width + 170, y + 10, parts)


def beside_erlang(ours: dict[str, float], erlang: dict[str, float]) -> list[str]:
    """Our figures as shares of Erlang's."""
    return [
        f"{row}: {ours[row] / erlang[other]:.2f} of Erlang's (wanted {share:g})"
        for row, share, other in BESIDE_ERLANG
        if ours.get(row) and erlang.get(other)
    ]


def verdicts(figures: dict[str, dict[str, float]]) -> list[str]:
    """The promises of the runtime, held against the figures."""
    lines = []
    for row, wanted in TARGETS.items():
        times = ratio(row, figures, "Actor")
        if times is not None:
            lines.append(f"{row}: {times:.1f} times Pykka (promised {wanted:g})")
    lines += beside_erlang(figures.get("Actor", {}), figures.get("Erlang", {}))
    observed = figures.get("Actor, observed", {}).get("tell")
    plain = figures.get("Actor", {}).get("tell")
    if observed and plain:
        lines.append(f"tell with hooks on: {observed / plain:.0%} of that (promised 85%)")
    growth = figures.get("Actor", {}).get("growth")
    if growth:
        lines.append(
            f"with ten times the actors each start and stop takes {growth:.2f} times as long"
        )
    memory = figures.get("Actor", {}).get("memory")
    if memory:
        lines.append(f"memory: {memory:,.0f} bytes for each idle actor (promised under 3,000)")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Local actors beside what people use instead.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    if options.cpu:
        os.environ["BENCHMARK_CLOCK"] = "cpu"
    began = time.monotonic()
    figures, missing = rounds.run_all(
        CONTESTANTS,
        options.only,
        rounds=options.rounds,
        scale=options.scale,
        seconds=600,
        less_is_better=LESS_IS_BETTER,
    )
    print(table(figures))
    print()
    for line in verdicts(figures):
        print(line)
    for name, reason in missing.items():
        print(f"left out: {name} ({reason})")
    report: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(time.monotonic() - began),
        "rounds": options.rounds,
        "clock": "cpu" if options.cpu else "wall",
        "versions": rounds.versions(("pykka", "uvloop", "thespian", "xoscar")),
        "figures": figures,
        "left_out": missing,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.chart:
        options.chart.write_text(chart(figures))


if __name__ == "__main__":
    main()
