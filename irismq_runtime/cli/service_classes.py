"""The classes of actors that a service is made of, found without starting any.

    MODULE          all of its package that are imported by now
    MODULE:CLASS    that one
    MODULE:TREE     those of a supervision tree

A supervisor is made to be asked for its children, as it is when a tree is written as a
value; nothing else is. One that can say its children in a running node alone is an
error that says so, and children that come later (`DynamicSupervisor`) are named beside it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from actors import Actor
from actors.texts import line_of
from irismq_runtime.cli.options import import_modules, load_tree
from irismq_runtime.errors import ConfigError
from supervisors.spec import ChildSpec, Supervises

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["actor_classes", "classes_of"]


def actor_classes() -> Iterator[type]:
    """Every class of actors that is imported by now, `Actor` included."""
    waiting, seen = [Actor], set[type]()
    while waiting:
        kind: type = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += type.__subclasses__(kind)
            yield kind


def classes_of(names: Iterable[str]) -> list[type]:
    """Return the classes that the names mean, each once. Raises `ConfigError`."""
    found: dict[type, None] = {}
    for name in names:
        if ":" in name:
            found |= dict.fromkeys(_of_tree(name))
            continue
        import_modules([name], option="MODULES")
        package = name.partition(".")[0]
        found |= dict.fromkeys(each for each in actor_classes() if _is_in(each, package))
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def _is_in(kind: type, package: str) -> bool:
    """Whether a class is what its module has under its name, in that package."""
    module = sys.modules.get(kind.__module__)
    at = kind.__module__.partition(".")[0] == package
    return at and getattr(module, kind.__name__, None) is kind


def _of_tree(name: str) -> Iterator[type]:
    """The classes of a tree. Raises `ConfigError`."""
    try:
        waiting = [load_tree(name)]
    except ConfigError as error:
        raise ConfigError("MODULES", error.problem, error.remedy) from error
    while waiting:
        each = waiting.pop()
        spec = each if isinstance(each, ChildSpec) else None
        kind = each.actor_class if spec is not None else each
        if not isinstance(kind, type):
            raise ConfigError("MODULES", f"{name} is no tree", "name a supervisor or a class")
        if not issubclass(kind, Supervises):
            yield kind
            continue
        waiting += _children(kind, spec, name)


def _children(kind: Any, spec: ChildSpec | None, name: str) -> tuple[ChildSpec, ...]:
    try:
        made = kind() if spec is None else kind(*spec.args, **spec.kwargs)
        children: tuple[ChildSpec, ...] = made.specs()
    except Exception as error:  # the class is the user's, and may raise anything
        problem = f"the children of {kind.__qualname__} in {name} are not known: {line_of(error)}"
        remedy = "name their classes beside it or instead, as MODULE:CLASS, or their MODULE"
        raise ConfigError("MODULES", problem, remedy) from error
    return children
