"""The demonstration: a broker, a relay, two nodes; crashes, and a SIGKILL in the middle.

    this process    the embedded servers, the feeder, a listener for live events
    node-a, node-b  `irismq run irismq_runtime.demo.service:Flights`, each a process

Flights are told to `flights.ledger`; handlers crash on the way; node-b is killed
with messages in its hands, which come back to node-a when their leases end. At
the end every member must answer with the same table as the input itself gives:
exit code 0, otherwise 1.

Over NATS (`nats`), each of the three runs a relay of its own over three NATS servers,
and the server that most of them use is killed in the middle as well.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from actors import Actor, receives
from irismq_runtime import Node, live
from irismq_runtime.demo import data
from irismq_runtime.demo.messages import CarrierTotals, Counted, LongDelay, ResetCaches, WorstDelays
from irismq_runtime.demo.nats_servers import nats_cluster
from irismq_runtime.demo.service import DELAYS, LEDGER, STATS
from irismq_runtime.loop import run
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from irismq_runtime.demo.messages import Flight
    from irismq_runtime.demo.nats_servers import Cluster

__all__ = ["main"]

CRASH_ONE_IN = 50
#: Seconds until what a killed node held comes back.
LEASE = 6.0
#: Told in one go around the kill, so that the dying node has its hands full.
BURST = 200
#: Seconds without one more flight in the ledger after which the demonstration fails.
PATIENCE = 45.0
STARTED_WITHIN = 30.0


class DelayCounter(Actor[LongDelay]):
    """Counts the live events of long delays."""

    subscribes = (live(DELAYS),)
    heard = 0

    @receives(LongDelay)
    def late(self, _: LongDelay) -> None:
        """One more flight was very late."""
        DelayCounter.heard += 1


class Worker:
    """A node in a process of its own."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, nsqd: str, iris: str, environment: dict[str, str]) -> None:
        """Start `irismq run` on the given servers."""
        command = [sys.executable, "-m", "irismq_runtime.cli", "run"]
        command += ["irismq_runtime.demo.service:Flights", "--name", self.name]
        command += ["--nsqd", nsqd, "--iris", iris, "--lease", str(LEASE)]
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=os.environ | environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL: no handler, no goodbye."""
        if self._process is not None and self.alive:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM: the node drains. Returns its exit code."""
        if self._process is None:
            return 0
        if self.alive:
            self._process.terminate()
        return await self._process.wait()


