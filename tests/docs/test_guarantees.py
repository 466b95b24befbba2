"""docs/guarantees.md names tests that exist, one at least for each promise."""

from __future__ import annotations

import functools
import pathlib
import re

from tests.docs.test_operations import rows
from tests.support.walk import walked

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = rows(PAGE, "promise") + [
    [what, held_by] for what, _, held_by in rows(PAGE, "what happens")
]
VERBS = rows(PAGE, "verb")
#: Marks of tests that do not run everywhere.
SOMEWHERE = re.compile(r"^@pytest\.mark\.(soak|real_\w+|skip\w*|xfail)", re.MULTILINE)


@functools.cache
def marks_in(file: str) -> dict[str, set[str]]:
    """The tests of a file, and the marks by which they run in some places only."""
    text = (ROOT / "tests" / file).read_text()
    found: dict[str, set[str]] = {}
    for part in text.split("\n\n\n"):
        marks = set(
            re.findall(r"^@pytest\.mark\.(soak|real_\w+|skip\w*|xfail)", part, re.MULTILINE)
        )
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", part, re.MULTILINE):
            found[name] = marks
    return found


@walked(("promise", "tests"), PROMISES)
def test_a_promise_is_held_by_tests_that_exist(promise: str, tests: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
    assert tests.count("`") == 2 * len(named)
    assert [name for file, name in named if name not in marks_in(file)] == []
    assert any(not marks_in(file)[name] for file, name in named)


def test_every_error_of_a_verb_is_in_the_section_of_the_verb() -> None:
    for verb, _, errors in VERBS:
        anchor = re.search(r"\(#([\w-]+)\)", verb)
        assert anchor is not None, verb
        heading = next(
            heading
            for heading in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
            if heading.lower().replace(" ", "-") == anchor.group(1)
        )
        section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        for error in re.findall(r"`(\w+)`", errors):
            assert f"`{error}`" in section or error in {"ask", "tell", "tell_all", "AskTimeout"}


def test_the_readme_promises_what_the_page_promises() -> None:
    def plain(row: list[str]) -> list[str]:
        return [re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", cell) for cell in row]

    readme = rows((ROOT / "README.md").read_text(), "verb")
    assert readme
    for row in readme:
        assert row in list(map(plain, VERBS))
