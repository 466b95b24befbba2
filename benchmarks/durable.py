"""Durable messages between actors: nodes on nsqd, beside what people use instead.

    python benchmarks/durable.py [--quick] [--servers real embedded] [--json FILE]
    python benchmarks/durable.py --backlog 1000000 [--json FILE]

Everything an application pays is in these figures: a dataclass is encoded and put
into an envelope; at the other end it is decoded, checked against its type, given
to an `Actor`, and FINished when its handler has returned. mailbox.py has the same
without the node, bytes alone.

tell     from one process, one by one, every receipt awaited
receive  a backlog, by one consumer process, from its start until the last is handled
latency  from tell to the handler, two processes, at a steady rate; the first second,
         in which the consumer learns how much to ask for, stands beside it
cost     messages that a second of processor time tells and receives with a feature
         on or off, as a ratio to the default; on the first server alone

pynsq and JetStream move bare bytes of the same size, with nothing to decode; their
children are those of mailbox.py. nsqd is the one that IRISMQ_NSQD or PATH names
("real"), and our embedded one. With --backlog, only the memory of a consumer that
works through so many messages is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants.remote_servers import (  # noqa: E402  # found by the lines above
    free_port,
    nats_command,
    nsqd_command,
    ours,
    real_nsqd,
    running,
    said,
)

#: Bytes of payload, and the share of the messages that are sent of each size.
SIZES = {100: 1.0, 1_000: 0.5, 10_000: 0.1}
#: Messages a second of the latency rows.
RATES = {"idle, 100/s": 100}
FEATURES: dict[str, dict[str, Any]] = {
    "default": {},
    "dedupe off": {"dedupe_window": 0},
    "signed": {"signed": True},
    "lease of 2 s": {"lease": 2.0},
}


class Place:
    """A broker and a relay that run, and the roles that use them."""

    def __init__(self, nsqd: int, iris: int) -> None:
        self.port = nsqd
        self.servers = {"nsqd": f"127.0.0.1:{nsqd}", "iris": f"127.0.0.1:{iris}"}

    def command(self, role: str, **arguments: Any) -> list[str]:
        text = json.dumps({**self.servers, **arguments})
        return [sys.executable, "-m", "contestants.durable_node", role, text]

    def run(self, role: str, **arguments: Any) -> dict[str, float]:
        """What one role in a process of its own says."""
        return said(self.command(role, **arguments))


def address(word: str) -> str:
    return f"bench.{word}.{time.time_ns()}"


def throughput(place: Place, count: int, size: int, **options: Any) -> dict[str, float]:
    name = address(f"t{size}")
    told = place.run("tell", address=name, count=count, size=size, **options)
    took = place.run("receive", address=name, count=count, **options)
    return {
        "tell": told["rate"],
        "receive": took["rate"],
        "tell_cpu": told["cpu_rate"],
        "receive_cpu": took["cpu_rate"],
    }


def latency(place: Place, rate: float, seconds: float, size: int = 100) -> dict[str, float]:
    name = address("latency")
    with running(place.command("listen", address=name)) as listener:
        assert listener.stdout is not None
        assert listener.stdin is not None
        if listener.stdout.readline().strip() != b"ready":
            raise RuntimeError("the listener did not start")
        place.run("pace", address=name, rate=rate, seconds=seconds, size=size)
        listener.stdin.write(b"\n")
        listener.stdin.flush()
        found: dict[str, float] = json.loads(listener.stdout.readline())
    return {"rate": rate, **found}


def nodes(place: Place, count: int, seconds: float, features: list[str]) -> dict[str, Any]:
    """Everything of ours on one broker."""
    found: dict[str, Any] = {"throughput": {}, "latency_ms": {}, "cost": {}}
    for size, share in SIZES.items():
        progress(f"ours, {size} B")
        found["throughput"][size] = throughput(place, int(count * share), size)
    half = found["throughput"][100]["receive"] / 2
    for label, rate in {**RATES, "half load": half}.items():
        progress(f"latency, {label}")
        found["latency_ms"][label] = latency(place, rate, seconds)
    for feature in features:
        progress(f"cost: {feature}")
        found["cost"][feature] = throughput(place, count // 2, 100, **FEATURES[feature])
    return found


def mailbox_child(role: str, port: int, count: int, size: int, topic: str) -> float:
    script = str(HERE / "mailbox.py")
    numbers = [str(number) for number in (port, count, size)]
    return said([sys.executable, script, "--child", role, *numbers, topic])["rate"]


def peer(name: str, port: int, count: int) -> dict[int, dict[str, float]]:
    """pynsq or JetStream, with the children of mailbox.py."""
    found = {}
    for size, share in SIZES.items():
        progress(f"{name}, {size} B")
        topic = f"{name}{size}-{time.time_ns()}"
        part = int(count * share) // 5 // 500 * 500
        found[size] = {
            "tell": mailbox_child(f"{name}_publish", port, part, size, topic),
            "receive": mailbox_child(f"{name}_receive", port, part, size, topic),
        }
    return found


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def on_nsqd(stack: ExitStack, *, embedded: bool) -> Place:
    nsqd, iris = free_port(), free_port()
    stack.enter_context(running(nsqd_command(nsqd, embedded=embedded), nsqd))
    stack.enter_context(running(ours("relay", iris), iris))
    return Place(nsqd, iris)


def measure(servers: list[str], *, quick: bool) -> dict[str, Any]:
    count, seconds = (40_000, 1.5) if quick else (200_000, 4.0)
    found: dict[str, Any] = {"nodes": {}, "peers": {}}
    for server in servers:
        if server == "real" and real_nsqd() is None:
            progress("real nsqd is left out: neither IRISMQ_NSQD nor PATH names one")
            continue
        with ExitStack() as stack:
            place = on_nsqd(stack, embedded=server == "embedded")
            features = list(FEATURES) if server == servers[0] else []
            found["nodes"][server] = nodes(place, count, seconds, features)
            if server == "real":
                found["peers"]["pynsq"] = peer("pynsq", place.port, count)
    try:
        port = free_port()
        with running([*nats_command(port), "-js", "-sd", "DATA"], port):
            found["peers"]["jetstream"] = peer("jetstream", port, count)
    except RuntimeError as error:
        progress(f"JetStream is left out: {error}")
    return found


def backlog(count: int, *, embedded: bool = False) -> dict[str, Any]:
    """Memory of a consumer with a backlog of `count` messages of 100 B."""
    with ExitStack() as stack:
        place = on_nsqd(stack, embedded=embedded)
        name = address("backlog")
        place.run("tell", address=name, count=count, size=100)
        return {"messages": count, **place.run("backlog", address=name, count=count)}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown; ratios say how many times the default node of row 1 is."""
    lines = [
        "| payload | | tell, confirmed/s | receive, FIN/s |",
        "| ---: | --- | ---: | ---: |",
    ]
    rows: dict[str, Any] = {
        f"nodes on {s} nsqd": n["throughput"] for s, n in found["nodes"].items()
    }
    rows |= found["peers"]
    first = next(iter(rows))
    for size in SIZES:
        for name, sizes in rows.items():
            cells = []
            for what in ("tell", "receive"):
                times = rows[first][size][what] / sizes[size][what]
                beside = "" if name == first else f" ({times:.1f}x)"
                cells.append(f"{sizes[size][what]:,.0f}{beside}")
            lines.append(f"| {size:,} B | {name} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "| nsqd | load | p50 ms | p99 ms | p99.9 ms | p99 of the first second |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for server, all_of_it in found["nodes"].items():
        for label, ages in all_of_it["latency_ms"].items():
            cells = [f"{ages[p]:.2f}" for p in ("p50", "p99", "p99.9")]
            cells.append(f"{ages['first second']['p99']:.2f}")
            rate = f"{label}, {ages['rate']:,.0f}/s" if "/s" not in label else label
            lines.append(f"| {server} | {rate} | {' | '.join(cells)} |")
    lines += ["", "| nsqd | with | tell | receive |", "| --- | --- | ---: | ---: |"]
    for server, all_of_it in found["nodes"].items():
        for feature, rates in all_of_it["cost"].items():
            default = all_of_it["cost"]["default"]
            cells = [f"{rates[what] / default[what]:.2f}" for what in ("tell_cpu", "receive_cpu")]
            lines.append(f"| {server} | {feature} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def backlog_table(found: dict[str, Any]) -> str:
    """What a consumer of a backlog needs, in MB."""
    cells = [
        f"{found['server']}",
        f"{found['messages']:,}",
        f"{found['rate']:,.0f}",
        f"{found['connected_mb']:.1f}",
        f"{found['after_first_10000_mb']:.1f}",
        f"{found['peak_mb']:.1f}",
    ]
    return (
        "| broker | messages | handled/s | MB connected | MB after 10,000 | MB at the peak |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        f"| {' | '.join(cells)} |\n\n"
        f"growth while the backlog is worked off: {found['growth_since_connected_mb']:.1f} MB "
        "(promised under 50)"
    )


def verdicts(found: dict[str, Any]) -> list[str]:
    """The promises of the runtime, held against the figures of the first broker."""
    server, ours = next(iter(found["nodes"].items()))
    rates, late = ours["throughput"][100], ours["latency_ms"]["half load"]
    lines = [
        f"on {server} nsqd: tell {rates['tell']:,.0f}/s (promised 100,000)",
        f"on {server} nsqd: receive {rates['receive']:,.0f}/s (promised 60,000)",
        f"on {server} nsqd: p99 at half load {late['p99']:.1f} ms (promised under 20)",
    ]
    if "pynsq" in found["peers"]:
        theirs = found["peers"]["pynsq"][100]
        tell, receive = (rates[what] / theirs[what] for what in ("tell", "receive"))
        lines.append(f"times pynsq: tell {tell:.1f}, receive {receive:.1f} (promised 4)")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Durable messages between actors.")
    parser.add_argument("--quick", action="store_true", help="fewer messages, coarser figures")
    parser.add_argument("--servers", nargs="*", default=["real", "embedded"])
    parser.add_argument("--backlog", type=int, help="only the memory with so many messages")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()
    report: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": load,
    }
    if options.backlog:
        report["server"] = "nsqd" if real_nsqd() else "embedded nsqd"
        report |= backlog(options.backlog)
        print(backlog_table(report))
    else:
        report |= measure(options.servers, quick=options.quick)
        print(table(report))
        print("\n" + "\n".join(f"- {line}" for line in verdicts(report)))
    report["load_after"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
