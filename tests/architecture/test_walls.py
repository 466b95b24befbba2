"""Who may import whom beyond the layers: private modules stay inside, circles stay small.

Imports under TYPE_CHECKING count too: a reader has to follow them as well.
"""

from __future__ import annotations

import ast
import pathlib
from typing import TYPE_CHECKING

import pytest

from actors._loop_slot import LoopSlot
from actors._thread_slot import ThreadSlot

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("actors", "supervisors", "irismq_runtime")
#: The files of `actors` that cannot be read one without the other: slot, ref, system core.
LARGEST_CIRCLE = 8


def _module(path: pathlib.Path, root: pathlib.Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(text: str) -> Iterator[str]:
    """The dotted names that `text` imports: modules, and what is taken out of them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _is_open_to(importer: str, name: str) -> bool:
    """Whether a module may import `name`: a private part belongs to the folder it is in."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.startswith("_") and not part.startswith("__"):
            owner = ".".join(parts[:place])
            return importer == owner or importer.startswith(f"{owner}.")
    return True


def _trespassers(root: pathlib.Path) -> list[str]:
    return [
        f"{_module(path, root)} imports {name}"
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for name in _imports(path.read_text())
        if name.split(".")[0] in PACKAGES and not _is_open_to(_module(path, root), name)
    ]


def test_no_private_module_of_another_package_is_imported() -> None:
    assert _trespassers(ROOT) == []


@pytest.mark.parametrize(
    ("importer", "name", "is_open"),
    [
        ("supervisors.tree", "actors._slot.Slot", False),
        ("supervisors.tree", "actors.runtime.Slot", True),
        ("supervisors.tree", "supervisors._base.Supervising", True),
        ("irismq_runtime.cli.top.screen", "irismq_runtime.observer._page.row", False),
        ("irismq_runtime.observer.page", "irismq_runtime.observer._page", True),
        ("irismq_runtime.observer.pages.one", "irismq_runtime.observer._page", True),
        ("actors.testing.probe", "actors._slot.Slot", True),
    ],
)
def test_what_is_private_belongs_to_its_folder(importer: str, name: str, is_open: bool) -> None:
    assert _is_open_to(importer, name) is is_open


def test_nobody_outside_reaches_into_the_slot_of_a_ref() -> None:
    reaching = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("supervisors", "irismq_runtime")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "_slot"
    ]
    assert reaching == []


def _graph(folder: pathlib.Path) -> dict[str, set[str]]:
    """Which module below `folder` imports which other one of them."""
    paths = {_module(path, folder.parent): path for path in folder.rglob("*.py")}
    graph = {}
    for name, path in paths.items():
        taken = set(_imports(path.read_text()))
        modules = {one if one in paths else one.rpartition(".")[0] for one in taken}
        graph[name] = (modules & paths.keys()) - {name}
    return graph


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def _circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected parts of more than one module, the largest first."""
    reach = {name: _reach(graph, name) for name in graph}
    parts = {
        frozenset(other for other in reach[name] if name in reach[other]) | {name} for name in graph
    }
    return sorted((set(part) for part in parts if len(part) > 1), key=len, reverse=True)


def test_the_largest_circle_of_files_in_actors_is_small() -> None:
    for circle in _circles(_graph(ROOT / "actors")):
        assert len(circle) <= LARGEST_CIRCLE, sorted(circle)


def test_circles_are_found_whole() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert _circles(graph) == [{"a", "b", "c"}, {"d", "e"}]


@pytest.mark.parametrize("kind", [LoopSlot, ThreadSlot])
def test_a_slot_is_one_class_and_its_kind(kind: type) -> None:
    assert len(kind.__mro__) <= 4, kind.__mro__  # with object
