"""Measures depth and number of elements of a value, level by level, the same both ways.

The walk is iterative and stops at the limits, so a list that contains itself,
or one shared a thousandfold, costs no more than the limits allow. Looking for
the path of what is wrong happens only after something was found to be.
"""

from __future__ import annotations

import reprlib
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from irismq_runtime.errors import DecodeError
from irismq_runtime.wire.entries import HARMLESS_KEYS
from irismq_runtime.wire.values import LEAVES, NotEncodable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from irismq_runtime.wire.limits import WireLimits

__all__ = [
    "CONTAINERS",
    "Expand",
    "Refuse",
    "find_refusal",
    "is_flat",
    "refuse_crafted_untrusted",
    "shape_problem",
    "step",
    "too_many",
]

#: What stands on the wire for an object with fields: a dict of them, or a list;
#: None when the value contains nothing. Raises `NotEncodable` for what must not
#: go on.
Expand: TypeAlias = "Callable[[Any], dict[str, Any] | list[Any] | None]"

#: Why a value cannot be sent, what it contains apart: (path inside of it, reason).
Refuse: TypeAlias = "Callable[[Any], tuple[str, str] | None]"

#: Characters of a path that are told.
_LONGEST: Final = 160

CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})


def shape_problem(root: object, limits: WireLimits, expand: Expand) -> str | None:
    """What is wrong with the shape of `root`, or None.

    Looks at every container once for each place where it stands; a level of
    equal containers is looked at in one go. Raises what `expand` raises.
    """
    if type(root) in LEAVES or (type(root) is dict and _is_shallow(root, limits)):
        return None
    level: list[Any] = [root]
    items = 0
    for _ in range(limits.depth):
        deeper: list[Any] = []
        for kind, nodes in _by_kind(level):
            inside, size = _elements(kind, nodes, expand)
            items += size
            if items > limits.items:
                return too_many(limits)
            for parts in inside:
                deeper += _not_leaves(parts)
        if not deeper:
            return None
        level = deeper
    if any(_is_container(node, expand) for node in level):
        return f"nested deeper than {limits.depth} levels"
    return None


def _is_shallow(root: dict[Any, Any], limits: WireLimits) -> bool:
    """Whether a dict has scalars, and containers of scalars, as messages and states mostly have.

    False says nothing: the walk tells.
    """
    items = 2 * len(root)
    if limits.depth < 2 or items > limits.items or not _scalars(root):
        return False
    for part in root.values():
        kind = type(part)
        if kind in LEAVES:
            continue
        if kind not in CONTAINERS:
            return False
        items += 2 * len(part) if kind is dict else len(part)
        if items > limits.items or not _scalars(part):
            return False
        if kind is dict and not _scalars(part.values()):
            return False
    return True


def _scalars(parts: Iterable[Any]) -> bool:
    return LEAVES.issuperset(map(type, parts))


def _by_kind(level: list[Any]) -> Iterable[tuple[type, list[Any]]]:
    kinds = set(map(type, level))
    if len(kinds) == 1:
        return [(kinds.pop(), level)]
    nodes: dict[type, list[Any]] = {kind: [] for kind in kinds}
    for node in level:
        nodes[type(node)].append(node)
    return nodes.items()


def _elements(
    kind: type, nodes: list[Any], expand: Expand
) -> tuple[list[list[Collection[Any]]], int]:
    """What the nodes of one kind contain, and how many elements that is."""
    if kind is dict:
        return [nodes, list(map(dict.values, nodes))], 2 * sum(map(len, nodes))
    if kind in CONTAINERS:
        return [nodes], sum(map(len, nodes))
    found: list[Collection[Any]] = [
        fields.values() if type(fields) is dict else fields
        for fields in map(expand, nodes)
        if fields is not None
    ]
    return [found], sum(map(len, found))


def too_many(limits: WireLimits) -> str:
    """What is said of a value with more elements than the limits allow."""
    return f"more than {limits.items:,} elements"


def _not_leaves(groups: list[Collection[Any]]) -> list[Any]:
    if LEAVES.issuperset(map(type, chain.from_iterable(groups))):
        return []
    return [part for part in chain.from_iterable(groups) if type(part) not in LEAVES]


def is_flat(value: Any, limits: WireLimits, *, named: bool = False) -> bool:
    """True for a dict of few enough scalars: the shape that most messages have.

    `named`: the keys are known to be the names of fields.
    """
    return (
        type(value) is dict
        and len(value) * 2 <= limits.items
        and LEAVES.issuperset(map(type, value.values()))
        and (named or LEAVES.issuperset(map(type, value)))
    )


def refuse_crafted_untrusted(keys: Collection[Any]) -> None:
    """Refuse keys made to have one hash: a dict of them takes quadratic time.

    Raises `DecodeError`. A few of them do no harm.
    """
    if len(keys) > HARMLESS_KEYS and len(set(map(hash, keys))) * 2 < len(keys):
        raise DecodeError("keys made to have the same hash")


def find_refusal(
    root: object, limits: WireLimits, refuse: Refuse, expand: Expand
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
    kind = type(node)
    return kind in CONTAINERS or (kind not in LEAVES and expand(node) is not None)


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
