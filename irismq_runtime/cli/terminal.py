"""What a terminal is shown: tables, colours, two consoles of rich.

Imported by the commands that print tables, and by console.py where the reader is a
terminal: rich is not quick to import. Whatever is printed here is made visible first, so
nothing that a terminal obeys leaves, whoever put it where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from irismq_runtime.cli.console import print_json, printable, remark
from irismq_runtime.safe_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

__all__ = [
    "TABLE_WIDTH",
    "err",
    "out",
    "print_as_json",
    "print_document",
    "print_listing",
    "print_rows",
]


class _VisibleConsole(Console):
    """Renders what is not printable as escapes, whoever put it where: rich's own codes stay."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Rich's, with each text made visible; all that is printed comes by here."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


class _ResultConsole(_VisibleConsole):
    """Raises `BrokenPipeError` when its reader is gone, and so ends the command."""

    def on_broken_pipe(self) -> None:
        """Rich's own way is to end the process with code 1."""
        raise  # noqa: PLE0704  # called where it is handled


class _MessageConsole(_VisibleConsole):
    """Falls silent when its reader is gone: a node goes on without one."""

    def on_broken_pipe(self) -> None:
        """Rich's own way is to end the process with code 1."""
        self.quiet = True


#: For results.
out = _ResultConsole(emoji=False)  # a channel `a:mailbox` is not a picture
#: Columns of a terminal on which a table is a table, if need be with shortened cells.
TABLE_WIDTH: Final = 80
#: Columns of a table that nothing would be cut from.
_WIDEST: Final = 10_000
#: For everything else.
err = _MessageConsole(stderr=True, emoji=False)


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of texts; on a narrow terminal that it does not fit, blocks of lines."""
    shown = [[Text(printable(cell)) for cell in row] for row in rows]
    table = Table(*columns)
    for row in shown:
        table.add_row(*row)
    wide = out.options.update(max_width=_WIDEST)
    if out.width >= TABLE_WIDTH or Measurement.get(out, wide, table).minimum <= out.width:
        out.print(table)
        return
    for row in shown:
        for column, cell in zip(columns, row, strict=True):
            out.print(Text(f"{column}: ").append_text(cell))
        out.print()


def print_as_json(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, ndjson: bool, data: bool = False
) -> bool:
    """Print rows as JSON where that is wanted or no terminal reads; return whether it did.

    Args:
        rows: What was found.
        as_json: It is wanted, as one array.
        ndjson: It is wanted, a row a line.
        data: As of `print_json`.
    """
    if ndjson:
        for row in rows:
            print_json(row, data=data, in_a_line=True)
    elif as_json or not out.is_terminal:
        print_json(rows, data=data)
    else:
        return False
    return True


def print_listing(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | Sequence[str],
    *,
    as_json: bool,
    ndjson: bool = False,
    data: bool = False,
    cell: Callable[[Any], str] = str,
    nothing: str = "",
) -> None:
    """Print what a command has found: JSON where that is wanted or no terminal reads, or a table.

    Args:
        rows: What was found.
        columns: What stands above each column, and of what its cells are, where that differs.
        as_json: As of `print_as_json`, as `ndjson` and `data`.
        ndjson: A row a line.
        data: What somebody sent.
        cell: The text of a value.
        nothing: What is remarked where there is no row.
    """
    if print_as_json(rows, as_json=as_json, ndjson=ndjson, data=data):
        return
    if rows:
        names = columns.values() if isinstance(columns, Mapping) else columns
        print_rows(tuple(columns), ([cell(row[name]) for name in names] for row in rows))
    elif nothing:
        remark(nothing)


def print_document(document: str) -> None:
    """Print JSON that is visible already, in colours."""
    out.print(JSONHighlighter()(Text(document)), soft_wrap=True)
