"""The rules of the house that no linter knows: sizes, reasons, words, layers, names."""

from __future__ import annotations

import ast
import importlib
import io
import pathlib
import re
import subprocess
import sys
import tokenize
from typing import TYPE_CHECKING

import pytest

from tests.architecture.sources import PRODUCT, ROOT, TESTS, nodes, offences, text_of, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MODULE_LINES = 400  # of code: see code_lines
MAX_FUNCTION_LINES = 40


def _functions(path: pathlib.Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from nodes(path, ast.FunctionDef)
    yield from nodes(path, ast.AsyncFunctionDef)


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring: prose is free, code is not."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or node.end_lineno is None:
        return 0
    return node.end_lineno - body[0].lineno + 1


_PROSE = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """Lines that hold code: docstrings, comments and blank lines are free here too."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _PROSE) and ast.get_docstring(node) is not None:
            prose = node.body[0]
            lines -= set(range(prose.lineno, (prose.end_lineno or prose.lineno) + 1))
    return len(lines)


def test_the_ruler_counts_code_and_no_prose() -> None:
    text = '"""Prose,\n\nmore."""\n\n# a comment\nX = (\n    1,\n)\n\n\n'
    text += 'def f():\n    """One."""\n    return X  # why\n'
    assert code_lines(text) == 5


def test_a_module_fits_on_a_few_screens() -> None:
    def long(path: pathlib.Path) -> Iterator[str]:
        text = text_of(path)  # one with fewer lines of all kinds need not be taken apart
        if text.count("\n") > MAX_MODULE_LINES < (lines := code_lines(text)):
            yield f"{lines} lines"

    assert offences(PRODUCT, long) == ""


def test_a_function_fits_on_one_screen() -> None:
    def long(path: pathlib.Path) -> Iterator[str]:
        for node in _functions(path):
            if (lines := _body_lines(node)) > MAX_FUNCTION_LINES:
                yield f"{node.name}:{node.lineno} has {lines} lines"

    assert offences(PRODUCT, long) == ""


def test_a_module_opens_with_its_rules() -> None:
    def silent(path: pathlib.Path) -> Iterator[str]:
        if not ast.get_docstring(tree_of(path)):
            yield "no docstring"

    assert offences(PRODUCT, silent) == ""


def test_product_code_has_no_assert_and_no_unfinished_business() -> None:
    def unfinished(path: pathlib.Path) -> Iterator[object]:
        yield from (node.lineno for node in nodes(path, ast.Assert))
        yield from re.findall(r"\b(?:TODO|FIXME|XXX|pickle\.(?:loads?|dumps?))\b", text_of(path))

    assert offences(PRODUCT, unfinished) == ""


def test_every_silenced_check_has_a_reason() -> None:
    def bare(path: pathlib.Path) -> Iterator[str]:
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if re.search(r"# type: ignore(?!\[[^\]]+\]\s+# \S)", line) or re.search(
                r"# noqa(?!: [A-Z0-9, ]+\s+# \S)", line
            ):
                yield f"{number}: {line.strip()}"

    others = [path for path in PRODUCT + TESTS if path != pathlib.Path(__file__)]
    assert offences(others, bare) == ""


_TOOLS = sorted(
    p for room in ("cli", "observer") for p in (ROOT / "irismq_runtime" / room).rglob("*.py")
)


def test_commands_and_pages_use_the_verbs_of_a_node_and_not_its_parts() -> None:
    def inside(path: pathlib.Path) -> Iterator[int]:
        for node in nodes(path, ast.Attribute):
            if node.attr in {"parts", "_parts"}:
                yield node.lineno

    assert offences(_TOOLS, inside) == ""


def test_no_test_sleeps() -> None:
    def sleeps(path: pathlib.Path) -> Iterator[int]:
        for node in nodes(path, ast.Call):
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr == "sleep"
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"asyncio", "time"}
                and not (
                    node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                )
            ):
                yield node.lineno

    # In a simulation a sleep is virtual: one of the machine's is refused.
    real = [path for path in TESTS if "simulation" not in path.parts]
    assert offences(real, sleeps) == ""


def _reads_a_clock(node: ast.AST) -> bool:
    """Whether the real time is read below `node`: `time.monotonic()`, `loop.time()`."""
    clocks = {"time.monotonic", "time.perf_counter", "loop.time"}
    calls = (ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call))
    return any(call in clocks or call.endswith("get_running_loop().time") for call in calls)


def _bounds(asserted: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Each `left < right` in what is asserted."""
    return [
        (left, right)
        for compare in ast.walk(asserted)
        if isinstance(compare, ast.Compare)
        for left, operator, right in zip(
            [compare.left, *compare.comparators], compare.ops, compare.comparators, strict=False
        )
        if isinstance(operator, ast.Lt | ast.LtE)
    ]


def test_no_test_judges_a_stopwatch() -> None:
    """How long something takes says how busy the machine is: see tests/support/promptly.py."""

    def tight(path: pathlib.Path) -> Iterator[int]:
        for node in nodes(path, ast.Assert):
            if any(
                _reads_a_clock(left) and isinstance(right, ast.Constant)
                for left, right in _bounds(node.test)
            ):
                yield node.lineno

    assert offences(TESTS, tight) == ""


def test_imports_point_down() -> None:
    result = subprocess.run(
        [pathlib.Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_the_top_level_is_the_one_that_was_agreed() -> None:
    agreed = {"actors", "supervisors", "irismq_runtime", "examples", "tests", "docs", "benchmarks"}
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {line.split("/")[0] for line in listing if "/" in line}
    assert {f for f in folders if not f.startswith(".")} <= agreed


@pytest.mark.parametrize("name", ["actors", "actors.testing", "supervisors", "irismq_runtime"])
def test_what_a_package_exports_is_what_it_says(name: str) -> None:
    package = importlib.import_module(name)
    exported = list(package.__all__)
    assert exported == sorted(set(exported), key=exported.index), "a name is listed twice"
    assert [n for n in exported if not hasattr(package, n)] == []
    public = {
        n
        for n, value in vars(package).items()
        if not n.startswith("_") and not isinstance(value, type(ast)) and n != "annotations"
    }
    assert public - set(exported) == set()
