"""Rows as lines of a given width: which columns fit, how wide they are, what is cut. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from irismq_runtime.cli.top.rows import TREE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.cli.top.rows import Page

__all__ = ["Column", "layout", "line"]


class Column(NamedTuple):
    """A column that is shown: which, how wide with its margin, and whether it is a number."""

    at: int
    width: int
    is_number: bool


#: Numbers beside the name, with their margins: the column, its width, and whether a
#: screen of 80 columns has it as well.
_TREE_NUMBERS: Final = ((2, 10, True), (3, 8, True), (4, 7, True))
_SERVICE_NUMBERS: Final = (
    (1, 9, True),
    (2, 9, True),
    (3, 9, False),
    (4, 7, True),
    (5, 8, False),
    (6, 8, True),
    (7, 9, True),
    (8, 8, False),
    (9, 8, True),
)
_STATE: Final = 11
_NARROW: Final = 110
_LEAST: Final = 16


def layout(page: Page, width: int) -> list[Column]:
    """The columns for a screen of `width`; a narrow one has fewer."""
    numbers = _TREE_NUMBERS if page == "trees" else _SERVICE_NUMBERS
    shown = [Column(i, w, True) for i, w, narrow in numbers if narrow or width >= _NARROW]
    rest = width - sum(column.width for column in shown)
    if page == "services":
        return [Column(0, max(_LEAST, rest), False), *shown]
    rest -= _STATE
    name = max(_LEAST, rest * 7 // 10 if rest < 90 else 60)
    last = Column(len(TREE_COLUMNS) - 1, max(0, rest - name), False)
    return [Column(0, name, False), Column(1, _STATE, False), *shown, last]


def line(cells: Sequence[str], columns: Sequence[Column]) -> str:
    """The cells in their columns; what does not fit ends in an ellipsis."""
    return "".join(_fitted(cells[column.at], column) for column in columns).rstrip()


def _fitted(text: str, column: Column) -> str:
    room = column.width - 1
    if room <= 0:
        return ""
    shown = text if len(text) <= room else f"{text[: room - 1]}…"
    return f" {shown:>{room}}" if column.is_number else f" {shown:<{room}}"
