"""The command line: `irismq COMMAND`. One module a command; this one joins them.

Commands load when they are called, so that `irismq --help` is quick. Exit codes
are in the table of irismq_runtime.cli.codes.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from irismq_runtime.cli import check, dead, demo, dev, mailbox, runner, talk, tree

__all__ = ["app", "main"]

app = typer.Typer(
    name="irismq",
    help="Supervised actors; their mailboxes are NSQ channels, their addresses Iris clusters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )


app.command("dev")(dev.dev)
app.command("run")(runner.run_tree)
app.command("ask")(talk.ask)
app.command("tell")(talk.tell)
app.command("tell-all")(talk.tell_all)
app.command("tree")(tree.tree)
app.add_typer(dead.app, name="dead")
app.command("mailbox")(mailbox.mailbox)
app.command("check")(check.check)
app.command("demo")(demo.demo)


def main() -> None:
    """The entry point of the `irismq` program."""
    app()


if __name__ == "__main__":
    main()