class Demonstration:
    """One run. `flights` is the input; `paced` tells them slowly enough to watch.

    `nats`: whether the relays route over a NATS cluster.
    """

    def __init__(
        self, flights: Sequence[Flight], *, paced: bool, nats: bool, console: Console
    ) -> None:
        self._flights = flights
        self._paced = paced
        self._nats = nats
        self._cluster: Cluster | None = None
        self._console = console
        self._expected = Counter(flight.carrier for flight in flights)

    async def run(self) -> int:
        """Run it all; returns the exit code."""
        async with AsyncExitStack() as stack:
            folder = pathlib.Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="flights-"))
            )
            options: dict[str, Any] = {}
            if self._nats:
                self._cluster = await stack.enter_async_context(nats_cluster(folder))
                options["iris"] = self._cluster.url
            workers = [Worker("node-a", folder), Worker("node-b", folder)]
            node = await stack.enter_async_context(Node.embedded(name="demo", **options))
            await node.start(DelayCounter)
            try:
                return await self._with_workers(node, workers, folder)
            except TimeoutError as error:
                self._console.print(f"[red]failed:[/] {escape(safe(str(error)))}")
                self._show_logs(workers)
                return 1
            finally:
                for worker in workers:
                    await worker.kill()

    async def _with_workers(self, node: Node, workers: list[Worker], folder: pathlib.Path) -> int:
        settings = {
            "FLIGHTS_DB": str(folder / "flights.sqlite"),
            "FLIGHTS_CRASH": str(CRASH_ONE_IN if self._paced else CRASH_ONE_IN * 20),
        }
        nsqd = node.endpoints["nsqd"]
        iris = node.endpoints["iris"] if self._cluster is None else self._cluster.url
        for worker in workers:
            await worker.start(nsqd, iris, settings)
        await self._started(node, workers)
        relays = (
            f"relay {safe(iris)}"
            if self._cluster is None
            else f"a relay in each node over {safe(iris)}"
        )
        self._console.print(f"broker {nsqd}, {relays}")
        with self._progress() as progress:
            await self._feed(node, workers[1], progress)
        trees = await node.trees()
        answers = await self._ask_everyone(node)
        code = await workers[0].stop()
        self._show_trees(trees)
        right = self._show_table(answers)
        self._console.print(f"live events of delays heard: {DelayCounter.heard}")
        if code != 0:
            self._console.print(f"[red]node-a ended with exit code {code}[/]")
        return 0 if right and code == 0 else 1

    async def _started(self, node: Node, workers: list[Worker]) -> None:
        """Wait until both nodes serve both addresses."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STARTED_WITHIN
        while len(node.members(STATS)) < len(workers):
            if loop.time() > deadline or not all(worker.alive for worker in workers):
                raise TimeoutError("the nodes did not start; their logs follow")
            await asyncio.sleep(0.05)

    # The feed -----------------------------------------------------------------

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )

    async def _feed(self, node: Node, victim: Worker, progress: Progress) -> None:
        total = len(self._flights)
        told = progress.add_task("told", total=total)
        counted = progress.add_task("in the ledger", total=total)
        watching = asyncio.ensure_future(self._watch(node, progress, counted))
        try:
            half = total // 2
            await self._tell(node, self._flights[: half - BURST // 2], progress, told)
            # Every member counts now, and keeps what it counted: until it is told by all.
            await node.ref(STATS).ask_all(CarrierTotals())
            await self._tell_now(node, self._flights[half - BURST // 2 : half + BURST // 2])
            await victim.kill()
            progress.advance(told, BURST)
            progress.console.print(
                f"{victim.name} was killed (SIGKILL); what it held comes back when its leases end"
            )
            if self._cluster is not None:
                where = await self._cluster.kill_the_busiest()
                progress.console.print(f"the NATS server at {where} was killed (SIGKILL)")
            await self._tell(node, self._flights[half + BURST // 2 :], progress, told)
            await watching
        finally:
            watching.cancel()

    async def _tell(
        self, node: Node, flights: Sequence[Flight], progress: Progress, task: Any
    ) -> None:
        size = 20 if self._paced else 1000
        for start in range(0, len(flights), size):
            batch = flights[start : start + size]
            await self._tell_now(node, batch)
            progress.advance(task, len(batch))
            if self._paced:
                await asyncio.sleep(0.15)

    async def _tell_now(self, node: Node, flights: Iterable[Flight]) -> None:
        """Tell, and wait until the broker has confirmed every one."""
        ledger = node.ref(LEDGER)
        for receipt in [ledger.tell(flight) for flight in flights]:
            await receipt

    async def _watch(self, node: Node, progress: Progress, task: Any) -> None:
        """Follow the ledger until it has everything; `TimeoutError` when it stands still."""
        loop = asyncio.get_running_loop()
        seen, since = -1, loop.time()
        while seen < len(self._flights):
            try:
                now = await node.ref(STATS).ask(Counted(), timeout=2.0)
            except Exception as error:
                # An ask may meet the node that has just been killed: that is the show.
                progress.console.print(f"an ask failed: {type(error).__name__}")
                now = seen
            if now > seen:
                seen, since = now, loop.time()
                progress.update(task, completed=seen)
            elif loop.time() - since > PATIENCE:
                raise TimeoutError(f"the ledger stands at {seen} of {len(self._flights)} flights")
            await asyncio.sleep(0.1)

    async def _ask_everyone(self, node: Node) -> list[dict[str, int]]:
        """Every member's table, after all were told to forget what they had counted."""
        stats = node.ref(STATS)
        stats.tell_all(ResetCaches())
        answers = list((await stats.ask_all(CarrierTotals())).values)
        for flight, minutes in await stats.ask(WorstDelays(1)):
            self._console.print(f"worst delay: {flight}, {minutes} minutes")
        return answers

    # The report ---------------------------------------------------------------

    def _show_trees(self, trees: dict[str, Any]) -> None:
        for tree in trees.values():
            for root in tree["trees"]:
                if root["children"]:
                    self._console.print(f"{tree['name']}: {root['name']}")
                    for one in root["children"]:
                        self._console.print(f"  {one['name']}: {one['restarts']} restarts")

    def _show_table(self, answers: list[dict[str, int]]) -> bool:
        """Print the ledger's table beside the input's; True when they are equal."""
        found = answers[0] if answers else {}
        table = Table("carrier", "ledger", "input", "")
        for carrier, expected in self._expected.most_common():
            same = found.get(carrier, 0) == expected
            table.add_row(
                carrier, f"{found.get(carrier, 0):,}", f"{expected:,}", "ok" if same else "WRONG"
            )
        self._console.print(table)
        return bool(answers) and all(answer == self._expected for answer in answers)

    def _show_logs(self, workers: list[Worker]) -> None:
        for worker in workers:
            tail = worker.log.read_text(errors="replace").splitlines()[-15:]
            self._console.print(f"[bold]{worker.name}[/]")
            self._console.print(*map(safe, tail), sep="\n", markup=False, highlight=False)


def main(console: Console, *, full: bool = False, nats: bool = False) -> int:
    """Run the demonstration on one day, or on the whole year; returns the exit code.

    `console`: where all of it is printed, and what a terminal would obey made visible.
    Raises `FileNotFoundError` without the year's data, `ConfigError` without a NATS server.
    """
    flights = list(data.year() if full else data.day())
    console.print(f"{len(flights):,} flights")
    return run(Demonstration(flights, paced=not full, nats=nats, console=console).run())
