"""What it costs to look: metrics, tracing and hooks, switched on and off, in one table.

    python benchmarks/observe.py [--rounds N] [--scale F] [--only WAY ...] [--json FILE]

Two nodes in one process, the embedded broker and relay in others. Every way is a
process of its own, in turn, `rounds` times; the table has the best of its rounds, in
messages a second of processor time, and in brackets the share of what "off" does.

off                    no metrics asked for, no provider of traces; the meter runs, as always
off, again             the same: how far two equal ways are apart here
no meter               what the meter, which is always on, costs
metrics                the meter, and a scrape of all metrics every second
tracing                a provider is set; each node begins 100 traces a second by itself
tracing, not sampled   everything happens inside a span that was not sampled
tracing every message  a span for each sending and each handling, ended and exported
hooks                  a subscriber that hears every event of both nodes

Spans are made by OpenTelemetry's SDK and handed in batches to an exporter that
drops them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants import rounds  # noqa: E402  # found by the lines above
from contestants.remote_servers import (  # noqa: E402  # as above
    free_port,
    nsqd_command,
    ours,
    running,
)

WAYS = (
    "off",
    "off, again",
    "no meter",
    "metrics",
    "tracing",
    "tracing, not sampled",
    "tracing every message",
    "hooks",
)
ROWS = (
    "local tell",
    "local ask",
    "durable tell, receive, FIN",
    "remote ask, both ends",
)
#: What is promised of the throughput that is left, for each row.
PROMISED = {"metrics": 0.9, "tracing": 0.9}


def measured(names: list[str], count: int, scale: float) -> rounds.Figures:
    figures: rounds.Figures = {}
    nsqd, iris = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(running(nsqd_command(nsqd, embedded=True), nsqd))
        stack.enter_context(running(ours("relay", iris), iris))
        servers = {"nsqd": f"127.0.0.1:{nsqd}", "iris": f"127.0.0.1:{iris}"}
        os.environ["BENCHMARK_SERVERS"] = json.dumps(servers)
        for turn in range(count):
            for name in names:
                print(f"round {turn + 1} of {count}: {name}", file=sys.stderr)
                os.environ["BENCHMARK_OBSERVE"] = name
                result = rounds.run_one("observed_node", scale, 120.0)
                if isinstance(result, str):
                    raise SystemExit(f"{name}: {result}")
                known = figures.setdefault(name, {})
                for row, value in result.items():
                    known[row] = max(known.get(row, value), value)
    return figures


def table(figures: rounds.Figures) -> list[str]:
    names = list(figures)
    lines = ["| | " + " | ".join(ROWS) + " |", "| --- |" + " ---: |" * len(ROWS)]
    for name in names:
        cells = []
        for row in ROWS:
            value, off = figures[name][row], figures.get("off", {}).get(row)
            share = "" if off is None or name == "off" else f" ({value / off:.0%})"
            cells.append(f"{value:,.0f}{share}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def kept(figures: rounds.Figures) -> list[str]:
    """What was promised, against this run."""
    lines = []
    for name, promised in PROMISED.items():
        if name not in figures or "off" not in figures:
            continue
        least = min(figures[name][row] / figures["off"][row] for row in ROWS)
        lines.append(f"{name}: at least {least:.0%} of the throughput is left ({promised:.0%})")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = measured(options.only, options.rounds, options.scale)
    print("\n".join(table(figures)))
    print()
    print("\n".join(kept(figures)))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
