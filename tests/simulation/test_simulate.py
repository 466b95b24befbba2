"""`Cluster` and `@simulate` on the product itself: what a run does, repeats, and tells."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.errors import ConfigError
from irismq_runtime.node.current import RUNNING
from irismq_runtime.simulation import Cluster, ClusterOptions, InvariantBroken, simulate
from irismq_runtime.simulation.play import play
from irismq_runtime.simulation.simulated_test import SimulatedTest
from tests.simulation.service import ADDRESS, Entry, Office, entries

if TYPE_CHECKING:
    from irismq_runtime import Node
    from irismq_runtime.simulation.investigation import SimulatedRun

SMALL = ClusterOptions(hosts=2)
pytestmark = pytest.mark.blocking_ok  # a disk that loses its power is real SQLite

#: What kills a machine without a node.
_KILLS = {"broker-1": "broker", "relay": "relay"}

#: Everything goes wrong.
DIALS = {
    "kill": 6.0,
    "stop": 3.0,
    "pause": 3.0,
    "clock": 3.0,
    "partition": 6.0,
    "cut": 6.0,
    "slow": 6.0,
    "relay": 3.0,
    "broker": 3.0,
    "power": 3.0,
}


def passed(run: SimulatedRun) -> SimulatedRun:
    if run.failure is not None:
        raise run.failure
    return run


def test_a_run_is_the_same_again_and_another_seed_is_another_run() -> None:
    scenario = entries(seconds=10.0, crashes=0.1, **DIALS)
    runs = [passed(play(scenario, seed, SMALL)) for seed in (5, 5, 6)]
    digests = [run.digest for run in runs]
    assert digests[0] == digests[1] != digests[2]
    assert runs[0].faults == runs[1].faults != runs[2].faults
    assert len(runs[0].faults) > 3


def test_faults_that_are_left_out_leave_the_others_as_they_were() -> None:
    scenario = entries(seconds=10.0, **DIALS)
    whole = passed(play(scenario, 5, SMALL))
    some = passed(play(scenario, 5, SMALL, kept={fault.number for fault in whole.faults[1:3]}))
    assert some.faults == whole.faults[1:3]


@pytest.mark.parametrize(
    ("kind", "target", "amount"),
    [
        ("kill", ("a",), 0.0),
        ("stop", ("a",), 0.0),
        ("pause", ("a",), 0.0),
        ("clock", ("a",), -3600.0),
        ("partition", ("a", "broker-1"), 0.0),
        ("cut", ("a", "relay"), 0.0),
        ("slow", ("a", "relay"), 100.0),
        ("relay", ("relay",), 0.0),
        ("broker", ("broker-1",), 0.0),
        ("power", ("broker-1",), 0.0),
        ("full", ("broker-1",), 0.0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_kind_of_fault_is_done_is_told_and_is_healed(
    kind: str, target: tuple[str, ...], amount: float
) -> None:
    said: list[object] = []

    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Office)
        cluster.strike(kind, *target, amount=amount)
        said.extend(what for _, _, what in cluster.witness.trace)
        await asyncio.sleep(5.0)
        assert (cluster.node_on("a") is None) == (kind in {"kill", "stop"})
        await cluster.heal()
        node = cluster.node_on("a")
        assert node is not None
        assert await cluster.ref(ADDRESS).ask(Entry(1)) == 1

    run = passed(play(scenario, 1, SMALL))
    assert [fault.kind for fault in run.faults] == [kind]
    assert str(run.faults[0]) in said


def test_what_was_started_on_a_machine_runs_again_after_each_of_its_deaths() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Office, on=["b"])
        ids = set()
        for _ in range(3):
            node = cluster.node_on("b")
            assert node is not None
            ids.add(node.id)
            cluster.strike("kill", "b", lasts=1.0)
            await cluster.heal()
            assert [member.name for member in cluster.node.members(ADDRESS)] == ["b"]
        assert len(ids) == 3

    passed(play(scenario, 2, SMALL))


@pytest.mark.parametrize("after", [0.002, 0.02, 0.05])
@pytest.mark.parametrize("machine", ["a", "broker-1", "relay"])
def test_what_is_told_to_end_while_it_starts_ends_in_order(after: float, machine: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Office)
        keeper = cluster._keepers[machine]
        cluster.strike(_KILLS.get(machine, "kill"), machine, lasts=1.0)
        while keeper.life is None or keeper.life.number < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(after)
        await keeper.stop()
        process = keeper.host.process
        assert process is not None
        while keeper.end is not None or not process.over:
            await asyncio.sleep(0.1)
        keeper.release()
        await cluster.heal()
        assert keeper.life.number == 3

    run = passed(play(scenario, 3, SMALL))
    assert run.seconds < 60.0


def test_ways_that_are_slow_twice_are_as_slow_as_the_slower_says() -> None:
    async def scenario(cluster: Cluster) -> None:
        path = cluster._simulation.network.path("a", "relay")
        cluster.strike("slow", "a", "relay", lasts=3.0, amount=100.0)
        cluster.strike("slow", "a", "relay", lasts=1.0, amount=300.0)
        seen = []
        for _ in range(3):
            seen.append(path.slowness)
            await asyncio.sleep(1.6)
        assert seen == [300.0, 100.0, 1.0]

    passed(play(scenario, 3, SMALL))


def test_a_machine_that_is_not_there_is_named_with_those_that_are() -> None:
    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(KeyError, match="no machine 'q' runs a node; those that do: a, b"):
            await cluster.start(Office, on=["q"])
        with pytest.raises(KeyError, match="no machine 'relay' runs a node"):
            cluster.node_on("relay")

    passed(play(scenario, 3, SMALL))


def test_faults_overlap_and_the_last_one_that_ends_lets_a_machine_go_on() -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.strike("kill", "a", lasts=4.0)
        cluster.strike("pause", "a", lasts=8.0)
        cluster.strike("kill", "a", lasts=2.0)
        up = []
        for _ in range(10):
            await asyncio.sleep(1.0)
            up.append(cluster.node_on("a") is not None)
        assert up == [False] * 8 + [True] * 2  # it stood still until the eighth second

    passed(play(scenario, 3, SMALL))


def test_plans_and_strikes_at_once_are_numbered_apart_and_all_are_healed() -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.faults(kill=30.0), cluster.faults(pause=30.0):
            cluster.strike("partition", "a", "relay")
            await asyncio.sleep(20.0)
        await cluster.heal()

    run = passed(play(scenario, 3, SMALL))
    assert {fault.kind for fault in run.faults} == {"kill", "pause", "partition"}
    assert [fault.number for fault in run.faults] == list(range(len(run.faults)))
    assert len({fault.at for fault in run.faults}) == len(run.faults)
    some = passed(play(scenario, 3, SMALL, kept={fault.number for fault in run.faults[2:4]}))
    assert some.faults == run.faults[2:4]


def test_a_test_that_keeps_its_cancellation_to_itself_has_failed_all_the_same() -> None:
    async def scenario(cluster: Cluster) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(200.0)

    run = play(scenario, 7, ClusterOptions(hosts=1, longest=100.0))
    assert "100 s are over" in str(run.failure)


def test_a_workload_counts_how_its_calls_end_and_tells_what_it_does_not_know() -> None:
    async def scenario(cluster: Cluster) -> None:
        numbers = itertools.count()

        async def call(cluster: Cluster) -> None:
            if next(numbers) % 2:
                await cluster.ref("nobody").ask(1)

        load = await cluster.workload(call, rate=10.0, seconds=10.0)
        assert 50 < load.calls < 200
        assert load.failed == {"NoSuchService": load.calls // 2}

        async def broken(cluster: Cluster) -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await cluster.workload(broken, rate=10.0, seconds=10.0)

    passed(play(scenario, 4, SMALL))


def test_a_cluster_that_does_not_come_to_rest_is_told_with_the_reason() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.start(Office)
        await cluster.ref(ADDRESS).tell(Entry(1, seconds=500.0))
        await cluster.heal(within=60.0)

    run = play(scenario, 5, SMALL)
    assert isinstance(run.failure, InvariantBroken)
    assert "60 s later message" in str(run.failure)
    assert f"waits for {ADDRESS}" in str(run.failure)


def test_a_failure_in_the_test_is_the_failure_of_the_run() -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.faults(kill=60.0):
            await asyncio.sleep(5.0)
            assert cluster.hosts == ("a",), "two are there"

    run = play(scenario, 6, SMALL)
    assert type(run.failure) is AssertionError
    assert "two are there" in str(run.failure)


def test_a_run_leaves_nothing_behind_whatever_was_killed_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.strike("kill", "a", lasts=1.0)
        await cluster.heal()

    made: list[weakref.ref[Node]] = []
    make = ClusterOptions.make_node

    def making(self: ClusterOptions, *given: Any) -> Node:
        node = make(self, *given)
        made.append(weakref.ref(node))
        return node

    options, running = ClusterOptions(hosts=1), len(RUNNING)
    monkeypatch.setattr(ClusterOptions, "make_node", making)
    passed(play(scenario, 2, options))
    assert len(made) == 3  # of the test, and of both lives of a
    assert [node for node in made if node() is not None] == []
    assert len(RUNNING) == running


def test_what_fails_in_a_task_that_only_itself_knows_is_heard() -> None:
    async def scenario(cluster: Cluster) -> None:
        async def fails(own: list[object]) -> None:
            raise ValueError("in a cycle")

        own: list[object] = []
        own.append(asyncio.create_task(fails(own)))
        own.append(own)
        await asyncio.sleep(0.1)
        own.append(sum)  # it lives until here, and is no garbage without the collector

    run = play(scenario, 6, ClusterOptions(hosts=1))
    assert "no error goes unheard" in str(run.failure)
    assert "in a cycle" in str(run.failure)


def test_a_run_that_does_not_end_is_ended_after_its_time() -> None:
    async def scenario(cluster: Cluster) -> None:
        await asyncio.Event().wait()

    run = play(scenario, 7, ClusterOptions(hosts=1, longest=100.0))
    assert "100 s are over" in str(run.failure)
    assert 100.0 < run.seconds < 103.0


def test_what_simulate_makes_takes_the_other_arguments_of_the_test() -> None:
    seen = []

    @simulate(seeds=[3, 4], hosts=1)
    async def story(cluster: Cluster, tmp: int) -> None:
        seen.append((cluster.seed, tmp, cluster.hosts))

    assert list(inspect.signature(story).parameters) == ["tmp"]
    story(tmp=5)
    assert seen == [(3, 5, ("a",)), (4, 5, ("a",))]


def test_the_environment_names_seeds_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(cluster: Cluster) -> None: ...

    test = SimulatedTest(story, 200, SMALL)
    assert list(test.chosen({"IRISMQ_SEED": "8f31"}, count=7)) == [0x8F31]
    assert len(test.chosen({}, count=7)) == 7
    assert len(test.chosen({})) == 200
    assert test.chosen({}) != test.chosen({})
    assert list(SimulatedTest(story, [1, 2], SMALL).chosen({})) == [1, 2]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"seeds": 0}, ValueError, "seeds=0: give at least one"),
        ({"seeds": []}, ValueError, "seeds=.*: give at least one"),
        ({"seeds": [1 << 32]}, ValueError, "seeds=4294967296 is not a whole number from 0"),
        ({"hosts": 0}, ValueError, "hosts=0 is not a whole number from 1"),
        ({"hosts": ["a", "a"]}, ValueError, "hosts=.* two machines"),
        ({"hosts": ["relay"]}, ValueError, "hosts=.* two machines"),
        ({"brokers": 0}, ValueError, "brokers=0 is not a whole number from 1"),
        ({"longest": 0}, ValueError, "longest=0 is not a finite number"),
        ({"machines": 3}, TypeError, "machines"),
        ({"node": {"lease": -1}}, ConfigError, "lease"),
        ({"node": {"leese": 4.0}}, ConfigError, "leese"),
    ],
)
def test_an_option_without_a_meaning_is_named(
    options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        simulate(**options)  # type: ignore[arg-type]  # on purpose


def test_what_is_no_test_of_a_cluster_is_refused() -> None:
    with pytest.raises(TypeError, match="is for `async def story"):

        @simulate()  # type: ignore[arg-type]  # on purpose
        def story(cluster: Cluster) -> None: ...

    with pytest.raises(TypeError, match="is for `async def empty"):

        @simulate()
        async def empty() -> None: ...
