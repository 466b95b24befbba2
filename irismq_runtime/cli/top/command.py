"""`irismq top`: what the observer page shows, in a terminal.

A client node looks at the others, and asks them and the brokers twice a second.
Without a terminal, or with --once, it looks long enough for rates, prints, and ends.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute
from irismq_runtime.cli.http import get_totals
from irismq_runtime.cli.options import (
    CLIENT_NAME,
    IRIS_DEFAULT,
    NSQD_HTTP_DEFAULT,
    Iris,
    client_node,
)
from irismq_runtime.cli.top.layout import layout, line
from irismq_runtime.cli.top.rows import View, headline, problem_rows, rows
from irismq_runtime.errors import ConfigError
from irismq_runtime.node.process.signals import Signals
from irismq_runtime.observer import Gatherer, to_json
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from irismq_runtime.cli.top.screen import Source, Top
    from irismq_runtime.observer import Snapshot

__all__ = ["plain", "top"]

#: Snapshots until rates are known, and until a node that is there has answered.
_LOOKS: Final = 4
_PATIENT: Final = 10
#: Lines of a snapshot that is not printed to a terminal.
_WIDTH: Final = 120


@takes_brokers
def top(
    brokers: Brokers = Brokers(nsqd_http=NSQD_HTTP_DEFAULT),
    iris: Iris = IRIS_DEFAULT,
    once: Annotated[
        bool, typer.Option("--once", help="Print one snapshot as text and end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one snapshot as JSON and end.")
    ] = False,
    words: Annotated[
        str, typer.Option("--filter", help="Only names, classes, addresses, states with this.")
    ] = "",
) -> None:
    """Show all nodes, their trees, services and what is wrong, in the terminal.

    Keys: arrows move, t turns to the services, s sorts, / filters, space opens and
    closes, [ and ] turn the pages of many rows, i shows details with the traceback of the
    last crash, r restarts, p pauses, q quits.

    Example: `irismq top --once --filter shop`
    """
    view = View().filtered(words)
    execute(_checked(brokers))
    if once or as_json or not sys.stdout.isatty():
        snapshot = execute(_once(brokers, iris))
        width = shutil.get_terminal_size((_WIDTH, 24)).columns
        text = to_json(snapshot).decode() if as_json else safe(plain(snapshot, view, width), "\n")
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    else:
        execute(_follow(brokers, iris, view))


async def _checked(brokers: Brokers) -> None:
    """Say what has no meaning before anything is connected."""
    _ = brokers.http, brokers.mailbox_options


async def _once(brokers: Brokers, iris: str) -> Snapshot:
    async with client_node(brokers, iris) as node, _gatherer(node, brokers) as gatherer:
        snapshot = gatherer.latest
        while snapshot.version < _LOOKS or (_waits(snapshot) and snapshot.version < _PATIENT):
            snapshot = await gatherer.changed(snapshot.version)
        return snapshot


def _waits(snapshot: Snapshot) -> bool:
    return not snapshot.nodes or any(node.state in {"new", "silent"} for node in snapshot.nodes)


async def _follow(brokers: Brokers, iris: str, view: View) -> None:
    async with client_node(brokers, iris) as node, _gatherer(node, brokers) as gatherer:
        screen = make_screen(gatherer, view)
        logging.disable(logging.CRITICAL)  # a line would go across the screen
        try:
            with Signals(asyncio.get_running_loop(), lambda _: screen.exit(), codes.FORCED):
                await screen.run_async()
        finally:
            logging.disable(logging.NOTSET)


def make_screen(source: Source, view: View) -> Top:
    """Return the screen. Raises `ConfigError` without Textual."""
    try:
        from irismq_runtime.cli.top.screen import Top
    except ImportError as error:
        raise ConfigError(
            "top",
            f"it needs Textual ({error})",
            "pip install 'irismq-runtime[top]', or use --once",
        ) from error
    return Top(source, view)


def _gatherer(node: Any, brokers: Brokers) -> Gatherer:
    stats = partial(get_totals, tls=brokers.tls_context())
    return Gatherer(
        node,
        brokers=brokers.http,
        stats=stats,
        ignore={CLIENT_NAME},
        namespace=brokers.names,
    )


def plain(snapshot: Snapshot, view: View, width: int) -> str:
    """The snapshot in lines of at most `width`: the system, what is wrong, trees, services."""
    parts = [headline(snapshot), ""]
    wrong = problem_rows(snapshot, len(snapshot.problems))
    parts += [f"wrong: {row.cells[0]} (for {row.cells[1]})" for row in wrong]
    parts += [] if wrong else ["nothing is wrong"]
    for page in ("trees", "services"):
        shown = view.turned("services") if page == "services" else view.turned("trees")
        columns = layout(shown.page, width)
        parts += ["", line(shown.columns, columns)]
        parts += [line(row.cells, columns) for row in rows(snapshot, shown)]
    parts += [
        f"nsqd {broker.endpoint}: {broker.error}" for broker in snapshot.brokers if broker.error
    ]
    return "\n".join(parts)
