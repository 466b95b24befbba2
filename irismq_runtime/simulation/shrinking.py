"""From many suspects to the few that matter: delta debugging (Zeller and Hildebrandt's ddmin).

It knows nothing of faults or runs: it is given a list and a question, and asks it of ever
smaller parts of the list. Each answer costs a whole run, so no part is asked about twice,
and the number of questions has a bound.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Shrunk", "shrink"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shrunk(Generic[T]):
    """What is left.

    Attributes:
        items: The part that still fails, in the order of the list.
        is_minimal: Whether it is known that none of them can be left out; otherwise the
            questions were used up.
        asked: How many questions it took.
    """

    items: tuple[T, ...]
    is_minimal: bool
    asked: int


class _UsedUp(Exception):
    """The questions are used up."""


class _Questions(Generic[T]):
    """Asks whether a part fails, each part once, and no more often than it may."""

    def __init__(self, fails: Callable[[Sequence[T]], bool], most: int) -> None:
        self._fails = fails
        self._most = most
        self._known: dict[tuple[int, ...], bool] = {}
        self.count = 0

    def __call__(self, items: Sequence[T], places: tuple[int, ...]) -> bool:
        if places not in self._known:
            if self.count == self._most:
                raise _UsedUp
            self.count += 1
            self._known[places] = self._fails([items[place] for place in places])
        return self._known[places]


def shrink(
    items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, most: int = 100
) -> Shrunk[T]:
    """Find a small part of `items` that fails as all of them do.

    Args:
        items: All suspects; they are known to fail together.
        fails: Whether a part of them, in their order, fails likewise.
        most: How often it is asked at most.

    Returns:
        The smallest part that was found. Where the answers do not contradict each other
        and the questions suffice, no single one of it can be left out.
    """
    asked = _Questions(fails, most)
    left = tuple(range(len(items)))
    is_minimal = True
    try:
        if asked(items, ()):
            left = ()
        parts = 2
        while len(left) > 1:
            smaller = _smaller(left, parts, lambda places: asked(items, places))
            if smaller is not None:
                left, parts = smaller
            elif parts < len(left):
                parts = min(len(left), 2 * parts)
            else:
                break
    except _UsedUp:
        is_minimal = False
    return Shrunk(tuple(items[place] for place in left), is_minimal, asked.count)


def _smaller(
    left: tuple[int, ...], parts: int, fails: Callable[[tuple[int, ...]], bool]
) -> tuple[tuple[int, ...], int] | None:
    """One step of ddmin: a part alone that fails, or all but a part; and how many parts next."""
    bounds = [len(left) * part // parts for part in range(parts + 1)]
    slices = list(itertools.pairwise(bounds))
    for low, high in slices:
        if fails(left[low:high]):
            return left[low:high], 2
    if parts > 2:
        for low, high in slices:
            rest = left[:low] + left[high:]
            if fails(rest):
                return rest, max(parts - 1, 2)
    return None
