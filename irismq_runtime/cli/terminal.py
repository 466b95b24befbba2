"""What a terminal is shown: tables, colours, two consoles of rich.

Imported by the commands that print tables, and by console.py where the reader is a
terminal: rich is not quick to import. Whatever is printed here is made visible first, so
nothing that a terminal obeys leaves, whoever put it where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from irismq_runtime.cli.console import printable
from irismq_runtime.safe_text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

__all__ = ["TABLE_WIDTH", "err", "out", "print_document", "print_rows"]


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


def print_document(document: str) -> None:
    """Print JSON that is visible already, in colours."""
    out.print(JSONHighlighter()(Text(document)), soft_wrap=True)
