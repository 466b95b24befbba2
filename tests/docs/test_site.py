"""The pages make a web site without a warning, that asks nobody else for anything."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
MODULES = re.findall(
    r"^::: ([a-z_.]+(?<!partition))$",
    "\n".join(page.read_text() for page in sorted(REFERENCE.glob("*.md"))),
    re.MULTILINE,
)
#: Attributes by which a page loads something, and the elements in which they only link.
LOADS = {"src", "href", "srcset", "data"}
LINKS = {"a", "area"}


def test_every_page_is_in_the_nav_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n", 1)[1]
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(re.findall(r"[\w/-]+\.md", nav)) == sorted(pages)


def build(folder: pathlib.Path) -> None:
    """Build the site; no warning, and nothing else, is printed.

    Without its index for the search: a quarter of the time, for a file that loads nothing.
    """
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "SITE_SEARCH": "false"},
    )
    assert (run.returncode, run.stderr) == (0, "")


class Loads(HTMLParser):
    """Collects what a page loads when it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in LINKS or "canonical" in (named.get("rel") or ""):
            return
        self.found += [value for name, value in attrs if name in LOADS and value]


def outside(folder: pathlib.Path) -> Iterator[str]:
    """What the site would fetch from somewhere else."""
    for page in folder.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        yield from (each for each in loads.found if re.match(r"(https?:)?//", each))
    for style in folder.rglob("*.css"):
        yield from re.findall(
            r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)", style.read_text()
        )


def unnamed(folder: pathlib.Path) -> set[str]:
    """Public names that the reference does not have."""
    pages = [page.read_text() for page in (folder / "reference").rglob("*.html")]
    anchors = set(re.findall(r'id="([\w.]+)"', "".join(pages)))
    public = {
        f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__
    }
    if "supervisors.partition.partition" in anchors:  # it has the name of its module
        public.discard("supervisors.partition")
    return public - anchors


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_is_whole_and_asks_nobody_else(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mkdocs", reason="the group docs is not installed")
    build(tmp_path)
    assert list(outside(tmp_path)) == []
    assert unnamed(tmp_path) == set()


def test_what_loads_from_outside_is_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://a"></a><script src="https://b"></script><img src="c.png">'
        '<link rel="canonical" href="https://d"><link rel="stylesheet" href="//e">'
    )
    (tmp_path / "a.css").write_text("@import 'https://f'; x { src: url(g.woff) url(https://h) }")
    assert list(outside(tmp_path)) == ["https://b", "//e", "https://f", "https://h"]
