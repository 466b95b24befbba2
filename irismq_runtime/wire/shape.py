"""Depth and number of elements, measured level by level, the same both ways.

The walk is iterative and stops at the limits, so a list that contains itself,
or one shared a thousandfold, costs no more than the limits allow. Looking for
the path of what is wrong happens only after something was found to be.
"""

from __future__ import annotations

import reprlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from irismq_runtime.wire.values import LEAVES, NotEncodable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from irismq_runtime.wire.limits import Limits

__all__ = ["CONTAINERS", "Expand", "Refuse", "find_refusal", "shape_problem", "too_many"]

#: What stands on the wire for an object with fields: a dict of them, or a list;
#: None when the value contains nothing. Raises `NotEncodable` for what must not
#: go on.
Expand: TypeAlias = "Callable[[Any], dict[str, Any] | list[Any] | None]"

#: Why a value cannot be sent, what it contains apart: (path inside of it, reason).
Refuse: TypeAlias = "Callable[[Any], tuple[str, str] | None]"

#: Characters of a path that are told.
_LONGEST: Final = 160

CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})


def shape_problem(root: object, limits: Limits, expand: Expand) -> str | None:
    """What is wrong with the shape of `root`, or None.

    Looks at every container once for each place where it stands. Raises what
    `expand` raises.
    """
    if type(root) in LEAVES:
        return None
    level: list[Any] = [root]
    items = 0
    for _ in range(limits.depth):
        deeper: list[Any] = []
        for node in level:
            parts = _parts(node, expand) or ()
            items += len(parts)
            if type(node) is dict:
                items += len(parts)
                deeper += _not_leaves(node)
            if items > limits.items:
                return too_many(limits)
            deeper += _not_leaves(parts)
        if not deeper:
            return None
        level = deeper
    if any(_parts(node, expand) is not None for node in level):
        return f"nested deeper than {limits.depth} levels"
    return None


def too_many(limits: Limits) -> str:
    """What is said of a value with more elements than the limits allow."""
    return f"more than {limits.items:,} elements"


def _not_leaves(parts: Collection[Any]) -> list[Any]:
    if LEAVES.issuperset(map(type, parts)):
        return []
    return [part for part in parts if type(part) not in LEAVES]


def _parts(node: Any, expand: Expand) -> Collection[Any] | None:
    kind = type(node)
    if kind is dict:
        values: Collection[Any] = node.values()
        return values
    if kind in CONTAINERS:
        elements: Collection[Any] = node
        return elements
    inside = expand(node)
    return inside.values() if type(inside) is dict else inside


def find_refusal(
    root: object, limits: Limits, refuse: Refuse, expand: Expand
) -> tuple[str, str] | None:
    """The first part that `refuse` has a reason against: (path, reason).

    Breadth first, so the path is a short one; also finds what is too deep.
    Gives up with None after as many elements as the limits allow.
    """
    level: list[tuple[str, Any]] = [("$", root)]
    items = 0
    for depth in range(limits.depth + 1):
        deeper: list[tuple[str, Any]] = []
        for path, node in level:
            refusal = refuse(node)
            if refusal is not None:
                return _short(path + refusal[0]), refusal[1]
            if depth == limits.depth and _is_container(node, expand):
                return _short(path), f"nested deeper than {limits.depth} levels"
            for part in _named_parts(path, node, expand):
                deeper.append(part)
                items += 1
                if items > 2 * limits.items:
                    return None
        level = deeper
    return None


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST else f"{path[: _LONGEST // 2]}...{path[-40:]}"


def _is_container(node: Any, expand: Expand) -> bool:
    return type(node) not in LEAVES and _parts(node, expand) is not None


def _named_parts(path: str, node: Any, expand: Expand) -> Iterator[tuple[str, Any]]:
    kind = type(node)
    if kind is dict:
        for key, value in node.items():
            yield f"{path} key {reprlib.repr(key)}", key
            yield path + step(key), value
    elif kind in (list, tuple):
        yield from ((f"{path}[{index}]", part) for index, part in enumerate(node))
    elif kind in (set, frozenset):
        yield from ((f"{path}{{{reprlib.repr(part)}}}", part) for part in node)
    elif kind not in LEAVES:
        with suppress(NotEncodable):  # `refuse` has the reason
            yield from _named_parts(path, expand(node), expand)


def step(key: object) -> str:
    """How a path goes through `key` of a dict: `.name`, or `[key]`."""
    if type(key) is str and key.isidentifier():
        return f".{key}"
    return f"[{reprlib.repr(key)}]"
