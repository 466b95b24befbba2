"""The children of one supervisor: ordered records, in a map that never changes.

`put` and `remove` return a new `Children` and share what did not change (a hash
trie of small dicts), so that a supervisor with 100,000 children pays the same for
one event as one with a hundred, and any thread may read the value it holds.
A child's place in the order is its `seat`, given once.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Exit
    from supervisors.spec import ChildSpec

__all__ = ["ALIVE", "Cause", "Child", "Children", "Fate", "Phase"]


class Phase(StrEnum):
    """Where a child is in its life."""

    QUEUED = "queued"  # waits for its turn in a sequence of starts
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DEAD = "dead"  # ended on its own; what follows is decided after the current sequence
    RESTARTING = "restarting"  # its next try is due
    DOWN = "down"  # listed without an actor: ended, terminated by hand, or "ignore"


#: The phases in which there is an actor, or one is being made or ended.
ALIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})


class Cause(StrEnum):
    """Why a start is made: it decides what its failure means."""

    BOOT = "boot"  # failure fails the supervisor
    ADD = "add"  # failure is the asker's answer, and the child is not listed
    REQUEST = "request"  # failure is the asker's answer
    RESTART = "restart"  # failure counts as one more restart


class Fate(StrEnum):
    """What becomes of a child that is being stopped."""

    QUEUE = "queue"  # started again in its turn
    SETTLE = "settle"  # no actor follows: listed without one, or forgotten


class Child(NamedTuple):
    """One child as the decisions see it. Times are monotonic seconds.

    `generation` grows with each start: news of an older one is stale. `began` is
    when the current restart began, `failures` counts failures in a row for the
    backoff. `starters` and `stoppers` are tokens of requests to be answered.
    """

    spec: ChildSpec
    seat: int
    phase: Phase = Phase.QUEUED
    generation: int = 0
    cause: Cause = Cause.BOOT
    fate: Fate = Fate.SETTLE
    restarts: int = 0
    failures: int = 0
    began: float | None = None
    since: float | None = None
    last_exit: Exit | None = None
    starters: tuple[int, ...] = ()
    stoppers: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def alive(self) -> bool:
        return self.phase in ALIVE


# A leaf is a dict of at most _LEAF children, a branch 32 nodes by five bits of the hash.
_Node: TypeAlias = "dict[str, Child] | tuple[_Node, ...]"
_LEAF = 32
#: Children beyond which `some` does not choose.
_MANY = 2000
_BITS = 5
_MASK = (1 << _BITS) - 1
_DEEPEST = 60  # beyond it the hash has no bits left: equal hashes share one leaf


class Children:
    """An immutable map from name to `Child`, ordered by seat."""

    __slots__ = ("_root", "_tally", "next_seat")

    def __init__(
        self,
        root: _Node | None = None,
        tally: dict[Phase, int] | None = None,
        next_seat: int = 0,
    ) -> None:
        self._root: _Node = {} if root is None else root
        self._tally: dict[Phase, int] = {} if tally is None else tally
        #: The seat of the next child to be added.
        self.next_seat = next_seat

    def get(self, name: str) -> Child | None:
        """The child of that name, or None."""
        node, bits = self._root, hash(name)
        while isinstance(node, tuple):
            node, bits = node[bits & _MASK], bits >> _BITS
        return node.get(name)

    def put(self, child: Child) -> Children:
        """With `child` in the place of the one of its name, or added."""
        old = self.get(child.name)
        tally = self._tally
        if old is None or old.phase is not child.phase:
            tally = dict(tally)
            tally[child.phase] = tally.get(child.phase, 0) + 1
            if old is not None:
                tally[old.phase] -= 1
        root = _put(self._root, 0, hash(child.name), child)
        return Children(root, tally, max(self.next_seat, child.seat + 1))

    def remove(self, name: str) -> Children:
        """Without the child of that name."""
        old = self.get(name)
        if old is None:
            return self
        tally = {**self._tally, old.phase: self._tally[old.phase] - 1}
        return Children(_remove(self._root, hash(name), name), tally, self.next_seat)

    def ordered(self) -> list[Child]:
        """All children in the order of their start."""
        return sorted(_walk(self._root), key=attrgetter("seat"))

    def some(self, most: int) -> list[Child]:
        """At most `most` children, for somebody who looks at them.

        Those that have been in trouble go first, in the order of their start. Of a
        great many (over `_MANY`) any are taken: to look must not cost what they cost.
        """
        if len(self) <= most:
            return self.ordered()
        if len(self) > _MANY:
            return list(islice(_walk(self._root), most))
        by_trouble = sorted(
            _walk(self._root),
            key=lambda one: (one.phase is Phase.RUNNING and not one.restarts, one.seat),
        )
        return sorted(by_trouble[:most], key=attrgetter("seat"))

    def count(self, *phases: Phase) -> int:
        """How many are in these phases. Constant time."""
        return sum(self._tally.get(phase, 0) for phase in phases)

    def __len__(self) -> int:
        return sum(self._tally.values())

    def __iter__(self) -> Iterator[Child]:
        return iter(self.ordered())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Children) and self.ordered() == other.ordered()

    __hash__ = None  # type: ignore[assignment]  # compared by value, never used as a key

    def __repr__(self) -> str:
        return f"Children({', '.join(f'{child.name}: {child.phase}' for child in self)})"


def _put(node: _Node, depth: int, bits: int, child: Child) -> _Node:
    if isinstance(node, tuple):
        place = bits & _MASK
        below = _put(node[place], depth + _BITS, bits >> _BITS, child)
        return (*node[:place], below, *node[place + 1 :])
    leaf = {**node, child.name: child}
    if len(leaf) <= _LEAF or depth >= _DEEPEST:
        return leaf
    split: list[dict[str, Child]] = [{} for _ in range(_MASK + 1)]
    for name, one in leaf.items():
        split[(hash(name) >> depth) & _MASK][name] = one
    return tuple(split)


def _remove(node: _Node, bits: int, name: str) -> _Node:
    if isinstance(node, tuple):
        place = bits & _MASK
        return (*node[:place], _remove(node[place], bits >> _BITS, name), *node[place + 1 :])
    return {key: one for key, one in node.items() if key != name}


def _walk(node: _Node) -> Iterator[Child]:
    if isinstance(node, dict):
        yield from node.values()
        return
    for below in node:
        yield from _walk(below)
