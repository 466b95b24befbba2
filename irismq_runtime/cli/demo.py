"""`irismq demo`: runs the demonstration that comes with the package, irismq_runtime.demo."""

from __future__ import annotations

from typing import Annotated

import typer

from irismq_runtime.demo.demonstration import main

__all__ = ["demo"]


def demo(
    full: Annotated[bool, typer.Option("--full", help="All 336,776 flights of 2013.")] = False,
    nats: Annotated[
        bool, typer.Option("--nats", help="Over three NATS servers; one is killed in the middle.")
    ] = False,
) -> None:
    """Feed a day of flights to two nodes, crash handlers, kill a node, compare the sums."""
    raise typer.Exit(main(full=full, nats=nats))
