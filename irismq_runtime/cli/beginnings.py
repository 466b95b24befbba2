"""Ids that a command is given by their beginning: each has to mean one.

Ids of one process have their first characters in common, so a beginning that names one today
names several tomorrow; what changes or drops by it would do so to all of them. A whole id means
itself, and costs no look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Beginnings"]

#: Characters of a whole id: of an envelope, and of nsqd after its mark.
_WHOLE: Final = 32
_OF_NSQD: Final = ("nsqd-", 21)
#: Ids that are named where there are several.
_NAMED: Final = 5


class Beginnings:
    """What was given, and the ids that begin so, as far as they were seen.

    Args:
        given: The beginnings, or whole ids.
    """

    def __init__(self, given: Iterable[str]) -> None:
        given = tuple(given)
        #: One is empty: every id begins so.
        self.empty = "" in given
        self._found: dict[str, list[str]] = {each: [] for each in given if not _is_whole(each)}

    def __bool__(self) -> bool:
        """Whether there is one that may mean several."""
        return bool(self._found)

    def see(self, id: str) -> None:  # noqa: A002  # the column's name
        """Take notice of an id that there is."""
        for beginning, found in self._found.items():
            if id.startswith(beginning) and len(found) <= _NAMED and id not in found:
                found.append(id)

    def problem(self) -> str:
        """Which one means several, and which; "" where each means one at most."""
        for beginning, found in self._found.items():
            if len(found) > 1:
                more = ", ..." if len(found) > _NAMED else ""
                named = ", ".join(found[:_NAMED])
                return f"more than one id begins with {beginning!r}: {named}{more}; give all of it"
        return ""


def _is_whole(given: str) -> bool:
    mark, size = _OF_NSQD
    return len(given) == (size if given.startswith(mark) else _WHOLE)
