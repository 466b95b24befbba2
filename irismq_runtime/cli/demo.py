"""`irismq demo`: the flights example from start to end; see examples/flights."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import fail

__all__ = ["demo"]


def demo(
    full: Annotated[bool, typer.Option("--full", help="All 336,776 flights of 2013.")] = False,
    nats: Annotated[
        bool, typer.Option("--nats", help="Over three NATS servers; one is killed in the middle.")
    ] = False,
) -> None:
    """Feed a day of flights to two nodes, crash handlers, kill a node, compare the sums."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module("examples.flights.demo")
    except ImportError as error:
        fail(
            f"the example cannot be imported ({error}); run this in a clone of the repository",
            codes.USAGE,
        )
    raise typer.Exit(module.main(full=full, nats=nats))
