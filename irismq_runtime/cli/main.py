"""The command line: `irismq COMMAND`. One module a command; this table joins them.

Commands are imported when they are called, so that `irismq --help` is quick: no
module of a command is imported here. Exit codes are in the table of
irismq_runtime.cli.codes.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
from typing import Annotated, Any, Final, NoReturn

import typer

from irismq_runtime.cli.deferred import DeferredGroup
from irismq_runtime.cli.streams import (
    forget_stdout,
    is_of_the_output,
    prepare_streams,
    settle_stderr,
)
from irismq_runtime.version import __version__

__all__ = ["OWN_PROCESS", "app", "main"]

_CLI = "irismq_runtime.cli"
#: The context object (`typer.Context.obj`) of a command that has the process for itself, and
#: may end it from below. A program that calls `app` gives none.
OWN_PROCESS: Final = object()
#: codes.FAILED and codes.BUG, which import the runtime.
_FAILED: Final = 1
_BUG: Final = 5
#: What a machine refuses, and a person has to see to: rights, room, a folder that is gone.
_OF_THE_MACHINE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT}
    | {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO}
    | {errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE}
)


class Commands(DeferredGroup):
    """Every command: where it stands, and its line, which is that of its docstring."""

    table = {  # noqa: RUF012  # a ClassVar of the base class
        "dev": (f"{_CLI}.dev:dev", "Run a broker and a relay on loopback, for development."),
        "relay": (
            f"{_CLI}.relay:relay",
            "Run an Iris relay on loopback, over NATS or alone, until a signal.",
        ),
        "run": (
            f"{_CLI}.runner:run_tree",
            "Run a supervision tree as a node; SIGTERM drains it and ends with code 0.",
        ),
        "ask": (f"{_CLI}.messages:ask", "Ask one member (or all) and print the answer as JSON."),
        "tell": (
            f"{_CLI}.messages:tell",
            "Store a message in the mailbox of an address; done when the broker has it.",
        ),
        "tell-all": (
            f"{_CLI}.messages:tell_all",
            "Send a message to every live member of an address, best effort.",
        ),
        "bench": (
            f"{_CLI}.bench:bench",
            "Send many messages to an address; print the rate and the times they took.",
        ),
        "tree": (
            f"{_CLI}.tree:tree",
            "Show who runs where, in which state, and how often it was restarted.",
        ),
        "top": (
            f"{_CLI}.top.command:top",
            "Show all nodes, their trees, services and what is wrong, in the terminal.",
        ),
        "observe": (
            f"{_CLI}.observe:observe",
            "Serve a page that shows all nodes, their trees, services and dead letters.",
        ),
        "dead": (
            f"{_CLI}.dead:app",
            "Look at, replay, change or drop the dead letters of an address.",
        ),
        "store": (
            f"{_CLI}.store:app",
            "Look at a store of durable state, or accept that it may have gone back in time.",
        ),
        "outbox": (
            f"{_CLI}.outbox:app",
            "Look at, move or drop what durable actors told and nobody has taken.",
        ),
        "entity": (
            f"{_CLI}.entity:app",
            "Look at the entities of an address, who owns them; move or end them.",
        ),
        "schedule": (
            f"{_CLI}.schedule:app",
            "Look at messages that come at the times of a calendar; pause, run or end one.",
        ),
        "schema": (
            f"{_CLI}.schema:app",
            "Keep the types of messages and states readable by what runs and what is stored.",
        ),
        "mailbox": (
            f"{_CLI}.mailbox:mailbox",
            "Show depth, in flight, deferred and consumers of a mailbox, from nsqd.",
        ),
        "topic": (
            f"{_CLI}.topic:topic",
            "Create, pause, unpause, empty or delete a topic, or a channel of it, at each broker.",
        ),
        "new": (
            f"{_CLI}.new:new",
            "Write a small service with its tests into a new folder.",
        ),
        "tail": (
            f"{_CLI}.tail:tail",
            "Print stored messages as they come, a line each; nothing is taken from the mailbox.",
        ),
        "check": (
            f"{_CLI}.check:check",
            "See what answers at each address; code 3 when something else does, or nothing.",
        ),
        "doctor": (
            f"{_CLI}.doctor.command:doctor",
            "Look at the servers and this machine; say what is wrong and what to do, a line each.",
        ),
        "demo": (
            f"{_CLI}.demo:demo",
            "Feed a day of flights to two nodes, crash handlers, kill a node, compare the sums.",
        ),
    }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options; why completion cannot be installed is said in a line.

        A user without a home folder is a RuntimeError, and a start file of a shell that is
        not in UTF-8 a UnicodeError: both are the machine's.
        """
        installs = "--install-completion" in args  # the list is emptied
        try:
            return super().parse_args(ctx, args)
        except (typer.Exit, typer.Abort):  # which are RuntimeErrors, too
            raise
        except (RuntimeError, UnicodeError) as error:
            if not installs:
                raise
            from irismq_runtime.safe_text import safe

            sys.stderr.write(safe(f"irismq: completion cannot be installed: {error}") + "\n")
            raise typer.Exit(_FAILED) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a reader of its output that goes away ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            forget_stdout()
            raise typer.Exit(0) from None


app = typer.Typer(
    name="irismq",
    cls=Commands,
    rich_markup_mode=None,
    help="Supervised actors; their mailboxes are NSQ channels, their addresses Iris clusters.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"irismq {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    # Where the process logs already, it has its own handlers, and keeps them.
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


class _Lines(logging.Formatter):
    """A record as one line, and indented ones below it for what has several."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, without the last end: see `safe_text`."""
        from irismq_runtime.safe_text import safe_lines

        return safe_lines(super().format(record))


def main() -> None:
    """The entry point of the `irismq` program."""
    prepare_streams()
    if os.getpid() == 1:
        # Of a container: what PID 1 has no handler for does nothing at all.
        signal.signal(signal.SIGTERM, _end)
    try:
        _run()
    except Exception as error:  # what a command did not expect is ours to mend
        from irismq_runtime.cli.console import verdict
        from irismq_runtime.errors import ConfigError
        from irismq_runtime.safe_text import safe

        # A variable without a meaning may be read before the work of a command begins.
        if isinstance(error, ConfigError) and (said := verdict(error)) is not None:
            sys.stderr.write(f"irismq: {safe(said[0])}\n")
            raise SystemExit(said[1]) from None
        sys.stderr.write(safe(traceback.format_exc(), "\n\t"))
        sys.stderr.write(
            "irismq: this is an error of irismq itself; please report it, with the lines above\n"
        )
        raise SystemExit(_BUG) from None
    finally:
        settle_stderr()


def _run() -> None:
    try:
        app(obj=OWN_PROCESS)
    except OSError as error:
        if not is_of_the_output(error):
            if error.errno not in _OF_THE_MACHINE:
                raise
            from irismq_runtime.safe_text import safe

            what = f"{error.filename}: " if error.filename else ""
            sys.stderr.write(safe(f"irismq: {what}{error.strerror}") + "\n")
            raise SystemExit(_FAILED) from None
        forget_stdout()
        sys.stderr.write(f"irismq: the output cannot be written: {error.strerror}\n")
        raise SystemExit(_FAILED) from None


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
