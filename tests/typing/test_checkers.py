"""What mypy and pyright find in a user's code: every mistake, and nothing in right code.

`wrong.py` has a mistake on each line that says so, `right.py` has none, nor have the
examples, the files of the README and what `irismq new` writes. Pyright is run as
basedpyright, the same engine: its wheel has all that it needs, node included, where the
`pyright` on PyPI fetches itself from a second registry at its first run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actors import Request
from irismq_runtime.cli.new import render
from tests.typing import right

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
SERVICE = "typed-service"
#: What a checker that is to find a forgotten `await` of an `ask` has to be told; the docs say so.
UNUSED = ("--enable-error-code", "unused-awaitable")

_WRONG = re.compile(r"  # wrong( \(mypy\))?: ")
_MYPY = re.compile(r"^(.+?):(\d+)(?::\d+)?: error: (.*)$", re.MULTILINE)
_FILE = re.compile(r'^```python title="(\w+\.py)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """An error that a checker shows."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True)
class Written:
    """Folders with code for a user: what `irismq new` writes, and the files of the README."""

    service: Path
    readme: Path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    service = tmp_path_factory.mktemp("service", numbered=False)
    for place, text in render(SERVICE).items():
        path = service / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    readme = tmp_path_factory.mktemp("readme", numbered=False)
    files = _FILE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [name for name, _ in files] == ["greeter.py", "client.py", "web.py"]
    for name, text in files:
        (readme / name).write_text(text, encoding="utf-8")
    return Written(service, readme)


def _mypy(written: Written) -> list[Finding]:
    """Strict, as our settings say; those of the scaffold are seen by tests/cli/test_new.py.

    All in one run, which looks through our packages once.
    """
    written_files = [*written.service.rglob("*.py"), *written.readme.glob("*.py")]
    paths = [HERE / "right.py", HERE / "wrong.py", *EXAMPLES, *written_files]
    roots = map(str, (written.service, written.readme, ROOT))
    command = [sys.executable, "-m", "mypy", "--strict", *UNUSED, "--no-error-summary"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "users")]
    done = subprocess.run(
        [*command, "--explicit-package-bases", *map(str, paths)],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": os.pathsep.join(roots)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    errors = _MYPY.findall(done.stdout)
    assert bool(errors) == bool(done.returncode), done.stdout + done.stderr
    return [Finding((ROOT / path).resolve(), int(line), text) for path, line, text in errors]


def _pyright(written: Written) -> list[Finding]:
    """In its standard mode; all folders in one run."""
    settings = {
        "include": [str(HERE), *map(str, EXAMPLES), str(written.service), str(written.readme)],
        "exclude": [str(Path(__file__))],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "extraPaths": [str(ROOT)],
        "executionEnvironments": [
            {"root": str(root), "extraPaths": [str(ROOT)]}
            for root in (written.service, written.readme, ROOT)
        ],
    }
    project = written.service.parent / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(project)]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(EXAMPLES) + 2
    return [
        Finding(Path(each["file"]), each["range"]["start"]["line"] + 1, each["message"])
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    ]


def _mistakes(*, mypy: bool) -> dict[int, str]:
    """Line and text of every line of `wrong.py` on which something has to be found."""
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    marks = {number: (line, _WRONG.search(line)) for number, line in enumerate(lines, 1)}
    return {
        number: line.strip()
        for number, (line, mark) in marks.items()
        if mark is not None and (mypy or mark[1] is None)
    }


@pytest.mark.slow
@pytest.mark.parametrize("checker", [_mypy, _pyright])
def test_every_mistake_is_found_and_nothing_in_right_code(
    checker: Callable[[Written], list[Finding]], written: Written
) -> None:
    """Right code: `right.py`, the examples, the README, and what `irismq new` writes."""
    wanted = _mistakes(mypy=checker is _mypy)
    found = checker(written)
    lines = {each.line for each in found if each.path == HERE / "wrong.py"}
    assert [text for line, text in wanted.items() if line not in lines] == []
    assert sorted(lines - set(wanted)) == []
    assert [each for each in found if each.path != HERE / "wrong.py"] == []


async def test_right_code_runs() -> None:
    greeter = right.Greeter.start("Hello")
    assert await greeter.ask(right.Greet("Ada")) == "Hello, Ada"
    assert await greeter.ask(right.Count(1)) == 2
    assert await greeter.proxy(right.Greeter).greeted("Ada")
    assert await right.Polite.start("Hello").ask(right.Greet("Ada")) == "Hello, Ada"
    assert await right.Blocking.start().ask(right.Greet("Ada")) == "Ada"
    assert isinstance(right.Greet("Ada"), Request)
    assert right.Greeter.start("x").actor_class is right.Greeter


def test_mistakes_of_each_kind_are_among_them() -> None:
    for mypy in (True, False):
        said = {_WRONG.split(text)[-1] for text in _mistakes(mypy=mypy).values()}
        assert said >= {
            "no handler takes it",
            "the answer is a text",
            "no await",
            "a class, not an instance",
            "an argument is missing",
            "a text",
            "there is no such method",
        }
