"""docs/design.md has the floors that the linter keeps, and the steps that a message takes."""

from __future__ import annotations

import pathlib
import re
import tomllib

from irismq_runtime.observe import STEPS
from tests.docs.test_operations import rows

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text()


def test_the_floors_are_those_of_the_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (floors,) = (c for c in contracts["contracts"] if c["name"] == "The floors of irismq_runtime")
    said = [re.findall(r"`(\w+)`", cells[0]) for cells in rows(PAGE, "floor")]
    assert said == [floor.split(" | ") for floor in floors["layers"]]


def test_the_steps_are_those_of_a_message() -> None:
    assert [cells[0].strip("`") for cells in rows(PAGE, "event")] == list(STEPS)
