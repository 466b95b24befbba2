"""Each planted fault is found, repeats, and is cut down to the faults that matter.

In every run of the tests each twin is found from a seed that is known to find it, or one soon
after it: another product plays another run. That it is found from any seed on, and what is told
of it, are long tests (`make soak-tests`).
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import pytest

from actors.texts import line_of
from irismq_runtime.simulation.investigation import investigate
from irismq_runtime.simulation.play import play
from tests.simulation.planted.twins import TWINS, Twin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from irismq_runtime.simulation.failures import SimulationFailed
    from irismq_runtime.simulation.investigation import SimulatedRun

pytestmark = [
    pytest.mark.blocking_ok,  # a disk that loses its power is real SQLite
    pytest.mark.slow,
    pytest.mark.timeout(600),  # some runs of a cluster each, on a machine that may be busy
]

#: Seeds within which each must be found.
MOST = 200
#: Of the faults of a plan, so few at most must be named.
MATTER = 4
#: One that several faults of a plan have no part in.
SHOWN = "nodes_that_are_never_forgotten"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What nodes log under faults is not what these tests are about, and takes time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def found(twin: Twin, first: int) -> SimulatedRun:
    """The first run that fails, of the seeds from `first` on."""
    for seed in itertools.islice(itertools.count(first), MOST):
        run = play(twin.scenario, seed, twin.options)
        if run.failure is not None:
            return run
    pytest.fail(f"not found within {MOST} seeds")


def reported(twin: Twin, run: SimulatedRun) -> SimulationFailed:
    """The report of a run that failed; it names the seed, and few faults."""

    def again(kept: Collection[int] | None) -> SimulatedRun:
        return play(twin.scenario, run.seed, twin.options, kept)

    report = investigate(again, run, file=__file__, passed=run.seed, most=32)
    assert twin.found_as in str(report)
    assert f"IRISMQ_SEED={run.seed:x} replays it" in str(report)
    assert len(report.faults) <= MATTER
    assert len(report.faults) < len(run.faults) or len(run.faults) <= MATTER
    return report


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS.keys())
def test_a_planted_fault_is_found(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    twin.plant(monkeypatch)
    failure = found(twin, twin.seed).failure
    assert failure is not None
    assert twin.found_as in line_of(failure)


def test_a_planted_fault_is_told_by_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = TWINS[SHOWN]
    twin.plant(monkeypatch)
    run = found(twin, twin.seed)
    assert len(reported(twin, run).faults) < len(run.faults)


@pytest.mark.soak
@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS.keys())
def test_a_planted_fault_is_found_from_any_seed_and_told_by_what_matters(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.plant(monkeypatch)
    reported(twin, found(twin, 0))
