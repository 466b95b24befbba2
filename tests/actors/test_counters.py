"""What a system has counted of its actors, by class."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, ActorDeadError, System, ThreadActor, receives


async def test_what_each_class_handles_is_counted_for_living_and_ended_slots(
    actor_system: System,
) -> None:
    class Worker(Actor):
        @receives(int)
        def plain(self, number: int) -> int:
            return number

        @receives(str)
        async def slow(self, text: str) -> str:
            await asyncio.sleep(0)
            return text

        @receives(bytes)
        def boom(self, data: bytes) -> None:
            raise RuntimeError("boom")

    class Threaded(ThreadActor):
        @receives(int)
        def plain(self, number: int) -> int:
            return number

    living, ending = actor_system.start(Worker), actor_system.start(Worker)
    threaded = actor_system.start(Threaded)
    for number in range(100):
        living.tell(number)
    assert await living.ask("x") == "x"
    for number in range(3):
        assert await ending.ask(number) == number
        assert await threaded.ask(number) == number
    ending.tell(b"")
    with pytest.raises(ActorDeadError):
        await ending.ask(1)
    tally = actor_system.counters_by_class()
    assert tally[Worker].actors == 1
    assert tally[Worker].crashes == 1
    assert tally[Worker].handled == 100 + 1 + 3 + 1
    assert tally[Threaded].handled == 3
