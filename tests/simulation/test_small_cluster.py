"""The product itself, unchanged, on simulated hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from actors import System
from irismq_runtime.simulation import Simulation
from tests.simulation.small_cluster import Add, Adder, SmallCluster, Total

ROOT = Path(__file__).parents[2]


def test_a_system_of_actors_runs_on_virtual_time():
    async def main() -> int:
        system = System()
        ref = system.start(Adder)
        ref.tell(Add(3))
        total = await ref.ask(Total())
        await system.shutdown()
        return total

    with Simulation(seed=1) as simulation:
        assert simulation.run(main) == 3
        assert 0.001 < simulation.now < 0.1


def test_two_nodes_tell_and_ask_through_a_broker_and_a_relay():
    cluster = SmallCluster(seed=1)
    assert cluster.run(lambda cluster: cluster.tell(5, 10)) == 50
    assert cluster.simulation.uncaught == []


def _run_elsewhere(seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.simulation.small_cluster", str(seed)]
    done = subprocess.run(
        program, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_seed_is_the_same_run_after_another_one_and_alone_in_another_process():
    other = SmallCluster(seed=8)
    other.run(lambda cluster: cluster.tell(2, 20))
    cluster = SmallCluster(seed=7)
    total = cluster.run(lambda cluster: cluster.tell(2, 20))
    here = f"{total} {cluster.simulation.steps} {cluster.simulation.digest()}"
    assert _run_elsewhere(7, "1") == _run_elsewhere(7, "2") == here
    assert other.simulation.digest() != cluster.simulation.digest()
