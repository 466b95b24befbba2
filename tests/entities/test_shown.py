"""What a node shows of its entities: in metrics, in its health, and to who looks from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.runtime import slot_of
from irismq_runtime.entities import Ownership
from irismq_runtime.entities import ownership as ownership_module
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.stores.memory import MemoryStore
from tests.entities.helpers import Device, Report
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from irismq_runtime import Node


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> MemoryServers:
    monkeypatch.setattr(ownership_module, "BEAT", 0.05)
    return MemoryServers()


def lines_of(node: Node) -> dict[str, float]:
    """The samples of a node that are about entities."""
    lines = [line.rpartition(" ") for line in node.metrics().splitlines() if line[0] != "#"]
    words = ("entities", "shards")
    return {name: float(value) for name, _, value in lines if any(word in name for word in words)}


async def test_keys_shards_and_moves_are_in_metrics_and_reports_with_a_series_for_each_class(
    servers,
):
    async with servers.node(store=MemoryStore()) as node:
        assert lines_of(node) == {}
        assert node._reports.report()["entities"] == []
        host = await node.start(Device)
        for key in ("a", "b", "c"):
            await node.entity("test.device", key).ask(Report(1))
        table = slot_of(host).actor.table
        table.find("a").retry_at = 1e9  # as one that has crashed again and again
        table.rest(table.find("b"))
        await until(lambda: len(table) == 2)
        of_devices = '{address="test.device"}'
        assert lines_of(node) == {
            "irismq_shards_held": 1,
            "irismq_shards_taken_total": 4,
            "irismq_shards_given_total": 0,
            f"irismq_shards_owned{of_devices}": 4,
            f"irismq_entities_active{of_devices}": 2,
            f"irismq_entities_failing{of_devices}": 1,
            f"irismq_entities_activated_total{of_devices}": 3,
            f"irismq_entities_rested_total{of_devices}": 1,
        }
        (shown,) = node._reports.report()["entities"]
        assert (shown["owned"], shown["active"], shown["failing"]) == (4, 2, 1)


async def test_a_node_whose_lease_is_over_is_not_ready_and_says_that_others_may_have_its_shards(
    servers, monkeypatch
):
    monkeypatch.setattr(ownership_module, "LEASE", 0.3)

    class Cut(MemoryStore):
        cut = False

        async def commit(self, commits: Any) -> Any:
            if self.cut:
                raise StoreUnavailable("memory:", "away", "it was cut off")
            return await super().commit(commits)

    store = Cut()

    def check(node: Node) -> Any:
        return next((each for each in node.health().checks if each.name == "entities"), None)

    async with servers.node(store=store) as node:
        assert check(node) is None
        await node.start(Device)
        assert check(node).ok
        store.cut = True
        await until(lambda: not node.parts.durable.above[Ownership].holds)
        assert not node.health().ready
        assert "others may have its shards" in check(node).reason
        store.cut = False
        await until(lambda: node.health().ready)
