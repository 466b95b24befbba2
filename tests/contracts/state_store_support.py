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
from irismq_runtime.stores import open_store
from irismq_runtime.stores.memory import MemoryDatabase, MemoryStore
from irismq_runtime.stores.sqlite import SqliteStore
from irismq_runtime.wire.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from irismq_runtime.ports.state_store import CommitOutcome, Right, StateChange
    from tests.support.postgres_server import PostgresServer

ADA = StateKey("shop.cart", "ada")
BOB = StateKey("shop.cart", "bob")
TEA = StateKey("shop.stock", "tea")


_names = itertools.count()


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


class InPostgres:
    """A store in a schema of its own of a PostgreSQL server."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = server.url(f"s{next(_names)}")

    def client(self) -> StateStore:
        return open_store(self.url)


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The place that `request.param` names: "memory", "sqlite" or "postgres"."""
    if request.param == "memory":
        return InMemory()
    if request.param == "sqlite":
        return InFile(tmp_path)
    return InPostgres(request.getfixturevalue("postgres"))


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
