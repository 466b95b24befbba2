"""Run the benchmarks one after another, and write docs/benchmarks.md from what they found.

    python benchmarks/report.py run [NAME ...]     into docs/benchmarks/NAME.json
    python benchmarks/report.py render             docs/benchmarks.md from these

A run keeps what the benchmark printed, word for word, with its command, the time,
and the load of the machine before and after. The page holds nothing else of
figures, so that none can be on it that was not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import charts

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "docs" / "benchmarks"
PAGE = HERE.parent / "docs" / "benchmarks.md"

#: What is run: the script and its arguments. FIGURES and CHART are files it may write.
COMMANDS: dict[str, list[str]] = {
    "remote": ["remote.py", "--json", "FIGURES", "--chart", "CHART"],
    "hops": ["hops.py", "--json", "FIGURES"],
    "durable": ["durable.py", "--json", "FIGURES"],
    "local": [
        "local.py",
        "--rounds",
        "2",
        "--scale",
        "0.5",
        "--json",
        "FIGURES",
        "--chart",
        "CHART",
    ],
    "mailbox": ["mailbox.py", "--json", "FIGURES"],
    "queues": ["queues.py", "--json", "FIGURES"],
    "backlog": ["durable.py", "--backlog", "1000000", "--json", "FIGURES"],
    "relay": ["relay.py"],
    "broker": ["broker.py"],
    "pyiris": ["pyiris.py"],
    "observe": ["observe.py", "--json", "FIGURES"],
    "codec": ["codec.py"],
    "checks": ["checks.py", "--json", "FIGURES"],
    "startup": ["startup.py", "--json", "FIGURES"],
    "processes": ["processes.py", "--json", "FIGURES"],
    "state": ["state.py", "--json", "FIGURES"],
    "entities": ["entities.py", "--json", "FIGURES"],
    "against": ["against.py", "5b5e3fd", "--rounds", "3", "--exit-zero", "--json", "FIGURES"],
}

#: What stands on the page above each table.
WORDS: dict[str, tuple[str, str]] = {
    "local": (
        "Actors in one process",
        "Messages and actors a second, and how many times that is of Pykka in the same run.",
    ),
    "remote": (
        "Asks between two processes",
        (
            "Two nodes and the relay, each in a process of its own. In brackets: how many times "
            "the first column is better. A NATS, xoscar, Thespian or Ray ask carries bare bytes "
            "or a pickle; one of ours is a dataclass that is checked at the other end, with a "
            "deadline. `nats-server` is a Go program; the embedded relay is Python. Over NATS "
            "each node has a relay in its own process, and `nats-server` is the third. An ask "
            "that waits for the one before crosses four sockets, over a relay as over NATS; what "
            "the promises below it say is held against this run, kept or not."
        ),
    ),
    "hops": (
        "Where the time of an ask goes",
        (
            "Asker, relay and member on one loop, one ask after the other, by the clock. A call of "
            "Erlang's `gen_server` on another node crosses two sockets, and one of ours four, as "
            "the relay is the authority over who is a member: what is no work of ours is beyond "
            "what a faster runtime could save without another way between the two."
        ),
    ),
    "durable": (
        "Durable messages between actors",
        (
            "Dataclasses told by one node and handled by an actor of another, every receipt "
            "awaited, every message finished. pynsq and JetStream move bare bytes. In brackets: "
            "how many times the first row is faster. The last table is about processor time: 0.80 "
            "means that a second of it does 80 % of what it does without the feature."
        ),
    ),
    "queues": (
        "Beside task queues",
        (
            "A text of 100 bytes, sent until the broker has confirmed it, handled and then "
            "acknowledged; every broker keeps messages in memory. Celery and Dramatiq wait for "
            "Redis at each send, and their workers are two processes; ours and FastStream's are "
            "one. Celery and Dramatiq call plain functions in a pool, where a handler may block; "
            "ours would have to be told so. In brackets: how many times the first is faster."
        ),
    ),
    "processes": (
        "More processes where a handler computes",
        (
            "`irismq run --processes`: the handler computes for a millisecond of processor time of "
            "each message, on a machine of two cores that the broker and the relay share. The "
            "messages wait at the broker, and the actors count what they have handled."
        ),
    ),
    "startup": (
        "Until a command begins",
        (
            "Processor time of a whole process, the least of the rounds, and the time of the clock "
            "until its first byte of output, the median, which another load on the machine makes "
            "longer. `irismq ask` makes a node, connects it and asks one that waits; typer imports "
            "pydantic to read the options of a command, but none of it for `irismq --help`."
        ),
    ),
    "backlog": (
        "Memory with a backlog",
        (
            "One consumer works through a backlog of 1,000,000 messages; its resident memory is "
            "read every 10,000 messages."
        ),
    ),
    "mailbox": (
        "The mailbox without actors",
        "The NSQ transport alone, bytes in and bytes out, beside pynsq and JetStream.",
    ),
    "pyiris": ("pyiris without actors", "The Iris transport alone, over the embedded relay."),
    "broker": ("The embedded nsqd", "One bare connection; beside it the real nsqd."),
    "relay": ("The embedded relay", "Caller and member are bare protocols in one process."),
    "observe": (
        "What it costs to look",
        (
            "Two nodes in one process, messages a second of its processor time, best of the "
            "rounds; in brackets the share of what is left with the thing switched on. A span for "
            "every message costs what OpenTelemetry's SDK costs; by default a node begins 100 "
            "traces a second."
        ),
    ),
    "codec": ("The codec", "One thread, no connection."),
    "checks": (
        "What the checks cost",
        (
            "One step of one message, without a connection, beside the same step of an earlier "
            "commit, whose checkout IRISMQ_AGAINST names; the columns of figures are headed by "
            "their commits. The earlier one looked for no header and no key of a map "
            "that is there twice, for no datetime without a zone and for no subclass in a "
            "field, and its signatures (version 1) said neither for which place nor when: a "
            "recorded message could be played elsewhere and later. Version 2 signs both, and "
            "the receiver looks at the time. The hash itself, BLAKE2b, is less than half of "
            "what signing adds to a pack, and less than a third of what it adds to an open: the "
            "rest is three headers more, written, read and checked, and a comparison that takes as "
            "long wherever two signatures differ."
        ),
    ),
    "against": (
        "Beside an earlier commit",
        (
            "Both commits in turn, by `benchmarks/against.py`: processor time of one step, which "
            "another load on the machine changes little. Since the earlier one a handler runs in "
            "place, and an ask of an idle actor where it is awaited. Signatures name a place and "
            "a time (version 2), headers and keys that are there twice are found, and what waits "
            "for a slow relay is counted. In an ask between nodes, all three processes of which "
            "are one here, with 256 in flight, CPython was counted to run 4,140 instructions, "
            "where it ran 4,134 (the least of three counts each)."
        ),
    ),
    "state": (
        "The store of durable state",
        (
            "A message takes its row out of an outbox, changes a state of 100 bytes and leaves "
            "a row, and is on the disk when it is counted. By hand: a transaction a message. A "
            "step of DBOS records one row. All in one run, on one PostgreSQL."
        ),
    ),
    "entities": (
        "Entities",
        (
            "One node with one class of entities, broker and relay in other processes. Messages go "
            "to entities that are active; an activation is the first message to one that rests, "
            "which is made for it and loads its state; a reminder is set by each entity for the "
            "same time. Idle is resident memory for an active entity with nothing to do. The rates "
            "of a second of processor time are those of the node's process."
        ),
    ),
}
README = HERE.parent / "README.md"
#: What the README shows of them: run, row, its words there, and the columns; ours first.
SHOWN: list[tuple[str, str, str, list[str]]] = [
    ("local", "tell, messages/s", "local tells", ["Actor", "Pykka"]),
    ("local", "ask, asks/s", "local asks, one after another", ["Actor", "Pykka"]),
    ("local", "start, actors/s", "actors started", ["Actor", "Pykka"]),
    (
        "remote",
        "ask, asks/s",
        "asks between processes, one after another",
        ["irismq", "nats-py", "xoscar", "Ray"],
    ),
    (
        "remote",
        "asks in flight, asks/s",
        "the same, many in flight",
        ["irismq", "nats-py", "xoscar", "Ray"],
    ),
]
#: Rows of the first table of durable.py that it shows; ours first.
DURABLE = {
    "nodes on real nsqd": "irismq",
    "pynsq": "pynsq",
    "jetstream": "JetStream with nats-py",
}
PREFACE = """# Benchmarks

