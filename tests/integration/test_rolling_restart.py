"""A rolling restart under load: every tell is confirmed and run, every ask is answered in time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes
from tests.integration.load import ADDRESS, Job, Question, runs
from tests.integration.processes import running
from tests.support.until import until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.integration.processes import Process

NODES = 3
#: Seconds between two rounds of load, and of one job and of one answer.
PACE = 0.01
WORK = 0.004
#: The deadline of an ask: generous for a slow machine, and none may miss it.
DEADLINE = 12.0


class Load:
    """Tells and asks at a steady pace; what failed is kept with its error."""

    def __init__(self, node: Any) -> None:
        self.ref = node.ref(ADDRESS)
        self.receipts: list[Any] = []
        self.asks: list[asyncio.Task[Any]] = []
        #: The processes that answered, since this was emptied.
        self.answered_by: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    def flow(self) -> None:
        number = len(self.asks)
        self.receipts.append(self.ref.tell(Job(number, WORK)))
        self.asks.append(asyncio.ensure_future(self._ask(number)))
        self._timer = asyncio.get_running_loop().call_later(PACE, self.flow)

    async def _ask(self, number: int) -> None:
        answer, pid = await self.ref.ask(Question(number, WORK), timeout=DEADLINE)
        assert answer == number
        self.answered_by.add(pid)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def failures(self) -> list[str]:
        """Stop, wait for every receipt and every answer, and say what failed."""
        self.stop()
        outcomes = await asyncio.gather(*self.receipts, *self.asks, return_exceptions=True)
        return [f"{type(o).__name__}: {o}" for o in outcomes if isinstance(o, BaseException)]


@pytest.mark.timeout(120)
async def test_nodes_restart_one_after_another_and_nothing_fails(servers, tmp_path):
    journal = tmp_path / "journal"

    def node(name: str) -> AbstractAsyncContextManager[Process]:
        return running(
            *("run", "tests.integration.load:Works", "--name", name, *servers.flags),
            JOBS_JOURNAL=str(journal),
        )

    async with servers.node("client") as client, contextlib.AsyncExitStack() as stack:
        load = Load(client)
        stack.callback(load.stop)
        old = [await stack.enter_async_context(node(f"old-{n}")) for n in range(NODES)]
        for process in old:
            await process.says("runs")
        await until(lambda: len(client.members(ADDRESS)) == NODES)
        load.flow()
        await until(lambda: len(load.answered_by) == NODES)
        new: list[Process] = []
        for number, process in enumerate(old):
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK, process.said
            new.append(await stack.enter_async_context(node(f"new-{number}")))
            await new[-1].says("runs")
            # It is one of those that do the work before the next one goes.
            await until(lambda pid=new[-1].process.pid: pid in load.answered_by)
        load.answered_by.clear()
        await until(lambda: len(load.answered_by) == NODES)
        assert await load.failures() == []
        told = len(load.receipts)
        await until(lambda: len({run.number for run in runs(journal)}) == told)
        for process in new:
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK, process.said
    assert {run.number for run in runs(journal)} == set(range(told))
