"""Messages that outlive their sender, beside the task queues that people use for them.

    python benchmarks/queues.py [--quick] [--only NAME ...] [--json FILE]

The same for all: a text of 100 bytes as the one argument of a typed handler, which counts
it; the broker keeps messages in memory, as it comes; a message is acknowledged when its
handler has returned. Each is run at the settings that its own documentation names for
many small messages (contestants/queue_*.py say which).

send           one process, as fast as its interface goes, until the broker has them all
send, awaited  the same, each confirmed before the next is sent
handle         a backlog, from the first to the last that its worker handles; the start of
               the worker is not in it

Celery and Dramatiq wait for Redis at each send, so that their two rows are one. Their
workers are two processes, ours and FastStream's is one. What is not here (redis-server,
a package of the group `bench`) is left out and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants import tally  # noqa: E402  # found by the lines above
from contestants.remote_servers import (  # noqa: E402  # as above
    free_port,
    nats_command,
    nsqd_command,
    ours,
    real_nsqd,
    running,
    said,
)

PAYLOAD = "x" * 100
#: Messages of the rows: sent and handled, and sent one by one.
COUNT, AWAITED = 10_000, 3_000
#: The name, its module, and how many times the messages it takes to last as long as others.
CONTESTANTS = {
    "irismq": ("queue_irismq", 20),
    "Celery, Redis": ("queue_celery", 1),
    "Dramatiq, Redis": ("queue_dramatiq", 1),
    "FastStream, JetStream": ("queue_faststream", 1),
}
#: Seconds until a worker that has not handled everything is given up.
PATIENCE = 120


def redis_command(port: int) -> list[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise RuntimeError("redis-server is not on PATH")
    return [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", "DATA"]


def served(name: str, stack: ExitStack) -> dict[str, str]:
    """Start the servers of a contestant; the variables by which it finds them."""
    port = free_port()
    if name == "irismq":
        relay = free_port()
        stack.enter_context(running(nsqd_command(port, embedded=False), port))
        stack.enter_context(running(ours("relay", relay), relay))
        return {"BENCH_URL": f"127.0.0.1:{port}", "BENCH_RELAY": f"127.0.0.1:{relay}"}
    if name.startswith("FastStream"):
        command = [*nats_command(port), "-js", "-sd", "DATA"]
        stack.enter_context(running(command, port))
        return {"BENCH_URL": f"nats://127.0.0.1:{port}"}
    stack.enter_context(running(redis_command(port), port))
    return {"BENCH_URL": f"redis://127.0.0.1:{port}/0"}


def sent(module: str, count: int, variables: dict[str, str], *, awaited: bool) -> float:
    """Messages a second that a process of its own has sent."""
    role = ["--send", module, str(count), str(int(awaited))]
    return said([sys.executable, __file__, *role], variables)["rate"]


def handled(module: str, count: int, variables: dict[str, str]) -> float:
    """Messages a second that its worker handles of a backlog of `count`."""
    folder = variables["BENCH_TALLY"]
    command = [sys.executable, __file__, "--worker", module]
    with running(command, variables=variables) as process:
        end = time.monotonic() + PATIENCE
        while tally.read(folder)[0] < count:
            if time.monotonic() > end or process.poll() is not None:
                done = tally.read(folder)[0]
                raise RuntimeError(f"{module} has handled {done} of {count}")
            time.sleep(0.05)
    done, seconds = tally.read(folder)
    return (done - 1) / seconds


def once(name: str, scale: float) -> dict[str, float]:
    """One round of one contestant, on servers of its own."""
    module, times = CONTESTANTS[name]
    count, awaited = int(COUNT * times * scale), int(AWAITED * scale)
    with ExitStack() as stack:
        variables = served(name, stack)
        variables["BENCH_TALLY"] = stack.enter_context(tempfile.TemporaryDirectory())
        alone = sent(module, awaited, variables, awaited=True)
        many = sent(module, count, variables, awaited=False)
        found = handled(module, count + awaited + 2, variables)  # each sender begins with one
    return {"send": many, "send, awaited": alone, "handle": found}


def left_out(name: str) -> str | None:
    """Why a contestant cannot run here."""
    packages = {"Celery": "celery", "Dramatiq": "dramatiq", "FastStream": "faststream"}
    package = packages.get(name.partition(",")[0])
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    if "Redis" in name and shutil.which("redis-server") is None:
        return "redis-server is not on PATH"
    return None


def measure(names: list[str], rounds: int, scale: float) -> dict[str, dict[str, float]]:
    """The medians of some rounds, in which the contestants take turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(once(name, scale))
    return {
        name: {row: statistics.median(each[row] for each in taken) for row in taken[0]}
        for name, taken in found.items()
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """As Markdown; in brackets how many times the first is faster."""
    names = list(found)
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for row in found[names[0]]:
        first = found[names[0]][row]
        cells = [f"{first:,.0f}"]
        cells += [f"{found[n][row]:,.0f} ({first / found[n][row]:.1f}x)" for n in names[1:]]
        lines.append(f"| {row}, messages/s | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round, fewer messages")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--send", nargs=3, metavar=("MODULE", "COUNT", "AWAITED"))
    parser.add_argument("--worker", metavar="MODULE")
    options = parser.parse_args()
    if options.worker:
        words = [sys.executable, *contestant(options.worker).worker()]
        os.execv(sys.executable, words)  # noqa: S606  # no shell: the signal is for the worker
    if options.send:
        module, count, awaited = options.send
        took = contestant(module).send(int(count), PAYLOAD, awaited=bool(int(awaited)))
        print(json.dumps({"rate": int(count) / took}))
        return
    names = options.only or list(CONTESTANTS)
    away = {name: why for name in names if (why := left_out(name))}
    rounds, scale = (1, 0.2) if options.quick else (options.rounds, 1.0)
    found = measure([name for name in names if name not in away], rounds, scale)
    print(table(found))
    broker = "nsqd" if real_nsqd() else "the embedded nsqd"
    print(f"\n- irismq on {broker}")
    print("".join(f"- left out: {name}: {why}\n" for name, why in away.items()))
    if options.json:
        options.json.write_text(json.dumps({"rates": found, "left out": away}, indent=1) + "\n")


def contestant(module: str) -> Any:
    return importlib.import_module(f"contestants.{module}")


if __name__ == "__main__":
    main()