Each table below was printed by the program that stands above it, at the time and on
the machine that stand below it. Figures of one run compare with each other and with
nothing else: on another machine, or on the same one under another load, all of them
differ. The load average is that of the whole machine before and after the run; on a
quiet machine with two cores a benchmark of three processes brings it to about 2 by
itself.

Every contestant runs in processes of its own, by itself. To run one again:

```
pip install -e . --group bench
python benchmarks/remote.py            # prints the table; --help says what is in it
python benchmarks/report.py run        # all of them, into docs/benchmarks/
python benchmarks/report.py render     # this page from those files
```

`IRISMQ_NSQD=/path/to/nsqd` makes the real nsqd the broker; without it, and without
`nsqd` on `PATH`, the embedded one is used and named. A real Iris node is measured
beside the embedded relay when `IRISMQ_IRIS` names its binary and it listens on
127.0.0.1:55555 in a network namespace of its own.
"""


def load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def run(name: str) -> None:
    """Run one benchmark and keep what it says; a failure is reported and kept out."""
    script, *arguments = COMMANDS[name]
    figures = FOLDER / f"{name}.figures.json"
    chart = FOLDER / f"{name}.svg"
    files = {"FIGURES": str(figures), "CHART": str(chart)}
    words = [files.get(word, word) for word in arguments]
    before, began = load(), time.monotonic()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    ended = subprocess.run(
        [sys.executable, str(HERE / script), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode:
        print(f"{name}: exit code {ended.returncode}", file=sys.stderr)
        figures.unlink(missing_ok=True)
        return
    shown = [word for word in arguments if word not in {"--json", "--chart", *files}]
    report: dict[str, Any] = {
        "command": " ".join(["python", f"benchmarks/{script}", *shown]),
        "at": at,
        "took_seconds": round(time.monotonic() - began),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "irismq-runtime": metadata.version("irismq-runtime"),
        "load_before": before,
        "load_after": load(),
        "printed": ended.stdout.strip().splitlines(),
    }
    if figures.exists():
        report["figures"] = json.loads(figures.read_text())
        figures.unlink()
    (FOLDER / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"{name}: {report['took_seconds']} s", file=sys.stderr)


def section(name: str) -> list[str]:
    """The part of the page about one benchmark; empty when there is no run of it."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return []
    report = json.loads(path.read_text())
    title, words = WORDS[name]
    before, after = (f"{report[key][0]:.1f}" for key in ("load_before", "load_after"))
    lines = [f"## {title}", "", words, "", f"```\n{report['command']}\n```", ""]
    printed = report["printed"]
    if any(line.startswith("| --- |") for line in printed):
        lines += [f"- {line}" if line and line[0] not in "|-" else line for line in printed]
    else:
        lines += ["```text", *printed, "```"]
    draw(name, report)
    if (FOLDER / f"{name}.svg").exists():
        lines += ["", f"![{title}](benchmarks/{name}.svg)"]
    at = report["at"].replace("T", " ").removesuffix("+00:00")
    lines += [
        "",
        (
            f"*{at} UTC, {report['machine']}, Python {report['python']}, load average {before} "
            f"before and {after} after, {report['took_seconds']} s; "
            f"[as JSON](benchmarks/{name}.json).*"
        ),
        "",
    ]
    return lines


