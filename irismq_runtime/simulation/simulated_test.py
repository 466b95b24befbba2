"""`@simulate`: a test that is played with many seeds.

The decorated function is a plain one, so every runner of tests can call it. The plugin of
pytest (`irismq_runtime.pytest_plugin`) calls `SimulatedTest.run` itself: it knows how many
seeds were asked for on the command line, and prints which ones they were.

Each seed is a run of its own: new machines, new network, an empty disk. Only what a process
keeps (module variables, caches) passes from one run to the next; what hangs on that does not
repeat, and the report of a failure says so. Nothing is logged but where `IRISMQ_SEED` names
what is played.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from actors.rules import need
from irismq_runtime.simulation.cluster import ClusterOptions
from irismq_runtime.simulation.investigation import investigate
from irismq_runtime.simulation.play import play
from irismq_runtime.simulation.seeds import (
    FAULTS_VARIABLE,
    SEED,
    SEED_VARIABLE,
    faults_of,
    seeds_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping

    from irismq_runtime.simulation.cluster import Cluster
    from irismq_runtime.simulation.failures import SimulationFailed
    from irismq_runtime.simulation.investigation import SimulatedRun

__all__ = ["Played", "SimulatedTest", "simulate"]

#: Seconds of real time that finding out what matters may take, about.
_INVESTIGATION: Final = 30.0
#: Runs that it takes at least and at most.
_RUNS: Final = (20, 200)


@dataclass(slots=True)
class Played:
    """What was played: sums over the seeds that passed, and which they were."""

    seeds: list[int] = field(default_factory=list)
    steps: int = 0
    virtual: float = 0.0
    real: float = 0.0

    @property
    def runs(self) -> int:
        """How many passed."""
        return len(self.seeds)

    def add(self, run: SimulatedRun, real: float) -> None:
        """One more run passed, in `real` seconds."""
        self.seeds.append(run.seed)
        self.steps += run.steps
        self.virtual += run.seconds
        self.real += real


class SimulatedTest:
    """One test, and how it is played.

    Args:
        function: The coroutine function; its first argument is the `Cluster`.
        seeds: How many fresh seeds are played, or which.
        options: Of the cluster.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[None]],
        seeds: int | Collection[int],
        options: ClusterOptions,
    ) -> None:
        self.function = function
        self._file = inspect.getfile(function)
        self.seeds = seeds
        self.options = options

    def chosen(
        self, environment: Mapping[str, str], *, count: int | None = None
    ) -> Collection[int]:
        """Say which seeds are played.

        Args:
            environment: That of the process: `IRISMQ_SEED` goes before all else.
            count: How many fresh ones, whatever the test says; None: as it says.

        Returns:
            The seeds.
        """
        named = environment.get(SEED_VARIABLE, "")
        if named or count is not None or isinstance(self.seeds, int):
            number = count or (self.seeds if isinstance(self.seeds, int) else len(self.seeds))
            return seeds_of(named, count=number, fresh=secrets.randbits(32))
        return self.seeds

    def run(
        self, seeds: Iterable[int], arguments: Mapping[str, Any], *, played: Played | None = None
    ) -> None:
        """Play the seeds, one after the other, up to the first that fails.

        Args:
            seeds: Which.
            arguments: Of the function, beside the cluster.
            played: What passed is added to it.

        Raises:
            SimulationFailed: A seed failed; its cause is what it failed with.
        """
        played = Played() if played is None else played
        kept = faults_of(os.environ.get(FAULTS_VARIABLE, ""))

        def scenario(cluster: Cluster) -> Awaitable[None]:
            return self.function(cluster, **arguments)

        with _quiet(unless=bool(os.environ.get(SEED_VARIABLE))):
            for seed in seeds:
                began = time.perf_counter()
                run = play(scenario, seed, self.options, kept)
                took = time.perf_counter() - began
                if run.failure is not None:
                    raise self._report(scenario, run, played.runs, took) from run.failure
                played.add(run, took)

    def _report(
        self,
        scenario: Callable[[Cluster], Awaitable[None]],
        failed: SimulatedRun,
        passed: int,
        took: float,
    ) -> SimulationFailed:
        """Find out what matters; a run takes about `took` seconds."""

        def again(kept: Collection[int] | None) -> SimulatedRun:
            named = faults_of(os.environ.get(FAULTS_VARIABLE, ""))
            return play(scenario, failed.seed, self.options, named if kept is None else kept)

        most = min(max(_INVESTIGATION / max(took, 1e-3), _RUNS[0]), _RUNS[1])
        return investigate(again, failed, file=self._file, passed=passed, most=int(most))


@contextlib.contextmanager
def _quiet(*, unless: bool) -> Iterator[None]:
    """Log nothing: what all nodes of many runs say under faults is read by nobody."""
    before = logging.root.manager.disable
    if not unless:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(
    *, seeds: int | Collection[int] = 100, **options: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Make a coroutine function that takes a `Cluster` a test that is played with many seeds.

    Args:
        seeds: How many fresh seeds are played, or which. `IRISMQ_SEED` in the environment
            names others, and the options of the pytest plugin as well.
        **options: Of `ClusterOptions`: `hosts`, `brokers` and the like.

    Returns:
        A decorator. What it makes is a plain function; it takes the arguments of the
        coroutine function but the first, so fixtures of pytest can be among them.

    Raises:
        TypeError: It is no coroutine function, or takes no argument, or there is no such option.
        ValueError: An option has no meaning, or a seed has more than 32 bits.
    """
    chosen = ClusterOptions(**options)
    if not seeds or (isinstance(seeds, int) and seeds < 1):
        raise ValueError(f"seeds={seeds}: give at least one")
    for seed in () if isinstance(seeds, int) else seeds:
        need(SEED, "seeds", seed)

    def decorate(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        parameters = list(inspect.signature(function).parameters.values())
        if not inspect.iscoroutinefunction(function) or not parameters:
            raise TypeError(f"@simulate is for `async def {function.__name__}(cluster, ...)`")
        test = SimulatedTest(function, seeds, chosen)

        @functools.wraps(function)
        def played(**arguments: Any) -> None:
            test.run(test.chosen(os.environ), arguments)

        del played.__wrapped__  # its arguments are others
        played.__signature__ = inspect.Signature(parameters[1:])  # type: ignore[attr-defined]  # what pytest asks
        played.simulated = test  # type: ignore[attr-defined]  # for the plugin
        return played

    return decorate
