"""docs/simulation.md: its blocks run, and the seed that it shows fails as it says."""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING

from irismq_runtime.simulation import SimulationFailed
from tests.docs.running import run_page

if TYPE_CHECKING:
    import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs/simulation.md"
_REPORT = re.compile(
    r'^```text title="pytest"\nSimulationFailed: (.*?)^```$', re.MULTILINE | re.DOTALL
)
#: What another version of the product does otherwise in the same run: which of the faults
#: matter, when things happen, and the ids.
_LINES = (
    r"seed [0-9a-f]+ failed",
    r"IRISMQ_SEED=[0-9a-f]+ replays it; \d+ of \d+ faults? matters?: .+",
    r"IRISMQ_FAULTS=[\d,]+ beside it leaves the others out",
    r"it failed with AssertionError: and once",
    r"",
    r"What happened, in virtual seconds:",
)
_STORY = r" +\d+\.\d{3} s  (.{12}  -- .+|\w.{11}  +node\.\w+: .+)"


def _is_such_a_report(lines: list[str]) -> bool:
    head, told = lines[: len(_LINES)], lines[len(_LINES) :]
    return (
        len(head) == len(_LINES)
        and all(map(re.fullmatch, _LINES, head))
        and len(told) >= 4
        and all(re.fullmatch(_STORY, line) for line in told)
    )


def test_the_page_shows_a_seed_that_fails_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _REPORT.search(PAGE.read_text())
    assert shown is not None
    lines = shown[1].rstrip("\n").split("\n")
    seed = lines[0].split()[1]
    reports: list[str] = []
    init = SimulationFailed.__init__

    def heard(self: SimulationFailed, report: str, **of: object) -> None:
        reports.append(report)
        init(self, report, **of)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(SimulationFailed, "__init__", heard)
    monkeypatch.setenv("IRISMQ_SEED", seed)
    run_page(PAGE)
    assert [report.splitlines()[0] for report in reports] == [f"seed {seed} failed"]
    assert _is_such_a_report(reports[0].splitlines()), reports[0]
    assert _is_such_a_report(lines)


def test_another_report_is_not_taken_for_it() -> None:
    assert not _is_such_a_report(["seed 1 failed", "it failed with AssertionError: and once"])
