"""One actor among all nodes that start its class."""

from __future__ import annotations

from typing import Any

import pytest

from actors import receives
from actors.runtime import slot_of
from irismq_runtime import Singleton
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from tests.entities.helpers import DeviceState, Fail, Read, Report
from tests.node.helpers import MemoryServers
from tests.support.until import until


class Leader(Singleton):
    """Counts, and says where it has started."""

    address = "test.leader"
    state: DeviceState
    started: list[str] = []  # noqa: RUF012  # what a test looks at

    def on_start(self) -> None:
        self.started.append(self.system.name)

    @receives(Report)
    def report(self, report: Report) -> int:
        self.state.total += report.value
        return self.state.total

    @receives(Read)
    def read(self, _: Read) -> int:
        return self.state.total

    @receives(Fail)
    def fail(self, _: Fail) -> None:
        raise RuntimeError("it was told to")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> MemoryServers:
    monkeypatch.setattr(ownership_module, "BEAT", 0.05)
    Leader.started.clear()
    return MemoryServers()


async def test_it_is_active_at_once_on_one_node_and_moves_when_that_goes(servers):
    database = MemoryDatabase()

    def store() -> Any:
        return MemoryStore(database)

    async with servers.node("client") as client, servers.node("two", store=store()) as two:
        async with servers.node("one", store=store()) as one:
            await one.start(Leader)
            await until(lambda: Leader.started == ["one"])
            monkey = await two.start(Leader)
            ref = client.singleton("test.leader")
            assert await ref.ask(Report(2), timeout=60.0) == 2
            await client.ref("test.leader").tell(Report(3))
            await until(lambda: sum(n.parts.dispatch.counters.finished for n in (one, two)) >= 1)
        await until(lambda: Leader.started[-1] == "two")
        assert await ref.ask(Read(), timeout=60.0) == 5
        assert len(slot_of(monkey).actor.table) == 1


async def test_one_that_crashes_is_there_again_though_nobody_asks(servers):
    async with servers.node("one", store=MemoryStore()) as node:
        await node.start(Leader)
        ref = node.singleton("test.leader")
        assert await ref.ask(Report(2)) == 2
        with pytest.raises(Exception, match="it was told to"):
            await ref.ask(Fail())
        await until(lambda: len(Leader.started) == 2)
        assert await ref.ask(Read()) == 2
