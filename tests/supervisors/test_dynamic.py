"""Children that come and go: limits, names, and one timer for all of one patience."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, Refused
from supervisors import (
    DynamicSupervisor,
    SpecError,
    child,
    count_children,
    start_child,
    terminate_child,
    which_children,
)
from tests.supervisors.helpers import (
    Worker,
    begun,
    child_ref,
    crash,
    ended,
    own_timers,
    rest,
    states,
)
from tests.support.until import until


class Slow(Actor):
    def __init__(self, gate):
        self.gate = gate

    async def on_stop(self, reason):
        await self.gate.wait()


async def test_max_children(world, script):
    system, _ = world
    ref = await begun(DynamicSupervisor.of(max_children=2), system)
    for name in "ab":
        await start_child(ref, child(Worker, script, name, name=name))
    with pytest.raises(Refused) as caught:
        await start_child(ref, child(Worker, script, "c", name="c"))
    assert caught.value.code == "max_children"
    await terminate_child(ref, "a")
    await start_child(ref, child(Worker, script, "c", name="c"))
    assert sorted(states(ref)) == ["b", "c"]


async def test_children_without_a_name_get_one(world, script):
    system, _ = world
    ref = await begun(DynamicSupervisor, system)
    await start_child(ref, child(Worker, script, "x", name="Worker-2"))
    for _ in range(3):
        await start_child(ref, child(Worker, script, "w"))
    assert [info.name for info in which_children(ref)] == [
        "Worker-2",
        "Worker-1",
        "Worker-3",
        "Worker-4",
    ]


async def test_a_child_is_terminated_by_its_ref_and_forgotten(world, script):
    system, _ = world
    ref = await begun(DynamicSupervisor, system)
    one = await start_child(ref, child(Worker, script, "w"))
    other = system.start(Worker, script, "stranger", name="Worker-1")
    with pytest.raises(Refused) as caught:
        await terminate_child(ref, other)
    assert caught.value.code == "not_found"
    await terminate_child(ref, one)
    assert which_children(ref) == []


async def test_a_child_that_crashes_is_restarted_and_the_limit_is_shared(world, script):
    system, _ = world
    ref = await begun(DynamicSupervisor, system)
    for name in "abcd":
        await start_child(ref, child(Worker, script, name, name=name))
    for name in "abc":
        await crash(ref, name)
    assert count_children(ref).active == 4
    child_ref(ref, "d").tell(ValueError("one too many"))
    await ended(system, ref)
    assert ref.exit.reason == "shutdown"


async def test_all_children_are_stopped_at_once_under_one_timer_for_each_patience(world):
    system, clock = world
    gate = asyncio.Event()
    ref = await begun(DynamicSupervisor, system)
    for number in range(200):
        await start_child(ref, child(Slow, gate, shutdown=2.0 if number % 2 else 3.0))
    pending = own_timers(clock)
    stopping = ref.stop()
    await rest()
    assert set(states(ref).values()) == {"stopping"}
    assert own_timers(clock) == pending + 2
    clock.advance(2.0)
    await until(lambda: count_children(ref).specs == 100)
    assert not stopping.done()
    clock.advance(1.0)
    await stopping
    await ended(system, ref)
    clock.advance(1.0)


async def test_the_time_of_many_children_begins_when_all_have_been_told(world, monkeypatch):
    import supervisors._executor as executor

    monkeypatch.setattr(executor, "AT_ONCE", 10)
    system, clock = world
    gate = asyncio.Event()
    ref = await begun(DynamicSupervisor, system)
    for _ in range(95):
        await start_child(ref, child(Slow, gate, shutdown=1.0))
    before = own_timers(clock)
    stopping = ref.stop()
    await until(lambda: set(states(ref).values()) == {"stopping"})
    clock.advance(1.0)
    assert own_timers(clock) == before, "they have not all been told"
    await until(lambda: own_timers(clock) == before + 1)
    clock.advance(1.0)
    await stopping
    clock.advance(1.0)
    await ended(system, ref)


async def test_children_that_stop_in_time_leave_no_timer(world, script):
    system, clock = world
    ref = await begun(DynamicSupervisor, system)
    for _ in range(10):
        await start_child(ref, child(Worker, script, "w"))
    pending = own_timers(clock)
    await ref.stop()
    assert own_timers(clock) == pending


async def test_kill_and_zero_do_not_ask(world):
    system, _ = world
    gate = asyncio.Event()
    ref = await begun(DynamicSupervisor, system)
    for patience in ("kill", 0):
        await start_child(ref, child(Slow, gate, shutdown=patience))
    await ref.stop()
    await ended(system, ref)


def test_what_a_dynamic_supervisor_cannot_be():
    with pytest.raises(SpecError) as caught:

        class All(DynamicSupervisor):
            strategy = "one_for_all"

    assert caught.value.reason == "invalid_strategy"
    for wrong in (-1, 1.5, True):
        with pytest.raises(SpecError) as caught:
            DynamicSupervisor.of(max_children=wrong)
        assert caught.value.reason == "invalid_max_children"
    with pytest.raises(TypeError):
        DynamicSupervisor.of(strategy="one_for_all")
