"""Run nodes under load for a long time, cut their servers off, and see that nothing grows.

    python tests/soak/run.py [--seconds 1800] [--chart soak.svg] [--json soak.json]

Three processes: this one has the broker (the real nsqd, where IRISMQ_NSQD names
one), the relay and the proxy between; a service and a client are nodes of their
own. Each ten seconds all connections to the broker are cut, and five seconds later
the relay is killed and started again. Every process samples its memory, file
descriptors, tasks, threads and objects; at the end the samples are printed as a
chart and judged, from the sixth minute on (or after the first third of a shorter
run). Ends with 0 when everything is flat, 1 when something grows or went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.loop import run
from tests.faults.proxy import NsqdProxy
from tests.soak.chart import picture, rows, verdicts
from tests.soak.judgement import ALLOWANCES
from tests.soak.sampling import Sampling, pause
from tests.support.nsqd_server import find_nsqd, nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds between two cuts of the same server.
CUTS: Final = 10.0
#: Seconds that do not count, in a long run.
SETTLE: Final = 300.0


class Watched:
    """The samples of one process, as lists by measure; `counts` are the latest."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {name: [] for name in ("seconds", *ALLOWANCES)}
        self.counts: dict[str, Any] = {}

    def take(self, record: dict[str, Any]) -> None:
        self.counts = record["counts"]
        for name, values in self.series.items():
            values.append(record[name])


@contextlib.asynccontextmanager
async def node(
    role: str, nsqd: str, iris: str, period: float, watched: Watched
) -> AsyncIterator[Any]:
    """A node in a process of its own; its samples go to `watched`; ended in order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "tests/soak/node.py"), role, nsqd, iris, str(period)),
        stdout=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(_read(process.stdout, watched))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await process.wait()
        await reading
        if code:
            raise RuntimeError(f"the {role} ended with {code}")


async def _read(lines: Any, watched: Watched) -> None:
    while line := await lines.readline():
        watched.take(json.loads(line))


async def cut(proxy: NsqdProxy, relay: EmbeddedRelay) -> None:
    """Cut the broker's connections off, and kill the relay, by turns."""
    while True:
        await pause(CUTS / 2)
        proxy.cut_all()
        await pause(CUTS / 2)
        relay.crash()
        await relay.start()


async def soak(seconds: float, period: float) -> dict[str, Watched]:
    """Run everything for so long; returns what each process sampled."""
    watched = {name: Watched() for name in ("servers", "service", "client")}
    async with contextlib.AsyncExitStack() as stack:
        kind = "real" if find_nsqd() else "embedded"
        nsqd = await stack.enter_async_context(nsqd_server(kind))
        proxy = await stack.enter_async_context(NsqdProxy(nsqd.port))
        relay = EmbeddedRelay()
        await relay.start()
        stack.push_async_callback(relay.stop)
        print(f"nsqd: {kind}; {seconds:g} s, a sample each {period:g} s", flush=True)
        processes = [
            await stack.enter_async_context(
                node(
                    role,
                    f"127.0.0.1:{proxy.port}",
                    f"127.0.0.1:{relay.port}",
                    period,
                    watched[role],
                )
            )
            for role in ("service", "client")
        ]
        ends = [asyncio.create_task(process.wait()) for process in processes]
        while not all(watched[role].counts for role in ("service", "client")):
            await pause(0.05)  # they are starting
            if any(end.done() for end in ends):
                raise RuntimeError("a node did not start")
        cutting = asyncio.create_task(cut(proxy, relay))
        try:
            async with Sampling(period, write=watched["servers"].take):
                over = asyncio.create_task(pause(seconds))
                await asyncio.wait([over, cutting, *ends], return_when=asyncio.FIRST_COMPLETED)
                if not over.done():
                    print("something ended before its time", flush=True)
                over.cancel()
        finally:
            cutting.cancel()
            await asyncio.wait([cutting])
            for end in ends:
                end.cancel()
    return watched


def report(watched: dict[str, Watched], seconds: float, chart: Path | None) -> int:
    """Print the chart and the verdict; the exit code."""
    settle = min(SETTLE, seconds / 3)
    bad = []
    kinds = set()
    for name, process in watched.items():
        if not process.series["seconds"]:
            bad.append(f"{name} has no samples")
            continue
        print("\n".join(rows(name, process.series, settle)))
        for measure, verdict in verdicts(process.series, settle).items():
            kinds.add(verdict.kind)
            if verdict.kind == "grows":
                bad.append(
                    f"{name}: {measure} grew by {verdict.grown:,.0f} "
                    f"({verdict.per_hour:,.0f} an hour; {verdict.allowed:,.0f} is allowed)"
                )
    for name in ("client", "service"):
        print(
            f"{name}: " + ", ".join(f"{k} {v:,}" for k, v in sorted(watched[name].counts.items()))
        )
    if chart is not None:
        data = {name: process.series for name, process in watched.items()}
        drawn = picture(data, settle, chart)
        print(f"chart: {chart}" if drawn else "no picture: matplotlib is not installed")
    good = "everything is flat" if kinds == {"flat"} else "too short to be judged"
    print("\n".join(bad) or good)
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--chart", type=Path, help="draw into this file: .png or .svg")
    parser.add_argument("--json", type=Path, help="write the samples there")
    options = parser.parse_args()
    began = time.monotonic()
    watched = run(soak(options.seconds, max(0.25, options.seconds / 300)))
    print(f"{time.monotonic() - began:.0f} s, process {os.getpid()}")
    if options.json is not None:
        series = {name: process.series for name, process in watched.items()}
        options.json.write_text(json.dumps(series))
    return report(watched, options.seconds, options.chart)


if __name__ == "__main__":
    raise SystemExit(main())
