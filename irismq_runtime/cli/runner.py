"""`irismq run MODULE:TREE`: one node with one tree, until a signal."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.texts import line_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import OR_EMBEDDED
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, fail, remark, verdict
from irismq_runtime.cli.main import OWN_PROCESS
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    NSQD_HTTP_DEFAULT,
    PORTS,
    Iris,
    Name,
    Store,
    load_tree,
    make_node,
    naming_wrong_servers,
    quiet_while_connecting,
)
from irismq_runtime.cli.process_exit import exit_cleanly_on_signal, exit_within_grace
from irismq_runtime.cli.startup_progress import run_with_progress
from irismq_runtime.config import DEFAULT_CONNECT_TIMEOUT, parse_endpoint
from irismq_runtime.errors import ConfigError
from irismq_runtime.observe import Check, Health, JsonLines, require_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from irismq_runtime.node import Node

__all__ = ["run_tree"]

_LOG = logging.getLogger("irismq.node")
NOT_STARTED = Health((Check("start", ok=False, reason="the servers are being connected"),))


@takes_brokers
def run_tree(
    context: typer.Context,
    tree: Annotated[str, typer.Argument(metavar="MODULE:TREE", help="What to run.")],
    brokers: Brokers = Brokers(nsqd_http=NSQD_HTTP_DEFAULT),
    lookup_interval: Annotated[
        float, typer.Option(help="Seconds between questions to nsqlookupd.")
    ] = 10.0,
    iris: Iris = IRIS_DEFAULT,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Run a broker and a relay in this process.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="With --embedded: keep messages here.")
    ] = None,
    store: Store = "",
    name: Name = "node",
    drain: Annotated[float, typer.Option(help="Seconds for running handlers at the end.")] = 10.0,
    connect_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the servers at the start.")
    ] = DEFAULT_CONNECT_TIMEOUT,
    lease: Annotated[
        float, typer.Option(help="Seconds until a killed node's messages go to others.")
    ] = 15.0,
    status: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Answer /live, /ready and /metrics there, over HTTP."
        ),
    ] = "",
    observe: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="Serve the observer page on loopback at this port.", **PORTS
        ),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(help="Deliveries after which a message goes to ADDRESS.dead.")
    ] = 5,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", envvar="IRISMQ_LOG_JSON", help="Log in JSON, a record a line."),
    ] = False,
) -> None:
    """Run a supervision tree as a node; SIGTERM drains it and ends with code 0."""
    if log_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    if status:
        _need_metrics()
    if data is not None and not embedded:
        fail("--data: it is for the broker inside; add --embedded", codes.USAGE)
    if observe is not None:
        _http_is_meant(brokers)
    root = _loaded(tree)
    code = execute(
        _run(
            root,
            own_process=context.obj is OWN_PROCESS,
            name=name,
            brokers=brokers,
            mailbox_options={"lookup_interval": lookup_interval},
            iris=iris,
            embedded=embedded,
            data=data,
            store=store or None,
            drain=drain,
            connect_timeout=connect_timeout,
            lease=lease,
            max_attempts=max_attempts,
            status=status,
            observer=None if observe is None else (observe, brokers),
        ),
    )
    if code == codes.GAVE_UP:
        fail("the tree gave up: see the reports above", codes.GAVE_UP)
    raise typer.Exit(code)


def _need_metrics() -> None:
    """Fail now, not when the first scrape comes."""
    try:
        require_metrics()
    except ConfigError as error:
        fail(str(error), codes.USAGE)


def _http_is_meant(brokers: Brokers) -> None:
    """What has no meaning is said before the tree is loaded."""
    try:
        _ = brokers.http
    except ConfigError as error:
        fail(str(error), codes.USAGE)


def _loaded(tree: str) -> Any:
    """What to run. Without a loop: a module may run one of its own while it is imported."""
    try:
        with exit_cleanly_on_signal():
            return load_tree(tree)
    except ConfigError as error:
        fail(str(error), codes.USAGE)


async def _run(
    root: Any,
    *,
    own_process: bool,
    status: str,
    observer: tuple[int, Brokers] | None,
    **options: Any,
) -> int:
    quiet_while_connecting(True)
    node = make_node(**options)
    try:
        async with (
            naming_wrong_servers(node.dialled, start=OR_EMBEDDED),
            _status_page(status, node),
            _observer_page(observer) as on_phase,
        ):
            code = await run_with_progress(node, node.run(root, on_phase=on_phase))
    except Exception as error:
        text, code = verdict(error) or (line_of(error), codes.BUG)
        if own_process:
            exit_within_grace(code, f"irismq: {text}")
        raise
    if own_process:
        exit_within_grace(code)
    return code


@contextlib.asynccontextmanager
async def _status_page(status: str, node: Node) -> AsyncIterator[None]:
    """Answer HTTP at `status`, from before the node has started until it has ended."""
    if not status:
        yield
        return
    from irismq_runtime.observe import StatusServer

    where = parse_endpoint(status, option="--status", default_port=8150)
    page = StatusServer(
        health=lambda: node.health() if node.is_open else NOT_STARTED,
        metrics=lambda: node.metrics() if node.is_open else "",
        host=where.host,
        port=where.port,
    )
    try:
        await page.start()
    except OSError as error:
        problem = f"cannot listen at {where}: {error.strerror or error}"
        raise ConfigError("--status", problem, "give another HOST:PORT") from error
    try:
        yield
    finally:
        await page.stop()


@contextlib.asynccontextmanager
async def _observer_page(
    observer: tuple[int, Brokers] | None,
) -> AsyncIterator[Callable[[Node, str], None]]:
    """What is to be told the phases of the node; with `observer` the page is among it."""
    if observer is None:
        yield _say
        return
    from irismq_runtime.cli.observe import PageBeside

    page = PageBeside(*observer)

    def told(node: Node, phase: str) -> None:
        _say(node, phase)
        page.on_phase(node, phase)

    try:
        yield told
    finally:
        await page.ended()


def _say(node: Node, phase: str) -> None:
    # A node that is stopped while it connects has no id yet.
    name = node.id if node.is_open else node.config.name
    args: tuple[object, ...] = (name,)
    if phase == "connected":
        quiet_while_connecting(False)
        ends = ", ".join(f"{what} {where}" for what, where in node.endpoints.items())
        text, args = "%s is connected (%s)", (name, ends)
    elif phase == "runs":
        text = "%s runs"
    else:
        text, args = "%s: draining", (phase,)
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        _LOG.info(text, *args, extra={"node": name, "phase": phase})
    else:
        remark(text % args)
