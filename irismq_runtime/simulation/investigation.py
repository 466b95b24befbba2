"""What is found out about a run that failed: whether it repeats, what matters, the report.

Given is a way to play the seed again, with all of its faults or with some. First the run is
repeated as it was: when its digest differs, something decided that is not the seed, and
that is said instead of anything that could not be relied on. Then the faults are cut down
to those that matter, and the run with these alone is told.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from actors.texts import line_of
from irismq_runtime.simulation.failures import InvariantBroken, SimulationFailed
from irismq_runtime.simulation.seeds import FAULTS_VARIABLE, SEED_VARIABLE, faults_named
from irismq_runtime.simulation.shrinking import shrink
from irismq_runtime.simulation.story import faults_text, story

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from irismq_runtime.simulation.faults import Fault
    from irismq_runtime.simulation.witness import Happened

__all__ = ["SimulatedRun", "investigate", "kind_of"]

_UNLIKE: Final = (
    "it does not repeat: a second run of the seed took another way. Something decides that is "
    "not the seed: a clock, ids or random numbers that are not the run's, the order of a set, "
    "or state that the process keeps between runs (module variables, caches)"
)


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """What came of one run.

    Attributes:
        seed: Its seed.
        failure: What it failed with; None: it passed.
        digest: The same when everything was the same.
        seconds: How long it took in virtual time.
        steps: How many there were; see `SimulationContext.steps`.
        faults: Those that were carried out, in order.
        trace: What happened, where it is kept.
    """

    seed: int
    failure: BaseException | None
    digest: str
    seconds: float
    steps: int
    faults: tuple[Fault, ...] = ()
    trace: Iterable[Happened] = field(default=(), repr=False)


def kind_of(error: BaseException | None, file: str) -> tuple[object, ...] | None:
    """What makes two failures the same one: the class, what had to hold, the line of the test.

    Args:
        error: A failure; None: there was none.
        file: The file of the test.

    Returns:
        Something to compare; None for no failure.
    """
    if error is None:
        return None
    if isinstance(error, InvariantBroken):
        return (InvariantBroken, error.holds)
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return (type(error), *lines[-1:])


def investigate(
    play: Callable[[Collection[int] | None], SimulatedRun],
    failed: SimulatedRun,
    *,
    file: str,
    passed: int,
    most: int,
) -> SimulationFailed:
    """Find out what matters about a run that failed.

    Args:
        play: Runs the same seed again, with the faults of these numbers alone; None: with all.
        failed: What came of the run.
        file: The file of the test.
        passed: How many seeds had passed before.
        most: How many runs the search for what matters may take.

    Returns:
        The failure to raise, with its report.
    """
    after = f", after {passed:,} that passed" if passed else ""
    lines = [f"seed {failed.seed:x} failed{after}"]
    if play(None).digest != failed.digest:
        lines.append(_UNLIKE)
        return _report(lines, failed, failed.faults)
    kind = kind_of(failed.failure, file)

    def fails(part: Collection[Fault]) -> bool:
        return kind_of(play(_numbers(part)).failure, file) == kind

    shrunk = shrink(failed.faults, fails, most=most)
    matters = faults_text(shrunk.items, len(failed.faults), is_minimal=shrunk.is_minimal)
    lines.append(f"{SEED_VARIABLE}={failed.seed:x} replays it; {matters}")
    if len(shrunk.items) < len(failed.faults):
        only = faults_named(_numbers(shrunk.items))
        lines.append(f"{FAULTS_VARIABLE}={only} beside it leaves the others out")
    return _report(lines, play(_numbers(shrunk.items)), shrunk.items)


def _numbers(faults: Iterable[Fault]) -> tuple[int, ...]:
    return tuple(fault.number for fault in faults)


def _report(lines: list[str], run: SimulatedRun, mattering: Sequence[Fault]) -> SimulationFailed:
    """The report: what was found out, and the story of the run that shows it best."""
    failure = run.failure
    about = failure.about if isinstance(failure, InvariantBroken) else ""
    if failure is not None:
        lines.append(f"it failed with {line_of(failure)}")
    lines += ["", "What happened, in virtual seconds:", *story(run.trace, about=about)]
    return SimulationFailed("\n".join(lines), seed=run.seed, faults=_numbers(mattering))