def table(name: str) -> list[list[str]]:
    """The rows of the tables that a run printed, without what stands in brackets."""
    path = FOLDER / f"{name}.json"
    printed = json.loads(path.read_text())["printed"] if path.exists() else []
    rows = [line.strip("|").split("|") for line in printed if line.startswith("|")]
    return [[re.sub(r"\(.*?\)", "", cell).strip() for cell in row] for row in rows]


def figures() -> list[str]:
    """The table of the README: each figure is on the page of benchmarks."""
    lines = ["", "| a second | irismq | others, in the same run |", "| --- | ---: | --- |"]
    for name, row, words, columns in SHOWN:
        heading: list[str] = []
        for cells in table(name):
            if not cells[0]:
                heading = cells
            elif cells[0] == row:
                by_name = dict(zip(heading, cells, strict=True))
                lines.append(shown(words, [(each, by_name[each]) for each in columns]))
    rows = {cells[1]: cells for cells in table("durable") if cells[0] == "100 B"}
    if DURABLE.keys() <= rows.keys():
        for at, words in ((2, "durable tells of 100 bytes, confirmed"), (3, "the same, handled")):
            lines.append(shown(words, [(who, rows[row][at]) for row, who in DURABLE.items()]))
    return [*lines, ""]


def shown(words: str, figures: list[tuple[str, str]]) -> str:
    """One row: what, ours, and the others by name."""
    (_, ours), *others = figures
    return f"| {words} | {ours} | {', '.join(f'{who} {figure}' for who, figure in others)} |"


def draw(name: str, report: dict[str, Any]) -> None:
    """The chart of a benchmark that makes none itself."""
    groups: dict[str, dict[str, float]] = {}
    if name == "durable":
        for at, words in ((2, "tell, confirmed"), (3, "receive, finished")):
            groups[f"{words}, 100 bytes, per second"] = {
                cells[1]: float(cells[at].replace(",", ""))
                for cells in table(name)
                if cells[0] == "100 B"
            }
    elif name == "mailbox":
        for verb, rates in (("publish", "confirmed tells"), ("receive", "receive and FIN")):
            groups[f"{rates}, 100 bytes, per second"] = {
                who: found[verb] for who, found in report["figures"]["throughput"]["100"].items()
            }
    if groups:
        (FOLDER / f"{name}.svg").write_text(charts.bars(groups))


def render() -> None:
    lines = [PREFACE]
    for name in WORDS:
        lines += section(name)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    begin, end = "<!-- figures: written by benchmarks/report.py -->", "<!-- end of figures -->"
    before, rest = README.read_text().split(begin)
    behind = rest.split(end)[1]
    README.write_text("\n".join([before + begin, *figures(), end + behind]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the benchmarks and write the page.")
    parser.add_argument("what", nargs="?", default="render", choices=["run", "render"])
    parser.add_argument("names", nargs="*", help=", ".join(COMMANDS))
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if options.what == "run":
        for name in options.names or COMMANDS:
            run(name)
    render()


if __name__ == "__main__":
    main()
