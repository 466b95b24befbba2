"""`irismq run MODULE:TREE`: one node with one tree, until a signal."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import err, execute, fail
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    NSQD_DEFAULT,
    Iris,
    Lookupd,
    Name,
    Nsqd,
    load_tree,
    make_node,
)

if TYPE_CHECKING:
    from irismq_runtime.node import Node

__all__ = ["run_tree"]


def run_tree(
    tree: Annotated[str, typer.Argument(metavar="MODULE:TREE", help="What to run.")],
    nsqd: Nsqd = NSQD_DEFAULT,
    lookupd: Lookupd = [],
    iris: Iris = IRIS_DEFAULT,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Run a broker and a relay in this process.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="With --embedded: keep messages here.")
    ] = None,
    name: Name = "node",
    drain: Annotated[float, typer.Option(help="Seconds for running handlers at the end.")] = 10.0,
    connect_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the servers at the start.")
    ] = 2.5,
) -> None:
    """Run a supervision tree as a node; SIGTERM drains it and ends with code 0."""
    code = execute(
        _run(
            tree,
            name=name,
            nsqd=nsqd,
            lookupd=lookupd,
            iris=iris,
            embedded=embedded,
            data=data,
            drain=drain,
            connect_timeout=connect_timeout,
        )
    )
    if code == codes.GAVE_UP:
        fail("the tree gave up: see the reports above", codes.GAVE_UP)
    raise typer.Exit(code)


async def _run(tree: str, **options: Any) -> int:
    root = load_tree(tree)
    return await make_node(**options).run(root, on_started=_say)


def _say(node: Node) -> None:
    ends = ", ".join(f"{what} {where}" for what, where in node.endpoints.items())
    err.print(f"{node.id} runs ({ends})", soft_wrap=True, highlight=False)
