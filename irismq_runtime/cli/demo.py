"""`irismq demo`: runs the demonstration that comes with the package, irismq_runtime.demo."""

from __future__ import annotations

from typing import Annotated

import typer

from actors.texts import text_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.console import fail
from irismq_runtime.cli.terminal import out
from irismq_runtime.demo.demonstration import main
from irismq_runtime.errors import ConfigError

__all__ = ["demo"]


def demo(
    full: Annotated[bool, typer.Option("--full", help="All 336,776 flights of 2013.")] = False,
    nats: Annotated[
        bool, typer.Option("--nats", help="Over three NATS servers; one is killed in the middle.")
    ] = False,
) -> None:
    """Feed a day of flights to two nodes, crash handlers, kill a node, compare the sums."""
    try:
        code = main(out, full=full, nats=nats)
    except (FileNotFoundError, ConfigError) as error:
        fail(text_of(error), codes.USAGE)
    raise typer.Exit(code)
