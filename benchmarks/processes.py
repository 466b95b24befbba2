"""What more processes handle where a handler computes: `irismq run --processes`.

    python benchmarks/processes.py [--rounds 3] [--messages 6000] [--json FILE]

A handler computes for a millisecond of each message. The messages wait at the broker before
the processes start; what is handled is counted by the actors themselves, from when all of
them handle and a tenth is done until nine tenths are. One process and two take turns. nsqd is
the one that IRISMQ_NSQD or PATH names, or our embedded one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants.remote_servers import (  # noqa: E402  # found by the lines above
    free_port,
    nsqd_command,
    ours,
    real_nsqd,
    running,
)
from contestants.worker_service import ADDRESS, Count, Job  # noqa: E402  # as above

from irismq_runtime import Node, loop  # noqa: E402  # as above

#: Messages told at a time.
_TOGETHER = 500
#: Seconds between two looks at what was handled.
_PAUSE = 0.1


async def measured(node: Node, processes: int, messages: int) -> float:
    """Messages handled a second, once all processes handle."""
    ref = node.ref(ADDRESS)
    begin: tuple[float, int] | None = None
    while True:
        await asyncio.sleep(_PAUSE)
        if len(node.members(ADDRESS)) < processes:
            continue
        counts = [reply.value for reply in (await ref.ask_all(Count(), timeout=10.0)).replies]
        now, done = time.perf_counter(), sum(counts)
        if begin is None and len(counts) == processes and all(counts) and done > 0.1 * messages:
            begin = now, done
        elif begin is not None and done >= 0.9 * messages:
            return (done - begin[1]) / (now - begin[0])


async def handled(processes: int, messages: int) -> float:
    """The rate of so many processes, with servers of their own."""
    nsqd, iris = free_port(), free_port()
    servers = {"nsqd": f"127.0.0.1:{nsqd}", "iris": f"127.0.0.1:{iris}"}
    flags = [f"--{name}={where}" for name, where in servers.items()]
    command = [sys.executable, "-m", "irismq_runtime.cli", "run", "contestants.worker_service:tree"]
    with (
        running(nsqd_command(nsqd, embedded=False), nsqd),
        running(ours("relay", iris), iris),
    ):
        async with Node(name="bench", **servers) as node:
            ref = node.ref(ADDRESS)
            for first in range(0, messages, _TOGETHER):
                await asyncio.gather(*(ref.tell(Job(n)) for n in range(first, first + _TOGETHER)))
            with running([*command, *flags, f"--processes={processes}"]):
                return await measured(node, processes, messages)


def main() -> None:
    """Measure in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for processes, found in rates.items():
            found.append(loop.run(handled(processes, options.messages * processes)))
    broker = "nsqd" if real_nsqd() else "our embedded broker"
    print(f"messages a second, of {options.rounds} rounds, on {broker}:\n")
    print("| processes | least | median | most | of one |")
    print("| --- | ---: | ---: | ---: | ---: |")
    one = statistics.median(rates[1])
    for processes, found in rates.items():
        median = statistics.median(found)
        cells = [f"{each:,.0f}" for each in (min(found), median, max(found))]
        print(f"| {processes} | {' | '.join(cells)} | {median / one:.2f} |")
    if options.json:
        options.json.write_text(json.dumps({"broker": broker, "rates": rates}, indent=2) + "\n")


if __name__ == "__main__":
    main()
