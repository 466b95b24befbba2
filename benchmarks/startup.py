"""How long a command takes to begin, and what a node holds that has nothing to do.

    python benchmarks/startup.py [--rounds N] [--json FILE]

Each command runs in a process of its own, all of them in turn, round after round. A row
is the milliseconds of processor time of the whole process, the least of the rounds, and
those of the clock until its first byte of output, the median. `irismq ask` asks a node
that waits, over the embedded relay, and prints its answer. The last table is resident
memory of a process that has done what the row says, and of nothing else in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from contestants.remote_ours import ADDRESS
from contestants.remote_servers import environment, free_port, ours, running

BESIDE = Path(sys.executable).parent
#: Prints a byte when it has done the rest.
_SAY = "; print(1, flush=True)"

Times = dict[str, list[tuple[float, float]]]


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program + _SAY]


def commands(nsqd: str, iris: str) -> dict[str, list[str]]:
    """What is run, by its words in the table."""
    irismq = str(BESIDE / "irismq")
    found = {
        "python -c pass": python("pass"),
        "import asyncio": python("import asyncio"),
        "import irismq_runtime": python("import irismq_runtime"),
        "from irismq_runtime import Node": python("from irismq_runtime import Node"),
        "irismq --help": [irismq, "--help"],
        "irismq ask --help": [irismq, "ask", "--help"],
        "irismq ask, answered": [
            *(irismq, "ask", ADDRESS, "bench.remote.count", '{"what": 0}'),
            *("--nsqd", nsqd, "--iris", iris),
        ],
    }
    if find_spec("celery"):
        found["from celery import Celery"] = python("from celery import Celery")
        found["celery --help"] = [str(BESIDE / "celery"), "--help"]
    return found


def timed(command: list[str]) -> tuple[float, float]:
    """Milliseconds of processor time, and until the first byte."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.read(1)
        took = time.perf_counter() - began
        process.stdout.read()
        errors = process.stderr.read().decode(errors="replace")
    if process.returncode or not first:
        raise SystemExit(f"{command[:3]}: {errors[-800:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000, took * 1000


def memory(nsqd: str, iris: str) -> dict[str, float]:
    """Megabytes by row."""
    rows = {
        "python": ["bare"],
        "from irismq_runtime import Node": ["imported"],
        "a node, idle for 3 s": ["idle", nsqd, iris],
    }
    if find_spec("celery"):
        rows["a Celery application, not connected"] = ["celery"]
    found = {}
    for row, words in rows.items():
        command = [sys.executable, "-m", "contestants.resident", *words]
        ended = subprocess.run(command, capture_output=True, check=True, env=environment())
        found[row] = float(ended.stdout)
    return found


def measured(rounds: int) -> tuple[Times, dict[str, float]]:
    """(Processor time, until the first byte) of each run by command; memory by row."""
    ports = free_port(), free_port()
    nsqd, iris = (f"127.0.0.1:{port}" for port in ports)
    times: Times = {}
    member = [sys.executable, "-m", "contestants.remote_ours", nsqd, iris]
    with (
        running(ours("nsqd", ports[0]), ports[0]),
        running(ours("relay", ports[1]), ports[1]),
        running(member) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        for number in range(rounds + 1):
            for name, command in commands(nsqd, iris).items():
                found = timed(command)
                if number:  # the first round fills the caches of the disk
                    times.setdefault(name, []).append(found)
        return times, memory(nsqd, iris)


def main() -> None:
    parser = argparse.ArgumentParser(description="How long a command takes to begin.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times, held = measured(options.rounds)
    print("| | processor time, ms | first byte, ms |\n| --- | ---: | ---: |")
    for name, runs in times.items():
        used = min(used for used, _ in runs)
        print(f"| {name} | {used:.0f} | {statistics.median(took for _, took in runs):.0f} |")
    print("\n| | resident, MB |\n| --- | ---: |")
    for name, megabytes in held.items():
        print(f"| {name} | {megabytes:.1f} |")
    if options.json:
        report = {"times": times, "resident": held}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
