"""The files of the project, each read, parsed and walked once for all the rules of this folder.

Parsing them takes longer than all that is looked for in them. What is kept is forgotten
when the tests of this folder are through (conftest.py): a million nodes would be
looked through in every search for garbage.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "PACKAGES",
    "PRODUCT",
    "ROOT",
    "TESTS",
    "forget",
    "module_name",
    "nodes",
    "offences",
    "text_of",
    "tree_of",
]

Node = TypeVar("Node", bound=ast.AST)

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("actors", "supervisors", "irismq_runtime")
PRODUCT = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
TESTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").rglob("test_*.py")])


@functools.cache
def text_of(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def tree_of(path: pathlib.Path) -> ast.Module:
    return ast.parse(text_of(path))


@functools.cache
def _by_kind(path: pathlib.Path) -> dict[type[ast.AST], list[ast.AST]]:
    kinds = defaultdict(list)
    for node in ast.walk(tree_of(path)):
        kinds[type(node)].append(node)
    return dict(kinds)


def nodes(path: pathlib.Path, *kinds: type[Node]) -> Iterator[Node]:
    """The nodes of these classes in a file, those of one class in the order of `ast.walk`."""
    for kind in kinds:
        yield from _by_kind(path).get(kind, ())


def forget() -> None:
    """Let go of what was read."""
    for cached in (text_of, tree_of, _by_kind):
        cached.cache_clear()


def module_name(path: pathlib.Path) -> str:
    """The dotted name of a file of ours; a package has that of its folder."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def offences(paths: list[pathlib.Path], rule: Callable[[pathlib.Path], Iterable[object]]) -> str:
    """What a rule finds, a line each with its file; empty when it is kept."""
    return "\n".join(f"{path.relative_to(ROOT)}: {found}" for path in paths for found in rule(path))
