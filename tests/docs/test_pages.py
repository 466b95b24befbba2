"""Every python block of the guide and of the other pages runs."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.docs.blocks import Block, Shown, blocks_of, compiled
from tests.docs.running import awaits, run_page, run_page_on_loop, run_plain

ROOT = pathlib.Path(__file__).parents[2]
#: docs/pyiris.md, docs/protocol.md and docs/simulation.md have tests of their own.
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.name not in {"pyiris.md", "protocol.md", "simulation.md"} and blocks_of(page)
]
ON_LOOP = [page for page in PAGES if any(map(awaits, blocks_of(page)))]
PLAIN = [page for page in PAGES if page not in ON_LOOP]


def _cases(pages: list[pathlib.Path]) -> list[object]:
    """One case a page; a page that says `<!-- blocking -->` blocks its loop on purpose."""
    return [
        pytest.param(
            page,
            id=page.stem,
            marks=[pytest.mark.blocking_ok] if "<!-- blocking -->" in page.read_text() else [],
        )
        for page in pages
    ]


@pytest.mark.parametrize("page", _cases(ON_LOOP))
async def test_the_blocks_of_a_page_do_what_it_says(page: pathlib.Path) -> None:
    await run_page_on_loop(page)


@pytest.mark.parametrize("page", _cases(PLAIN))
def test_the_blocks_of_a_page_for_plain_programs_do_what_it_says(page: pathlib.Path) -> None:
    run_page(page)


def test_the_tests_on_the_page_about_testing_pass(tmp_path: pathlib.Path) -> None:
    blocks = [b.text for b in blocks_of(ROOT / "docs/guide/testing.md") if "def test_" in b.text]
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"{sum(b.count('def test_') for b in blocks)} passed" in run.stdout, run.stdout


# The tests of the tests: a promise that is not kept fails.


def _run(text: str) -> None:
    exec(compiled(Block("a page", 1, text)), {"__shown__": Shown})  # noqa: S102  # as above


@pytest.fixture(
    params=[
        "1 + 1  # -> 3",
        "print('a', 'b')  # -> a c",
        "if True:\n    'x'  # -> 'y'",
        "int('1')  # raises ValueError",
        "int('x')  # raises TypeError",
        "x = int('x')  # raises ValueError: another text",
    ]
)
def broken_promise(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_promise_that_is_not_kept_fails(broken_promise: str) -> None:
    with pytest.raises(AssertionError):
        _run(broken_promise)


def test_promises_that_are_kept_pass() -> None:
    _run("1 + 1  # -> 2\nprint('a', 2)  # -> a 2\nx = int('x')  # raises ValueError: invalid")
    _run("class Odd(int, str):\n    x = 1\n# raises TypeError: conflict")


def test_what_a_block_prints_is_the_block_behind_it(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\n2\n```\nNo:\n```text\n"
    )
    first, second = blocks_of(page)
    assert (first.output, second.output) == ("1\n", None)
    run_plain(first, {"__shown__": Shown})
    page.write_text(page.read_text().replace("\n1\n", "\n2\n"))
    with pytest.raises(AssertionError):
        run_plain(blocks_of(page)[0], {"__shown__": Shown})


@pytest.mark.parametrize("text", ["# -> 3", "if True:  # -> 3\n    pass", "x = 1  # -> 1"])
def test_a_promise_that_nobody_reads_is_an_error(text: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        _run(text)
