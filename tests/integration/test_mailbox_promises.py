"""What `tell` promises, over whole processes: orderly ends, kills, stops, under load.

Jobs are told at a steady pace and in bursts while the processes that work on
them come and go. What is asserted: each confirmed job was run; exactly once
where every end was in order; and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes
from tests.integration.load import ADDRESS, Job, runs
from tests.integration.processes import running
from tests.support.promptly import OUTER
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.processes import Process

#: One job takes so long; two workers are asked for half of what they can do.
WORK = 0.001


class Feed:
    """Tells jobs, and knows when each was confirmed."""

    def __init__(self, node: Any) -> None:
        self.ref = node.ref(ADDRESS)
        self.told: dict[int, float] = {}
        self.confirmed: set[int] = set()
        self._receipts: list[Any] = []
        self._timer: Any = None

    def tell(self, count: int, work: float = WORK) -> None:
        """Tell so many at once, of `work` seconds each."""
        numbers = range(len(self.told), len(self.told) + count)
        for number in numbers:
            self.told[number] = time.monotonic()
            receipt = self.ref.tell(Job(number, work))
            self._receipts.append(receipt)

    def flow(self) -> None:
        """Tell one after the other, some 200 a second, until `all_confirmed`."""
        self.tell(1)
        self._timer = asyncio.get_running_loop().call_later(0.005, self.flow)

    async def all_confirmed(self) -> set[int]:
        """Stop, and wait for every receipt."""
        self.stop()
        for receipt in self._receipts:
            await receipt
        return set(self.told)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def works(servers, journal):
    def start(*more):
        tree = "tests.integration.load:Works"
        return running("run", tree, *servers.flags, *more, JOBS_JOURNAL=str(journal))

    return start


def begun(journal: Path, process: Process, first: int) -> int:
    """How many jobs from number `first` on this process has run."""
    return sum(run.pid == process.process.pid and run.number >= first for run in runs(journal))


@contextlib.asynccontextmanager
async def feeding(servers: Any) -> AsyncIterator[Feed]:
    async with servers.node("client") as client:
        feed = Feed(client)
        try:
            yield feed
        finally:
            feed.stop()


async def test_a_sigterm_under_load_runs_nothing_twice_and_nothing_waits(servers, works, journal):
    lease = ("--lease", str(3 * OUTER))  # what waits for it comes too late
    async with feeding(servers) as feed, works(*lease) as one, works(*lease) as two:
        await one.says("runs")
        await two.says("runs")
        feed.flow()
        await until(lambda: len({run.pid for run in runs(journal)}) == 2)
        first = len(feed.told)
        feed.tell(1000, work=0.003)
        await until(lambda: begun(journal, one, first) >= 5)
        asked = time.monotonic()
        told = set(feed.told)
        one.signal(signal.SIGTERM)
        assert await one.ends() == codes.OK
        feed.tell(20)
        numbers = await feed.all_confirmed()
        await until(lambda: len({run.number for run in runs(journal)}) == len(numbers))
        two.signal(signal.SIGTERM)
        assert await two.ends() == codes.OK
    found = runs(journal)
    assert Counter(run.number for run in found) == Counter(numbers)
    # The second one has the rest at once, and not when the leases of the first one end.
    rest = [run for run in found if run.number in told and run.time > asked]
    assert len(rest) > 10, "there was hardly any load when the first one was asked to end"
    assert max(run.time for run in rest) - asked < OUTER
    given_back = [run for run in found if run.attempt > 1]
    assert {(run.pid, run.attempt) for run in given_back} <= {(two.process.pid, 2)}
    assert max(run.time - feed.told[run.number] for run in found) < OUTER


@pytest.mark.slow
async def test_processes_that_come_and_go_in_order_run_each_job_once(servers, works, journal):
    async with feeding(servers) as feed, works() as stays:
        await stays.says("runs")
        feed.flow()
        for _ in range(3):
            async with works() as goes:
                await goes.says("runs")
                feed.tell(100)
                await until(lambda: goes.process.pid in {run.pid for run in runs(journal)})
                goes.signal(signal.SIGTERM)
                assert await goes.ends() == codes.OK
        numbers = await feed.all_confirmed()
        await until(lambda: len({run.number for run in runs(journal)}) == len(numbers))
    assert Counter(run.number for run in runs(journal)) == Counter(numbers)


@pytest.mark.slow
async def test_a_kill_under_load_loses_nothing(servers, works, journal):
    async with feeding(servers) as feed, works("--lease", "4.0") as stays:
        await stays.says("runs")
        feed.flow()
        async with works("--lease", "4.0") as dies:
            await dies.says("runs")
            await until(lambda: dies.process.pid in {run.pid for run in runs(journal)})
            feed.tell(200)
            before = len(runs(journal))
            await until(lambda: len(runs(journal)) > before + 20)
            dies.signal(signal.SIGKILL)
            assert await dies.ends() == -signal.SIGKILL
        numbers = await feed.all_confirmed()
        # A lease of 4 s, and nsqd's look at a young channel every 5 s.
        await until(lambda: {run.number for run in runs(journal)} == numbers)
    again = Counter(run.number for run in runs(journal))
    # Twice at most what the killed one had run and could not say any more.
    assert max(again.values()) <= 2


@pytest.mark.slow
async def test_a_node_that_was_stopped_and_goes_on_loses_nothing(servers, works, journal):
    # nsqd may offer a message to the stopped one several times before it misses its beats.
    flags = ("--lease", "1.0", "--max-attempts", "100")
    async with feeding(servers) as feed, works(*flags) as stays:
        await stays.says("runs")
        feed.flow()
        async with works(*flags) as sleeps:
            await sleeps.says("runs")
            await until(lambda: sleeps.process.pid in {run.pid for run in runs(journal)})
            feed.tell(200)
            sleeps.signal(signal.SIGSTOP)
            try:
                # What it held is run by the other, after its lease.
                told = set(feed.told)
                await until(lambda: told <= {run.number for run in runs(journal)})
            finally:
                sleeps.signal(signal.SIGCONT)
            woken = time.monotonic()
            await until(
                lambda: any(
                    run.pid == sleeps.process.pid and feed.told[run.number] > woken
                    for run in runs(journal)
                )
            )
            numbers = await feed.all_confirmed()
            await until(lambda: {run.number for run in runs(journal)} == numbers)
            sleeps.signal(signal.SIGTERM)
            assert await sleeps.ends() == codes.OK
