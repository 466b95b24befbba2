"""The window shared out over connections: never more, nobody starved (case 21)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.mailbox.consume.rdy_distribution import SETTLE, RdyDistribution, RdyShare


def ready_of(rdy: RdyDistribution) -> dict[str, int]:
    return {share.name: share.ready for share in rdy.shares}


def test_one_connection_gets_the_window():
    rdy = RdyDistribution()
    rdy.limit = 100
    share = rdy.join("a", 2500, 0.0)
    assert rdy.plan(0.0) == ([share], None)
    assert share.ready == 100
    assert rdy.plan(1.0) == ([], None)


def test_rdy_stays_below_what_the_broker_allows():
    rdy = RdyDistribution()
    rdy.limit = 10_000
    for name in "ab":
        rdy.join(name, 2500, 0.0)
    rdy.plan(0.0)
    assert ready_of(rdy) == {"a": 2500, "b": 2500}


def test_the_window_is_shared_evenly_and_the_rest_is_not_lost():
    rdy = RdyDistribution()
    rdy.limit = 11
    for name in "abcd":
        rdy.join(name, 2500, 0.0)
    rdy.plan(0.0)
    assert sorted(ready_of(rdy).values()) == [2, 3, 3, 3]


def test_a_newcomer_is_not_starved_and_the_window_is_kept():
    rdy = RdyDistribution()
    rdy.limit = 10
    old = rdy.join("old", 2500, 0.0)
    rdy.plan(0.0)
    old.in_flight, old.last_message = 10, 5.0
    new = rdy.join("new", 2500, 5.0)
    changed, again = rdy.plan(5.0)
    assert old.ready < 10
    assert new.ready == 0  # ten are in flight on the old one
    assert again is not None
    old.in_flight = old.ready  # settled; but nsqd may have pushed before it read the new RDY
    rdy.plan(5.0 + SETTLE / 2)
    assert new.ready == 0
    changed, _ = rdy.plan(5.0 + SETTLE)
    assert changed == [new]
    assert new.ready + old.ready == 10


def test_the_idle_lend_to_the_busy():
    rdy = RdyDistribution()
    rdy.limit = 100
    idle, busy = rdy.join("idle", 2500, 0.0), rdy.join("busy", 2500, 0.0)
    rdy.plan(99.0)
    assert ready_of(rdy) == {"idle": 50, "busy": 50}
    idle.wanted = 1
    rdy.plan(100.0)
    rdy.plan(100.0 + SETTLE)
    assert (idle.ready, busy.ready) == (1, 99)


def test_a_limit_of_zero_asks_for_nothing():
    rdy = RdyDistribution()
    rdy.limit = 5
    rdy.join("a", 2500, 0.0)
    rdy.plan(0.0)
    rdy.limit = 0
    rdy.plan(1.0)
    assert ready_of(rdy) == {"a": 0}


class Broker:
    """An nsqd with a backlog: pushes while in flight < RDY, reads a new RDY late."""

    def __init__(self, share: RdyShare, backlog: int, rng: random.Random) -> None:
        self.share = share
        self.backlog = backlog
        self.rng = rng
        self.rdy = 0
        self.told: list[tuple[float, int]] = []
        self.served_at = 0.0
        self.longest_wait = 0.0

    def step(self, now: float) -> None:
        while self.told and self.told[0][0] <= now:
            self.rdy = self.told.pop(0)[1]
        while self.backlog and self.share.in_flight < self.rdy:
            self.backlog -= 1
            self.share.in_flight += 1
            self.share.last_message = now
            self.longest_wait = max(self.longest_wait, now - self.served_at)
            self.served_at = now


def simulate(window: int, servers: int, backlog: int, seed: int, seconds: float) -> list[Broker]:
    """Run a consumer over slow brokers; asserts the window at every instant."""
    rng = random.Random(seed)
    rdy = RdyDistribution()
    rdy.limit = window
    brokers = [Broker(rdy.join(f"n{number}", 2500, 0.0), backlog, rng) for number in range(servers)]
    now, plan_at = 0.0, 0.0
    while now < seconds and any(broker.backlog or broker.share.in_flight for broker in brokers):
        if now >= plan_at or rdy.waiting:
            changed, again = rdy.plan(now)
            plan_at = now + (again or 1e9)
            for broker in brokers:
                if broker.share in changed:
                    read_at = now + rng.random() * SETTLE * 0.9
                    before = broker.told[-1][0] if broker.told else 0.0
                    broker.told.append((max(read_at, before), broker.share.ready))
        for broker in brokers:
            broker.step(now)
        assert sum(broker.share.in_flight for broker in brokers) <= window
        for broker in brokers:
            if broker.share.in_flight and rng.random() < 0.4:
                broker.share.in_flight -= 1
        now += 0.02
    return brokers


def test_five_servers_and_three_places():
    brokers = simulate(3, 5, 100, seed=21, seconds=300.0)
    assert [broker.backlog for broker in brokers] == [0] * 5
    assert max(broker.longest_wait for broker in brokers) < 10.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_whatever_the_numbers_the_window_is_kept_and_nobody_starves(
    window: int, servers: int, seed: int
):
    brokers = simulate(window, servers, 40, seed, seconds=120.0)
    assert [broker.backlog for broker in brokers] == [0] * servers
    assert max(broker.longest_wait for broker in brokers) < 10.0


@pytest.mark.parametrize("window", [1, 4])
def test_connections_come_and_go(window: int):
    rdy = RdyDistribution()
    rdy.limit = window
    rng = random.Random(5)
    now = 0.0
    for _ in range(300):
        now += 0.05
        if rng.random() < 0.1 or not rdy.shares:
            rdy.join(f"n{now}", 2500, now)
        elif rng.random() < 0.1:
            rdy.leave(rng.choice(rdy.shares))
        rdy.plan(now)
        assert sum(share.ready for share in rdy.shares) <= window
    rdy.plan(now + 1)
    rdy.plan(now + 2)
    assert sum(share.ready for share in rdy.shares) == min(window, len(rdy.shares)) or (
        window > len(rdy.shares)
    )
