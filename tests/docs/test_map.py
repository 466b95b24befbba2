"""docs/map.md: its ways are walked, and compared with the files that really ran."""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.test_operations import rows
from tests.docs.ways import PACKAGES, WAYS, files_on_the_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "map.md").read_text()
#: How often a way is walked at most, until it is seen as it is told.
WALKS = 5
#: The heading of each way.
HEADINGS = {
    "tell": "A durable tell",
    "ask": "An ask",
    "crash": "A crash",
    "stop": "A stop",
}


def section(way: str) -> str:
    return PAGE.split(f"\n## {HEADINGS[way]}\n", 1)[1].split("\n## ", 1)[0]


def files_in(text: str) -> list[str]:
    return re.findall(r"`((?:actors|supervisors|irismq_runtime)/[\w/]+\.py)`", text)


async def walks(way: str) -> AsyncIterator[list[str]]:
    """The files of the way, walked again and again.

    Once a timer may be due in between, and another time the garbage of other tests goes: what
    is on a way by such a chance is not on each of a few.
    """
    for _ in range(WALKS):
        yield await files_on_the_way(way)


@pytest.mark.parametrize("way", WAYS)
async def test_a_way_leads_through_the_files_of_its_table_in_their_order(way):
    told = [files_in(cells[0])[0] for cells in rows(section(way), "file")]
    assert len(told) > 8
    walked = []
    async for ran in walks(way):
        walked.append([name for name in ran if name in told])
        if walked[-1] == told:
            break
    assert told in walked


@pytest.mark.parametrize("way", WAYS)
async def test_no_other_file_is_on_a_way_than_those_that_its_section_names(way):
    others: set[str] | None = None
    async for ran in walks(way):
        found = set(ran).difference(files_in(section(way)))
        others = found if others is None else others & found
        if not others:
            break
    assert others == set()


def test_every_folder_of_the_product_has_a_line():
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name == "__init__.py" or path.parent.parent == ROOT
    }
    told = [re.findall(r"`([\w/]+)/`", cells[0])[0] for cells in rows(PAGE, "folder")]
    assert sorted(told) == sorted(folders)


def test_every_file_that_is_named_exists():
    assert [name for name in files_in(PAGE) if not (ROOT / name).exists()] == []
