"""One run of a test: a seed in, what came of it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.simulation.cluster import Cluster, ClusterOptions
from irismq_runtime.simulation.investigation import SimulatedRun
from irismq_runtime.simulation.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

__all__ = ["play"]


def play(
    scenario: Callable[[Cluster], Awaitable[None]],
    seed: int,
    options: ClusterOptions,
    kept: Container[int] | None = None,
) -> SimulatedRun:
    """Run a test with one seed, on machines of its own.

    Args:
        scenario: The test.
        seed: The seed.
        options: Of the cluster.
        kept: The numbers of the faults that are carried out; None: all.

    Returns:
        What came of it.

    Raises:
        KeyboardInterrupt: Somebody wants it to end.
    """
    with Simulation(seed) as simulation:
        # In a function of its own: when the simulation is closed, nobody holds the cluster.
        return _outcome(simulation, scenario, options, kept)


def _outcome(
    simulation: Simulation,
    scenario: Callable[[Cluster], Awaitable[None]],
    options: ClusterOptions,
    kept: Container[int] | None,
) -> SimulatedRun:
    cluster = Cluster(simulation, options, kept)
    failure: BaseException | None = None
    try:
        simulation.run(cluster.run, scenario, longest=options.longest)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever a test fails with, pytest's own failures too
        failure = error
    return SimulatedRun(
        seed=simulation.seed,
        failure=failure,
        digest=simulation.digest(),
        seconds=simulation.now,
        steps=simulation.steps,
        faults=cluster.faults_done,
        # Events hold errors, and these by their tracebacks all that there was.
        trace=() if failure is None else cluster.witness.trace,
    )
