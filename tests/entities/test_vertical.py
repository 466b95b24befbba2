"""Entities from a tell or an ask of a key to its state, on one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contracts.state_store_support import place_of
from tests.entities.helpers import Device, PassTo, Read, Report
from tests.node.helpers import MemoryServers
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def servers() -> MemoryServers:
    return MemoryServers()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path) -> Callable[[], Any]:
    """Makes stores that share what they keep."""
    return place_of(request, tmp_path).client


async def test_each_key_has_a_state_of_its_own_that_lasts_beyond_its_node(servers, store):
    async with servers.node(store=store()) as node:
        await node.start(Device)
        assert await node.entity("test.device", "a").ask(Report(5)) == 5
        await node.entity("test.device", "b").tell(Report(7))
        await until(lambda: node.parts.dispatch.counters.finished == 1)
        assert await node.entity("test.device", "b").ask(Read()) == 7
    async with servers.node(store=store()) as node:
        await node.start(Device)
        assert await node.entity("test.device", "a").ask(Report(1)) == 6
        assert await node.entity("test.device", "b").ask(Read()) == 7
        assert await node.entity("test.device", "never told").ask(Read()) == 0


async def test_what_entities_tell_each_other_leaves_with_their_commit_and_is_conserved(
    servers, store
):
    async with servers.node(store=store()) as node:
        await node.start(Device)
        refs = [node.entity("test.device", f"k{number}") for number in range(6)]
        for ref in refs:
            assert await ref.ask(Report(10)) == 10
        for number, ref in enumerate(refs):
            ref.tell_many([PassTo(f"k{(number + step) % 6}", 2) for step in range(1, 4)])
        await until(lambda: node.parts.dispatch.counters.finished == 36)
        assert sum([await ref.ask(Read()) for ref in refs]) == 60
        assert await node.parts.durable.store.backlog() == []
