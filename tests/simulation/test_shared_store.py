"""The database that all machines of a cluster share: what is known of a call that it dies in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import ABSENT, StateKey
from irismq_runtime.simulation.cluster import DATABASE, ClusterOptions
from irismq_runtime.simulation.play import play
from irismq_runtime.simulation.shared_store import SharedStore
from irismq_runtime.simulation.simulation import OUTSIDE
from tests.contracts.state_store_support import written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.simulation import Cluster

pytestmark = pytest.mark.blocking_ok  # the broker's disk is real SQLite

ALONE = ClusterOptions(hosts=1, database=True)


def in_a_cluster(story: Callable[[Cluster, SharedStore], Awaitable[None]]) -> None:
    async def scenario(cluster: Cluster) -> None:
        assert cluster._database is not None
        way = cluster._simulation.network.path(OUTSIDE, DATABASE)
        store = SharedStore(cluster._database, way)
        await store.open()
        await story(cluster, store)

    run = play(scenario, 1, ALONE)
    if run.failure is not None:
        raise run.failure


def test_what_was_committed_stays_over_a_kill_and_a_loss_on_the_way_is_unknown() -> None:
    """Killed at many moments of a commit, which then has landed or has not."""

    async def commit_and_kill(
        cluster: Cluster, store: SharedStore, key: StateKey, after: float
    ) -> tuple[str, bool]:
        """What the caller was told, and whether the commit is there."""
        commit = asyncio.create_task(written(store, key, ABSENT, b"one"))
        await asyncio.sleep(after)
        cluster.strike("database", DATABASE, lasts=0.5)
        try:
            await commit
            told = "committed"
        except StoreUnavailable as fault:
            told = f"{fault.kind}, {fault.outcome}"
        await cluster.heal()
        return told, (await store.load([key]))[0].state == b"one"

    async def story(cluster: Cluster, store: SharedStore) -> None:
        seen = {
            await commit_and_kill(cluster, store, StateKey("test", str(place)), place * 0.0005)
            for place in range(40)
        }
        assert seen == {
            ("away, not sent", False),
            ("away, unknown", False),
            ("away, unknown", True),
            ("committed", True),
        }

    in_a_cluster(story)


def test_it_is_away_while_nothing_comes_through_and_says_so() -> None:
    async def story(cluster: Cluster, store: SharedStore) -> None:
        cluster.strike("partition", OUTSIDE, DATABASE)
        began = cluster.now
        with pytest.raises(StoreUnavailable, match="no answer"):
            await store.load([])
        assert 9.0 < cluster.now - began < 12.0
        assert not store.health().ok
        await cluster.heal()
        assert await store.load([]) == []
        assert store.health().ok

    in_a_cluster(story)
