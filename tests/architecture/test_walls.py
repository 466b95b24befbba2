"""Who may import whom beyond the layers: private modules stay inside, circles stay small.

Imports under TYPE_CHECKING count too: a reader has to follow them as well.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from actors._loop_slot import LoopSlot
from actors._thread_slot import ThreadSlot
from tests.architecture.sources import PACKAGES, PRODUCT, ROOT, module_name, nodes

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

#: The files of `actors` that cannot be read one without the other: slot, ref, system core, and
#: what the core owns. What stands in an inbox or takes a message knows `SlotView` alone.
LARGEST_CIRCLE = 7


def _imports(path: pathlib.Path) -> Iterator[str]:
    """The dotted names that a file imports: modules, and what is taken out of them."""
    for node in nodes(path, ast.ImportFrom):
        if node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for imports in nodes(path, ast.Import):
        yield from (alias.name for alias in imports.names)


def _is_open_to(importer: str, name: str) -> bool:
    """Whether a module may import `name`: a private part belongs to the folder it is in."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.startswith("_") and not part.startswith("__"):
            owner = ".".join(parts[:place])
            return importer == owner or importer.startswith(f"{owner}.")
    return True


def test_no_private_module_of_another_package_is_imported() -> None:
    trespassers = [
        f"{module_name(path)} imports {name}"
        for path in PRODUCT
        for name in _imports(path)
        if name.split(".")[0] in PACKAGES and not _is_open_to(module_name(path), name)
    ]
    assert trespassers == []


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
        for path in PRODUCT
        if not path.is_relative_to(ROOT / "actors")
        for node in nodes(path, ast.Attribute)
        if node.attr == "_slot"
    ]
    assert reaching == []


def _graph(package: str) -> dict[str, set[str]]:
    """Which module of a package imports which other one of it."""
    paths = {module_name(p): p for p in PRODUCT if p.is_relative_to(ROOT / package)}
    graph = {}
    for name, path in paths.items():
        taken = set(_imports(path))
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
    for circle in _circles(_graph("actors")):
        assert len(circle) <= LARGEST_CIRCLE, sorted(circle)


def test_circles_are_found_whole() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert _circles(graph) == [{"a", "b", "c"}, {"d", "e"}]


@pytest.mark.parametrize("kind", [LoopSlot, ThreadSlot])
def test_a_slot_is_one_class_and_its_kind(kind: type) -> None:
    assert len(kind.__mro__) <= 4, kind.__mro__  # with object
