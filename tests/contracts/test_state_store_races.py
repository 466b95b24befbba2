"""Four activations of the same keys at once: every message is applied once, on every store.

Begun from keys that do not exist yet, with several messages of a key in a batch, with
redeliveries to activations that have them still in hand, and with what a batch loses
tried again. A batch commits as the runtime would: what it has read, changed by what it
was given.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.ports.state_store import (
    ABSENT,
    CommitLost,
    Committed,
    HandledRight,
    OwnedRight,
    RightsGone,
    StateKey,
)
from tests.contracts.state_store_support import (
    Clients,
    a_commit,
    a_message,
    fresh_key,
    place_of,
    written,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from irismq_runtime.ports.state_store import Right, StateCommit, StateStore

MESSAGES = 2_400
KEYS = 60
ACTIVATIONS = 4


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    async with Clients(place_of(request, tmp_path)) as opened:
        yield opened


class Activation:
    """Handles what it is given, as one of several that all believe that they own the keys."""

    def __init__(self, store: StateStore, work: list[tuple[StateKey, Right]], seed: int) -> None:
        self.store = store
        self.work = work
        self.rng = random.Random(seed)
        self.versions: dict[StateKey, tuple[int, int]] = {}
        self.lost = 0

    async def run(self) -> None:
        while self.work:
            taken = self.work[: self.rng.randint(1, 64)]
            del self.work[: len(taken)]
            self.work += await self.handle(taken)

    async def handle(self, taken: list[tuple[StateKey, Right]]) -> list[tuple[StateKey, Right]]:
        """Commit a batch; what of it has to run again."""
        rights: dict[StateKey, list[Right]] = {}
        for key, right in taken:
            rights.setdefault(key, []).append(right)
        fresh = [key for key in rights if key not in self.versions]
        for stored in await self.store.load(fresh):
            self.versions[stored.key] = (stored.version, int(stored.state or b"0"))
        commits = [self.commit_of(key, given) for key, given in rights.items()]
        again: list[tuple[StateKey, Right]] = []
        for commit, outcome in zip(commits, await self.store.commit(commits), strict=True):
            if isinstance(outcome, Committed):
                self.versions[commit.key] = (outcome.version, int(commit.state))
                continue
            self.lost += 1
            del self.versions[commit.key]
            if isinstance(outcome, CommitLost):
                again += [(commit.key, right) for right in commit.rights]
            elif isinstance(outcome, RightsGone):
                states = zip(commit.rights, outcome.rights, strict=True)
                again += [(commit.key, right) for right, is_ in states if is_.state == "stands"]
        return again

    def commit_of(self, key: StateKey, rights: list[Right]) -> StateCommit:
        version, count = self.versions[key]
        return a_commit(key, version, b"%d" % (count + len(rights)), rights=rights)


async def race(clients: Clients, rights: dict[StateKey, list[Right]]) -> list[Activation]:
    """Give every message to two of the activations, and wait until all is handled."""
    rng = random.Random(7)
    work: list[list[tuple[StateKey, Right]]] = [[] for _ in range(ACTIVATIONS)]
    for key, each in rights.items():
        for right in each:
            for n in rng.sample(range(ACTIVATIONS), 2):
                work[n].append((key, right))
    for each_work in work:
        rng.shuffle(each_work)
    activations = [Activation(await clients.open(), given, seed) for seed, given in enumerate(work)]
    await asyncio.gather(*[activation.run() for activation in activations])
    return activations


async def check(store: StateStore, rights: dict[StateKey, list[Right]]) -> None:
    stored = await store.load(list(rights))
    counted = Counter({each.key: int(each.state or b"0") for each in stored})
    assert counted == Counter({key: len(each) for key, each in rights.items()})
    assert sum(counted.values()) == MESSAGES


async def test_of_2400_messages_with_rows_each_is_applied_once(clients: Clients):
    store = await clients.open()
    rights: dict[StateKey, list[Right]] = {}
    for key in (fresh_key() for _ in range(KEYS)):
        messages = [a_message(key, ordered=False) for _ in range(MESSAGES // KEYS)]
        await written(store, fresh_key("shop.sender"), ABSENT, staged=messages)
        rights[key] = [OwnedRight(message.id) for message in messages]
    activations = await race(clients, rights)
    await check(store, rights)
    assert (await store.sizes()).outbox == 0
    assert sum(activation.lost for activation in activations) > 0, "they never met"


async def test_of_2400_messages_without_rows_each_is_applied_once(clients: Clients):
    rights: dict[StateKey, list[Right]] = {
        fresh_key(): [HandledRight("mailbox", b"%d" % n) for n in range(MESSAGES // KEYS)]
        for _ in range(KEYS)
    }
    activations = await race(clients, rights)
    store = await clients.open()
    await check(store, rights)
    assert (await store.sizes()).handled == MESSAGES
    assert sum(activation.lost for activation in activations) > 0, "they never met"
