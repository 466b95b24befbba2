"""What the command line prints, and how it ends.

Results go to standard output, everything else to standard error. An error is one
line that says what to do. JSON is printed plain when the output is not a terminal,
so that it can be piped; a reader that goes away ends the command quietly.

Whatever is printed passes `safe_text` here, and nowhere else: nothing that a terminal
obeys leaves, and no login of a URL but in data that was asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from actors import StartFailed
from actors.errors import ActorError
from actors.texts import line_of, text_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import START_DEV
from irismq_runtime.errors import ConfigError, NotConnected, RemoteError, RuntimeFault
from irismq_runtime.json_text import json_text, to_plain
from irismq_runtime.loop import run
from irismq_runtime.safe_text import safe, visible, visible_json, without_logins
from supervisors import ChildStartFailed, SpecError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

__all__ = [
    "TABLE_WIDTH",
    "err",
    "execute",
    "fail",
    "out",
    "print_json",
    "print_rows",
    "printable",
    "to_plain",
    "verdict",
]

T = TypeVar("T")


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


def fail(text: str, code: int = codes.FAILED) -> NoReturn:
    """Print one line and end with `code`."""
    line = f"irismq: {safe(' '.join(text.split()))}"
    err.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def printable(text: str) -> str:
    """Return `text`, which may be a stranger's, on one line, as it may be shown."""
    return safe(text)


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


def execute(main: Coroutine[Any, Any, T], *, remedy: str = "") -> T:
    """Run `main`; turn what it raises into a line and an exit code; `remedy` as in `verdict`."""
    try:
        return run(main)
    except KeyboardInterrupt:
        raise typer.Exit(codes.FORCED) from None
    except BrokenPipeError:  # the program ends quietly of it, whichever command runs
        raise
    except Exception as error:
        if (found := verdict(error, remedy)) is None:
            raise
        fail(*found)


def verdict(error: Exception, remedy: str = "") -> tuple[str, int] | None:
    """Return the line and the exit code for what a command raised; None for a bug.

    `remedy`: what to do when a server does not answer, instead of what the error says.
    A `NotConnected` without a peer has said it all.
    """
    if isinstance(error, ConfigError | SpecError):
        return text_of(error), codes.USAGE
    if isinstance(error, NotConnected):
        return _not_there(error, remedy), codes.UNREACHABLE
    if isinstance(error, StartFailed | ChildStartFailed):
        return _with_causes(error), codes.FAILED
    if isinstance(error, RemoteError):  # its text holds the whole traceback of the other side
        return (
            f"{error.address}: the handler crashed: {error.type_name}: {error.text}",
            codes.FAILED,
        )
    if isinstance(error, RuntimeFault | ActorError | OSError):
        return line_of(error), codes.FAILED
    return None


def _not_there(error: NotConnected, remedy: str) -> str:
    if not error.peer:
        return error.reason
    advice = remedy or error.remedy or START_DEV
    return f"{error.peer} does not answer: {error.reason}; {advice}"


def _with_causes(error: BaseException) -> str:
    parts = [text_of(error)]
    cause = error.__cause__
    while cause is not None and len(parts) < 4:
        text = line_of(cause)
        if text not in parts[-1]:
            parts.append(text)
        cause = cause.__cause__
    return "; ".join(parts)


def print_json(value: Any, *, data: bool = False) -> None:
    """Print a result; coloured and indented on a terminal, one line elsewhere.

    `data`: it is what somebody sent, and not what is said of it: URLs keep their logins.
    """
    document = json_text(value, indent=2 if out.is_terminal else None)
    document = visible_json(document if data else without_logins(document))
    if out.is_terminal:
        out.print(JSONHighlighter()(Text(document)), soft_wrap=True)
        return
    sys.stdout.write(f"{document}\n")
    sys.stdout.flush()
