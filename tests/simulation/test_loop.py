"""A simulated loop keeps asyncio's promises, and chooses where asyncio makes none."""

from __future__ import annotations

import asyncio
import contextvars
import time
from functools import partial
from typing import Any

import pytest

from irismq_runtime.simulation import (
    Conditions,
    NotSimulated,
    ProcessKilled,
    Simulation,
    SimulationStalled,
)
from irismq_runtime.worker_thread import WorkerThread


def run(main: Any, *args: Any, seed: int = 1, **options: Any) -> Any:
    with Simulation(seed) as simulation:
        return simulation.run(main, *args, **options)


def test_callbacks_run_in_the_order_in_which_they_were_given():
    async def main() -> list[int]:
        loop, order = asyncio.get_running_loop(), list[int]()
        for number in range(100):
            loop.call_soon(order.append, number)
        await asyncio.sleep(0)
        return order

    for seed in range(5):
        assert run(main, seed=seed) == list(range(100))


def test_a_day_of_sleep_takes_no_time_and_ends_when_it_should():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(80_000)
        return loop.time() - began

    assert 80_000 <= run(main) < 80_000.01


def test_timers_fire_in_the_order_of_their_times_and_ties_in_any():
    async def main(ties: bool) -> list[int]:
        loop, order = asyncio.get_running_loop(), list[int]()
        at = loop.time() + 1
        for number in (3, 1, 2, 0):
            loop.call_at(at if ties else at + number, order.append, number)
        await asyncio.sleep(10)
        return order

    assert all(run(main, False, seed=seed) == [0, 1, 2, 3] for seed in range(5))
    orders = {tuple(run(main, True, seed=seed)) for seed in range(30)}
    assert len(orders) > 5
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_a_cancelled_timer_does_not_fire_and_is_forgotten():
    async def main() -> int:
        loop, fired = asyncio.get_running_loop(), list[int]()
        for number in range(2000):
            loop.call_later(5, fired.append, number).cancel()
        loop.call_later(5, fired.append, -1)
        await asyncio.sleep(10)
        assert fired == [-1]
        return len(loop._timers)

    assert run(main) < 1000


def test_a_loop_that_is_never_idle_does_not_stop_the_others():
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def main(simulation: Simulation) -> str:
        simulation.host("busy").start(spin)
        await asyncio.sleep(0.01)
        return "on time"

    with Simulation(1) as simulation:
        assert simulation.run(main, simulation) == "on time"


def test_a_timeout_ends_what_hangs_and_context_variables_stay_with_their_task():
    variable = contextvars.ContextVar("variable", default="unset")

    async def child() -> str:
        return variable.get()

    async def main() -> tuple[str, str]:
        variable.set("mine")
        task = asyncio.create_task(child())
        variable.set("later")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        return await task, variable.get()

    assert run(main) == ("mine", "later")


def test_tasks_in_a_set_come_in_the_same_order_whatever_the_process_did_before():
    async def main() -> list[str]:
        ended = list[str]()

        async def wait(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        waiting = {asyncio.create_task(wait(f"waiter {number}")) for number in range(32)}
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        return ended

    orders, elsewhere = [], []
    for run_number in range(3):
        orders.append(run(main))
        # What is made next has other addresses.
        elsewhere.append([bytearray(size % 400) for size in range(10_000 * (run_number + 1))][::3])
    assert sorted(orders[0]) == sorted(f"waiter {number}" for number in range(32))
    assert orders[0] == orders[1] == orders[2]


def test_what_nobody_catches_is_kept_for_the_end():
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with Simulation(1) as simulation:
        simulation.run(main)
        [(host, what)] = simulation.uncaught
    assert host == "outside"
    assert isinstance(what["exception"], ZeroDivisionError)


def test_a_generator_that_is_dropped_is_closed():
    closed = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(1)
            closed.append(True)

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(2)

    run(main)
    assert closed == [True]


# -- threads ------------------------------------------------------------------------------


def test_a_thread_is_a_step_that_takes_time_and_has_no_loop():
    def work(number: int) -> float:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        if number:
            raise ValueError(number)
        return time.monotonic()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await asyncio.to_thread(work, 0)
        assert began < done < loop.time()
        with pytest.raises(ValueError, match="7"):
            await loop.run_in_executor(None, work, 7)

    run(main)


def test_a_thread_of_jobs_does_them_in_order_and_tells_how_each_ended():
    async def main() -> list[int]:
        thread, done = WorkerThread("test", asyncio.get_running_loop()), list[int]()
        ends = [thread.call(partial(done.append, number)) for number in range(5)]
        failed = thread.call(lambda: 1 / 0)
        last = thread.call(lambda: len(done))
        thread.end()
        assert await last == 5
        assert all(end.done() for end in ends)
        with pytest.raises(ZeroDivisionError):
            await failed
        return done

    assert run(main) == [0, 1, 2, 3, 4]


# -- how a run ends ---------------------------------------------------------------------------


def test_a_run_in_which_nothing_happens_any_more_says_so():
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationStalled, match="nothing is left to happen"):
        run(main)


