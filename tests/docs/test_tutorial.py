"""The tutorial and the README: what they tell the reader to do goes as they show."""

from __future__ import annotations

import asyncio
import importlib
import pathlib
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.docs.consoles import (
    PATIENCE,
    TITLED,
    Command,
    File,
    Player,
    Signal,
    matches,
    steps_of,
)
from tests.docs.running import fresh_names
from tests.support.walk import walked

if TYPE_CHECKING:
    from irismq_runtime import Node

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorial").glob("*.md"), key=lambda page: page.stem)
ORDER = [ROOT / "docs/tutorial/index.md", *(page for page in PAGES if page.stem != "index")]
FOLDERS = sorted(path.parent for path in (ROOT / "examples").glob("*/__init__.py"))
#: Files of the example that belong to another page: docs/simulation.md.
BEYOND = {"test_simulated.py"}


def code_of(page: pathlib.Path) -> list[tuple[str, str]]:
    """The files of Python that a page shows."""
    shown = TITLED.findall(page.read_text())
    return [(title, content) for language, title, content in shown if language == "python"]


@walked("page", PAGES)
def test_the_code_of_the_tutorial_is_that_of_its_example(page: pathlib.Path) -> None:
    """So it is typed, linted and tested, and can be read where there is no built site."""
    for title, content in code_of(page):
        assert content == (ROOT / "examples" / title).read_text(), f"show examples/{title} as it is"
    assert "```python\n" not in page.read_text()


def test_the_tutorial_shows_each_file_of_its_example_once() -> None:
    shown = [title for page in PAGES for title, _ in code_of(page)]
    shop = (ROOT / "examples" / "shop").glob("*.py")
    assert sorted(shown) == sorted(f"shop/{path.name}" for path in shop if path.name not in BEYOND)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_says_how_to_run_it_and_has_a_test(folder: pathlib.Path) -> None:
    assert (folder / "README.md").exists()
    beside = list(folder.glob("test_*.py"))
    assert beside or (ROOT / "tests" / "examples" / f"test_{folder.name}.py").exists()
    assert f"| `{folder.name}` |" in (ROOT / "docs" / "examples.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_says_what_each_file_is(folder: pathlib.Path) -> None:
    text = (folder / "README.md").read_text()
    files = {path.name for path in folder.iterdir() if path.suffix in {".py", ".go"}}
    assert [name for name in files - {"__init__.py"} if f"`{name}`" not in text] == []


def test_the_example_has_as_many_tests_as_the_tutorial_says() -> None:
    files = (ROOT / "examples" / "shop").glob("test_*.py")
    shown = [path.read_text() for path in files if path.name not in BEYOND]
    tests = sum(text.count("\nasync def test_") for text in shown)
    assert f"$ pytest -q shop\n...\n{tests} passed" in PAGES[-2].read_text()


async def play(folder: pathlib.Path, *pages: pathlib.Path) -> None:
    async with Player(folder) as player:
        for page in pages:
            for step in steps_of(page.read_text()):
                async with asyncio.timeout(2 * PATIENCE):
                    await player.play(step)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_tutorial_goes_as_it_says(tmp_path: pathlib.Path) -> None:
    await play(tmp_path, *ORDER)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_readme_goes_as_it_says(tmp_path: pathlib.Path) -> None:
    await play(tmp_path, ROOT / "README.md")


async def test_the_web_program_of_the_readme_answers(
    embedded_node: Node, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for title, content in code_of(ROOT / "README.md"):
        (tmp_path / title).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    at = embedded_node.endpoints
    monkeypatch.setenv("IRISMQ_NSQD_ADDRESS", at["nsqd"])
    monkeypatch.setenv("IRISMQ_IRIS_ADDRESS", at["iris"])
    with fresh_names():
        greeter, web = importlib.import_module("greeter"), importlib.import_module("web")
        await embedded_node.start(greeter.Tree)
        transport = httpx.ASGITransport(web.app)
        async with (
            web.app.router.lifespan_context(web.app),
            httpx.AsyncClient(transport=transport, base_url="http://web") as client,
        ):
            answer = await client.get("/Ada")
            crashed = await client.get("/nobody")
    for name in ("greeter", "web"):
        monkeypatch.delitem(sys.modules, name)
    assert answer.json() == "Hello, Ada! You are number 1."
    assert (crashed.status_code, crashed.json()["status"]) == (502, 502)


def test_the_steps_of_a_page() -> None:
    page = (
        '```console title="shell 1"\n$ a \\\n  b\none\ntwo\n$ c\n```\n'
        '```json title="x.json"\n{}\n```\n```console title="shell 1"\n^C\n^\\\n```\n'
        '```python title="shop/buyer.py"\nimport shop\n```\n'
    )
    assert list(steps_of(page)) == [
        Command("shell 1", "a b", ("one", "two")),
        Command("shell 1", "c", ()),
        File("x.json", "{}\n"),
        Signal("shell 1", "^C", ()),
        Signal("shell 1", "^\\", ()),
        File("shop/buyer.py", "import shop\n"),
    ]


def test_what_is_printed_is_compared_line_by_line() -> None:
    assert matches(("a ... c", "..."), "a b c\nd\ne\n")
    assert matches(("...", "3 passed in ..."), "..  [100%]\n3 passed in 1 s\n")
    assert not matches(("a",), "a\nb\n")
    assert not matches(("a", "b"), "a\n")
    assert not matches(("1.5",), "105\n")
