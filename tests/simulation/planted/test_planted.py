"""Each planted fault is found, repeats, and is cut down to the faults that matter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.simulation.investigation import investigate
from irismq_runtime.simulation.play import play
from tests.simulation.planted.twins import TWINS, Twin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from irismq_runtime.simulation.investigation import SimulatedRun

pytestmark = [
    pytest.mark.blocking_ok,  # a disk that loses its power is real SQLite
    pytest.mark.slow,
    pytest.mark.timeout(600),  # some runs of a cluster each, on a machine that may be busy
]

#: Seeds within which each must be found.
MOST = 200


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What nodes log under faults is not what these tests are about, and takes time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS.keys())
def test_a_planted_fault_is_found_and_told_by_what_matters(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.plant(monkeypatch)
    for seed in range(MOST):
        run = play(twin.scenario, seed, twin.options)
        if run.failure is not None:
            break
    else:
        pytest.fail(f"not found within {MOST} seeds")

    def again(kept: Collection[int] | None) -> SimulatedRun:
        return play(twin.scenario, seed, twin.options, kept)

    report = investigate(again, run, file=__file__, passed=seed, most=32)
    assert twin.found_as in str(report)
    assert f"IRISMQ_SEED={seed:x} replays it" in str(report)
    assert len(report.faults) < max(len(run.faults), 1) or not twin.faults
    assert len(report.faults) <= 4
