"""docs/cases.md: each number has its tests, and each number that tests cite is there."""

from __future__ import annotations

import pathlib
import re
import subprocess

from tests.docs.test_operations import rows
from tests.support.walk import walked

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cases.md").read_text()
ROWS = rows(PAGE, "number")
NUMBERS = [int(row[0]) for row in ROWS]
#: "case 33", "cases 7, 8", and a head or a docstring that ends or begins with numbers.
CITED = re.compile(
    r"\b[Cc]ases? (\d+(?:(?:, | and )\d+)*)|\"\"\"(\d+):|\((\d{2,3}(?:, \d{2,3})*)\)\."
)


def _tests() -> dict[str, str]:
    """Every tracked file of the tests, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "tests/*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return {str(p.relative_to(ROOT)): p.read_text() for p in paths if p.exists()}


TESTS = _tests()
NAMES = {name for text in TESTS.values() for name in re.findall(r"def (test_\w+)\(", text)}


@walked("row", ROWS)
def test_a_case_is_held_by_tests_that_exist(row: list[str]) -> None:
    named = re.findall(r"`(\w+)`", row[-1])
    assert named
    assert [name for name in named if name not in NAMES] == []


def test_numbers_go_up_and_none_is_there_twice() -> None:
    assert sorted(set(NUMBERS)) == NUMBERS


def test_every_number_that_a_test_cites_is_on_the_page() -> None:
    known = set(NUMBERS)
    unknown = [
        f"{path}: {match.group(0)}"
        for path, text in TESTS.items()
        if path != "tests/docs/test_cases.py"
        for match in CITED.finditer(text)
        for number in re.findall(r"\d+", match.group(0))
        if int(number) not in known
    ]
    assert unknown == []


def test_a_test_is_named_by_what_it_tests() -> None:
    assert [name for name in NAMES if re.match(r"test_(case_?)?\d", name)] == []