def test_a_run_ends_after_its_longest_time_and_its_most_steps():
    async def main() -> None:
        while True:
            await asyncio.sleep(0.001)

    with pytest.raises(SimulationStalled, match="30 virtual seconds are over"):
        run(main, longest=30)
    with pytest.raises(SimulationStalled, match="1000 steps were taken"):
        run(main, most_steps=1000)


def test_a_run_is_not_made_inside_another_loop():
    async def main() -> None:
        with pytest.raises(NotSimulated, match="run inside a running"):
            run(main)

    asyncio.run(main())


def test_what_main_raises_is_raised_and_a_simulation_runs_once():
    async def main() -> None:
        raise LookupError("here")

    with Simulation(1) as simulation:
        with pytest.raises(LookupError, match="here"):
            simulation.run(main)
        with pytest.raises(RuntimeError, match="run once"):
            simulation.run(main)


# -- processes ----------------------------------------------------------------------------------


def test_a_killed_process_never_runs_again_not_even_its_finally():
    log: list[str] = []

    async def program() -> None:
        try:
            while True:
                await asyncio.sleep(0.5)
                log.append("tick")
        finally:
            log.append("finally")

    async def main(simulation: Simulation) -> None:
        host = simulation.host("a")
        process = host.start(program)
        await asyncio.sleep(1.2)
        host.kill()
        await asyncio.sleep(10)
        assert log == ["tick", "tick"]
        with pytest.raises(ProcessKilled, match="on a was killed"):
            await process.wait()
        assert not host.running
        host.start(program)
        await asyncio.sleep(0.7)
        assert log == ["tick", "tick", "tick"]

    simulation = Simulation(1)
    simulation.run(main, simulation)
    assert log == ["tick", "tick", "tick"]
    simulation.close()


def test_a_call_to_a_process_that_is_killed_meanwhile_ends():
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main(simulation: Simulation) -> None:
        host = simulation.host("a")
        host.start(forever)
        calling = asyncio.create_task(host.call(forever))
        await asyncio.sleep(1)
        host.kill()
        with pytest.raises(ProcessKilled):
            await calling

    with Simulation(1) as simulation:
        simulation.run(main, simulation)


def test_a_paused_process_stands_still_and_then_catches_up():
    ticks: list[float] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            ticks.append(round(loop.time()))
            await asyncio.to_thread(ticks.append, -1)

    async def main(simulation: Simulation) -> None:
        host = simulation.host("a")
        host.start(program)
        await asyncio.sleep(2.5)
        host.pause()
        before = len(ticks)
        await asyncio.sleep(10)
        assert len(ticks) == before == 4
        host.resume()
        await asyncio.sleep(0.9)
        assert 10 <= ticks[4] - ticks[2] <= 11
        assert ticks[5] == -1

    with Simulation(1) as simulation:
        simulation.run(main, simulation)


def test_a_wall_clock_jumps_and_the_monotonic_one_does_not():
    async def clocks() -> tuple[float, float]:
        return time.time(), time.monotonic()

    async def main(simulation: Simulation) -> None:
        host = simulation.host("a")
        host.start(asyncio.sleep, 0)
        wall, monotonic = await host.call(clocks)
        host.jump(-3600)
        later_wall, later_monotonic = await host.call(clocks)
        assert -3600 < later_wall - wall < -3599
        assert 0 < later_monotonic - monotonic < 1

    with Simulation(1) as simulation:
        simulation.run(main, simulation)


def test_a_slow_machine_takes_longer():
    async def spin() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop.time() - began

    async def main(simulation: Simulation) -> None:
        host = simulation.host("a")
        host.start(asyncio.sleep, 0)
        usual = await host.call(spin)
        host.slow(50)
        assert await host.call(spin) > 20 * usual

    with Simulation(1, Conditions()) as simulation:
        simulation.run(main, simulation)
