"""What the tests of stores share: worlds with a store in them, and short ways to commit."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

from irismq_runtime.ports.state_store import (
    ABSENT,
    KEEP,
    Committed,
    OwnedRight,
    StagedMessage,
    StateCommit,
    StateKey,
    StateStore,
)
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.stores.sqlite import SqliteStore
from irismq_runtime.wire.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from irismq_runtime.ports.state_store import CommitOutcome, Right, StateChange

ADA = StateKey("shop.cart", "ada")
BOB = StateKey("shop.cart", "bob")
TEA = StateKey("shop.stock", "tea")


class Store(Protocol):
    """A place that holds one store, which any number of clients open."""

    def client(self) -> StateStore:
        """A client that is not open yet."""
        ...


class InMemory:
    """A store in memory."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()

    def client(self) -> StateStore:
        return MemoryStore(self.database)


class InFile:
    """A store in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.sqlite"

    def client(self) -> StateStore:
        return SqliteStore(self.path)


class Clients(AsyncExitStack):
    """Opens clients of one place and closes them at the end."""

    def __init__(self, place: Store) -> None:
        super().__init__()
        self.place = place

    async def open(self, namespace: str = "tests") -> StateStore:
        client = self.place.client()
        self.push_async_callback(client.close)
        await client.open(namespace)
        return client


_names = itertools.count()


def fresh_key(address: str = "shop.cart") -> StateKey:
    return StateKey(address, f"key-{next(_names)}")


def a_commit(
    key: StateKey,
    version: int = ABSENT,
    state: StateChange = KEEP,
    *,
    rights: Sequence[Right] = (),
    staged: Sequence[StagedMessage] = (),
) -> StateCommit:
    return StateCommit(key, version, new_id(), state, rights, staged)


def a_message(to: StateKey = TEA, body: bytes = b"", **more: Any) -> StagedMessage:
    return StagedMessage(new_id(), to, body, **more)


async def outcome_of(store: StateStore, *args: Any, **more: Any) -> CommitOutcome:
    return (await store.commit([a_commit(*args, **more)]))[0]


async def written(store: StateStore, *args: Any, **more: Any) -> int:
    """Commit, and give the version that came of it."""
    outcome = await outcome_of(store, *args, **more)
    assert isinstance(outcome, Committed), outcome
    return outcome.version


async def told(store: StateStore, to: StateKey, *messages: StagedMessage) -> list[OwnedRight]:
    """Let a sender that nobody else knows tell these; the rights over their rows."""
    await written(store, fresh_key("shop.sender"), ABSENT, staged=messages)
    return [OwnedRight(message.id) for message in messages]
