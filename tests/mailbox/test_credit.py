"""The window shared out over connections: never more, nobody starved (case 21)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.mailbox.credit import SETTLE, Credit, Share


def ready_of(credit: Credit) -> dict[str, int]:
    return {share.name: share.ready for share in credit.shares}


def test_one_connection_gets_the_window():
    credit = Credit()
    credit.limit = 100
    share = credit.join("a", 2500, 0.0)
    assert credit.plan(0.0) == ([share], None)
    assert share.ready == 100
    assert credit.plan(1.0) == ([], None)


def test_rdy_stays_below_what_the_broker_allows():
    credit = Credit()
    credit.limit = 10_000
    for name in "ab":
        credit.join(name, 2500, 0.0)
    credit.plan(0.0)
    assert ready_of(credit) == {"a": 2500, "b": 2500}


def test_the_window_is_shared_evenly_and_the_rest_is_not_lost():
    credit = Credit()
    credit.limit = 11
    for name in "abcd":
        credit.join(name, 2500, 0.0)
    credit.plan(0.0)
    assert sorted(ready_of(credit).values()) == [2, 3, 3, 3]


def test_a_newcomer_is_not_starved_and_the_window_is_kept():
    credit = Credit()
    credit.limit = 10
    old = credit.join("old", 2500, 0.0)
    credit.plan(0.0)
    old.in_flight, old.last_message = 10, 5.0
    new = credit.join("new", 2500, 5.0)
    changed, again = credit.plan(5.0)
    assert old.ready < 10
    assert new.ready == 0  # ten are in flight on the old one
    assert again is not None
    old.in_flight = old.ready  # settled; but nsqd may have pushed before it read the new RDY
    credit.plan(5.0 + SETTLE / 2)
    assert new.ready == 0
    changed, _ = credit.plan(5.0 + SETTLE)
    assert changed == [new]
    assert new.ready + old.ready == 10


def test_the_idle_lend_to_the_busy():
    credit = Credit()
    credit.limit = 100
    idle, busy = credit.join("idle", 2500, 0.0), credit.join("busy", 2500, 0.0)
    credit.plan(99.0)
    assert ready_of(credit) == {"idle": 50, "busy": 50}
    idle.appetite = 1
    credit.plan(100.0)
    credit.plan(100.0 + SETTLE)
    assert (idle.ready, busy.ready) == (1, 99)


def test_a_limit_of_zero_asks_for_nothing():
    credit = Credit()
    credit.limit = 5
    credit.join("a", 2500, 0.0)
    credit.plan(0.0)
    credit.limit = 0
    credit.plan(1.0)
    assert ready_of(credit) == {"a": 0}


class Broker:
    """An nsqd with a backlog: pushes while in flight < RDY, reads a new RDY late."""

    def __init__(self, share: Share, backlog: int, rng: random.Random) -> None:
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
    credit = Credit()
    credit.limit = window
    brokers = [
        Broker(credit.join(f"n{number}", 2500, 0.0), backlog, rng) for number in range(servers)
    ]
    now, plan_at = 0.0, 0.0
    while now < seconds and any(broker.backlog or broker.share.in_flight for broker in brokers):
        if now >= plan_at or credit.hungry:
            changed, again = credit.plan(now)
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
    credit = Credit()
    credit.limit = window
    rng = random.Random(5)
    now = 0.0
    for _ in range(300):
        now += 0.05
        if rng.random() < 0.1 or not credit.shares:
            credit.join(f"n{now}", 2500, now)
        elif rng.random() < 0.1:
            credit.leave(rng.choice(credit.shares))
        credit.plan(now)
        assert sum(share.ready for share in credit.shares) <= window
    credit.plan(now + 1)
    credit.plan(now + 2)
    assert sum(share.ready for share in credit.shares) == min(window, len(credit.shares)) or (
        window > len(credit.shares)
    )
