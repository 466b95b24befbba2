"""Registered names, and siblings that find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, ActorRef, AlreadyRegistered, StartFailed, receives
from actors.testing import settle
from supervisors import Supervisor, child, restart_child, sibling, start, terminate_child

if TYPE_CHECKING:
    from actors import System


class Cache(Actor):
    registered_name = "cache"

    @receives(str)
    def crash(self, text: str) -> str:
        if text == "crash":
            raise RuntimeError(text)
        return text


class Reader(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.cache: ActorRef[Cache] = sibling(self, Cache)

    @receives(str)
    async def read(self, text: str) -> Any:
        return await self.cache.ask(text)

    @receives(int)
    def other(self, _number: int) -> str:
        return str(sibling(self, "nobody"))


async def test_a_registered_name_is_that_of_one_actor_until_it_has_ended(
    actor_system: System,
) -> None:
    assert actor_system.whereis("cache") is None
    first = actor_system.start(Cache)
    assert actor_system.whereis("cache") is first
    with pytest.raises(AlreadyRegistered, match="cache") as caught:
        actor_system.start(Cache)
    assert (caught.value.name, caught.value.holder) == ("cache", str(first))
    await first.stop()
    await settle(actor_system)
    assert actor_system.whereis("cache") is None
    assert actor_system.whereis("cache") is not actor_system.start(Cache)
    assert actor_system.whereis("cache") is not None


async def test_a_name_outlives_restarts_and_one_that_is_taken_fails_the_start(
    actor_system: System,
) -> None:
    actor_system.attach()
    tree = start(Supervisor.of(Cache), system=actor_system)
    await tree.started()
    cache = actor_system.whereis("cache")
    assert cache is not None
    with pytest.raises(RuntimeError):
        await cache.ask("crash")
    assert await cache.ask("again") == "again"
    assert actor_system.whereis("cache") is cache
    other = start(Supervisor.of(Cache), system=actor_system)
    with pytest.raises(StartFailed, match="registered name 'cache'"):
        await other.started()
    assert actor_system.whereis("cache") is cache
    await tree.stop()
    await settle(actor_system)
    assert actor_system.whereis("cache") is None


async def test_siblings_find_each_other_by_class_and_name(actor_system: System) -> None:
    tree = start(Supervisor.of(Cache, child(Reader, name="reader")), system=actor_system)
    await tree.started()
    reader = await restarted(tree)
    assert await reader.ask("tea") == "tea"
    with pytest.raises(LookupError, match=r"no child 'nobody'.*'Cache', 'reader'"):
        await reader.ask(1)


async def restarted(tree: ActorRef[Any]) -> ActorRef[Any]:
    await terminate_child(tree, "reader")
    return await restart_child(tree, "reader")


async def test_without_a_supervisor_there_is_no_sibling(actor_system: System) -> None:
    with pytest.raises(LookupError, match="has no supervisor"):
        actor_system.start(Reader)
