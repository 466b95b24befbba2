"""docs/map.md: its ways are walked, and compared with the files that really ran."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.docs.test_operations import rows
from tests.docs.ways import PACKAGES, WAYS, files_on_the_way

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "map.md").read_text()
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


@pytest.mark.parametrize("way", WAYS)
async def test_a_way_leads_through_the_files_of_its_table_in_their_order(way):
    ran = await files_on_the_way(way)
    told = [files_in(cells[0])[0] for cells in rows(section(way), "file")]
    assert len(told) > 8
    assert [name for name in told if name not in ran] == []
    assert told == [name for name in ran if name in told]


@pytest.mark.parametrize("way", WAYS)
async def test_no_other_file_is_on_a_way_than_those_that_its_section_names(way):
    ran = await files_on_the_way(way)
    assert [name for name in ran if name not in files_in(section(way))] == []


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
