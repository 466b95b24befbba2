"""Proxies: Pykka's, on our refs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import Actor, ActorDeadError, AskCycle, System, ThreadActor
from actors.testing import settle

if TYPE_CHECKING:
    from actors import ActorRef


class Playback:
    def __init__(self) -> None:
        self.position = 3

    def seek(self, position: int) -> int:
        self.position = position
        return position


class Player(Actor):
    volume = 5

    def __init__(self) -> None:
        super().__init__()
        self.title = "x"
        self.playback = pykka.traversable(Playback())

    def plain(self, a: int, b: int = 2) -> int:
        return a + b

    async def slow(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    def fail(self) -> None:
        raise ValueError("played out")


async def test_methods_and_attributes(actor_system: System) -> None:
    ref = actor_system.start(Player)
    proxy = ref.proxy()
    assert isinstance(proxy, pykka.ActorProxy)
    assert await proxy.plain(1, b=3) == 4
    assert await proxy.slow(5) == 5
    assert await proxy.title == "x"
    assert await proxy.volume == 5
    assert await proxy.playback.seek(9) == 9
    assert await proxy.playback.position == 9
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = proxy.nothing
    proxy.title = "y"
    assert await proxy.title == "y"
    proxy.plain.defer(1)
    with pytest.raises(ValueError, match="played out"):
        await proxy.fail()
    await settle(actor_system)
    with pytest.raises(ActorDeadError):
        ref.proxy()


def test_setting_an_attribute_from_a_thread_waits_for_it() -> None:
    system = System()
    try:
        proxy = system.start(Player).proxy()
        proxy.title = "z"
        assert proxy.title.get() == "z"
    finally:
        system.close()


async def test_nothing_is_looked_into_when_a_proxy_is_made(
    actor_system: System,
) -> None:
    evaluated: list[str] = []

    class Holder(Actor):
        def __init__(self, parent: ActorRef[Any] | None) -> None:
            super().__init__()
            self.me = self.actor_ref
            self.parent = parent
            self.children = [self.actor_ref]

        @property
        def counted(self) -> int:
            evaluated.append("counted")
            return len(evaluated)

        @property
        def failing(self) -> int:
            evaluated.append("failing")
            raise ValueError("property")

    parent = actor_system.start(Holder, None)
    ref = actor_system.start(Holder, parent)
    proxy = ref.proxy()
    assert evaluated == []
    assert await proxy.me is ref
    assert await proxy.parent is parent
    assert await proxy.children == [ref]
    assert await proxy.counted == 1
    assert evaluated == ["counted"]
    with pytest.raises(ValueError, match="property"):
        await proxy.failing


async def test_an_actor_may_defer_work_to_itself_through_a_proxy(actor_system: System) -> None:
    class Steps(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.done: list[int] = []

        def on_start(self) -> None:
            self._later = self.actor_ref.proxy()

        def step(self, number: int) -> None:
            self.done.append(number)
            if number % 2:
                self._later.step.defer(number - 1)
            elif number:
                self._later.step(number - 1)

        async def wait_for_myself(self) -> Any:
            return await self._later.step(0)

    ref = actor_system.start(Steps)
    proxy = ref.proxy()
    await proxy.step(3)
    await settle(actor_system)
    assert await proxy.done == [3, 2, 1, 0]
    with pytest.raises(AskCycle):
        await proxy.wait_for_myself()


async def test_a_thread_actor_behind_a_proxy(actor_system: System) -> None:
    class Threaded(ThreadActor):
        def __init__(self) -> None:
            super().__init__()
            self.number = 1

        def add(self, more: int) -> int:
            self.number += more
            return self.number

    proxy = actor_system.start(Threaded).proxy()
    assert await proxy.add(2) == 3
    assert await proxy.number == 3
