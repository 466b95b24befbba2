"""What CONTRIBUTING.md and SECURITY.md name exists."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md")
#: What is named without its folder stands below one of these.
BELOW = ("", "irismq_runtime", "tests")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text) + re.findall(r"\]\(([\w./]+)[#)]", text)
    assert len(named) >= 3
    missing = [name for name in named if not any((ROOT / base / name).exists() for base in BELOW)]
    assert missing == []


def test_every_command_of_make_is_one() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([\w-]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
