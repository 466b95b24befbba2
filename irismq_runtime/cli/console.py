"""What the command line prints, and how it ends.

Results go to standard output, everything else to standard error. An error is one
line that says what to do. JSON is printed plain when the output is not a terminal,
so that it can be piped; a reader that goes away ends the command quietly.

Whatever is printed passes `safe_text` here or in terminal.py, and nowhere else: nothing
that a terminal obeys leaves, and no login of a URL but in data that was asked for.
A terminal gets colours, by rich, which takes longer to be imported than the standard
library; so it is imported where a terminal, or a table, asks for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, TypeVar

import typer

from actors import StartFailed
from actors.errors import ActorError
from actors.texts import line_of, text_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import START_DEV
from irismq_runtime.errors import (
    ConfigError,
    NotConnected,
    RemoteError,
    RuntimeFault,
    StoreUnavailable,
)
from irismq_runtime.json_text import json_text, to_plain
from irismq_runtime.loop import run
from irismq_runtime.safe_text import safe, visible, visible_json, without_logins
from supervisors import ChildStartFailed, SpecError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = [
    "confirm",
    "execute",
    "fail",
    "is_terminal",
    "print_json",
    "printable",
    "remark",
    "to_plain",
    "verdict",
]

T = TypeVar("T")

#: How many errors of a chain are looked at.
_MOST_CAUSES: Final = 8


def is_terminal(stream: TextIO) -> bool:
    """Whether who reads `stream` is shown colours; as rich decides it (`FORCE_COLOR`)."""
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def remark(text: str, *, style: str = "") -> None:
    """Print one line on standard error; who does not read it any more misses it.

    Args:
        text: The line; what is not printable in it leaves as escapes.
        style: How it is shown on a terminal, in rich's words.
    """
    if is_terminal(sys.stderr):
        from irismq_runtime.cli.terminal import err

        err.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        return
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"{visible(text)}\n")
        sys.stderr.flush()


def fail(text: str, code: int = codes.FAILED) -> NoReturn:
    """Print one line and end with `code`."""
    remark(f"irismq: {safe(' '.join(text.split()))}", style="bold red")
    raise typer.Exit(code)


def confirm(question: str) -> None:
    """Ask before what cannot be taken back, on standard error; all but a yes ends the command."""
    typer.confirm(safe(question), abort=True, err=True)


def printable(text: str) -> str:
    """Return `text`, which may be a stranger's, on one line, as it may be shown."""
    return safe(text)


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
        away = any(map(_is_away, _chain(error)))
        return _with_causes(error), codes.UNREACHABLE if away else codes.FAILED
    if isinstance(error, RemoteError):  # its text holds the whole traceback of the other side
        return (
            f"{error.address}: the handler crashed: {error.type_name}: {error.text}",
            codes.FAILED,
        )
    if isinstance(error, RuntimeFault | ActorError | OSError):
        return line_of(error), codes.UNREACHABLE if _is_away(error) else codes.FAILED
    return None


def _is_away(error: BaseException) -> bool:
    """Whether a server that is needed does not answer, which whoever starts it may wait out."""
    if isinstance(error, StoreUnavailable):
        return error.kind == "away"
    return isinstance(error, NotConnected)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, a few: a user's may go round."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and len(chain) < _MOST_CAUSES:
        chain.append(cause)
    return chain


def _not_there(error: NotConnected, remedy: str) -> str:
    if not error.peer:
        return error.reason
    advice = remedy or error.remedy or START_DEV
    return f"{error.peer} does not answer: {error.reason}; {advice}"


def _with_causes(error: BaseException) -> str:
    parts = [text_of(error)]
    for cause in _chain(error)[1:]:
        text = line_of(cause)
        if text not in parts[-1]:
            parts.append(text)
    return "; ".join(parts[:4])


def print_json(value: Any, *, data: bool = False, in_a_line: bool = False) -> None:
    """Print a result; coloured and indented on a terminal, one line elsewhere.

    `data`: it is what somebody sent, and not what is said of it: URLs keep their logins.
    `in_a_line`: also on a terminal.
    """
    coloured = is_terminal(sys.stdout) and not in_a_line
    document = json_text(value, indent=2 if coloured else None)
    document = visible_json(document if data else without_logins(document))
    if coloured:
        from irismq_runtime.cli.terminal import print_document

        print_document(document)
        return
    sys.stdout.write(f"{document}\n")
    sys.stdout.flush()
