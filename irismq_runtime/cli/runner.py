"""`irismq run MODULE:TREE`: one node with one tree, until a signal."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from actors.texts import line_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import OR_EMBEDDED
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, fail, remark, verdict
from irismq_runtime.cli.main import OWN_PROCESS
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    MANY,
    MIB,
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
from irismq_runtime.cli.workers.asked import WorkerOf, Workers, asked_of, worker_of
from irismq_runtime.config import DEFAULT_CONNECT_TIMEOUT, parse_endpoint
from irismq_runtime.errors import ConfigError
from irismq_runtime.observe import Check, Health, JsonLines, require_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from irismq_runtime.node import Node

__all__ = ["run_tree"]

T = TypeVar("T")


class LogLevel(StrEnum):
    """From where on records are logged: those of `logging`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
    processes: Annotated[
        int, typer.Option(help="Run so many processes of it, under one that supervises.", **MANY)
    ] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a Python file here has changed.")
    ] = False,
    silence: Annotated[
        float,
        typer.Option(help="With --processes: seconds without a sign of life until it is killed."),
    ] = 30.0,
    max_memory: Annotated[
        int | None,
        typer.Option(
            metavar="MIB", help="With --processes: start one anew that holds more.", **MIB
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            "--log-level",
            envvar="IRISMQ_LOG_LEVEL",
            case_sensitive=False,  # `logging` itself writes them in capitals
            help="Log this and what is worse (info).",
        ),
    ] = None,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", envvar="IRISMQ_LOG_JSON", help="Log in JSON, a record a line."),
    ] = False,
) -> None:
    """Run a supervision tree as a node; SIGTERM drains it and ends with code 0."""
    _set_log(log_level, in_json=log_json)
    worker = _meant(worker_of, os.environ)
    asked = _meant(asked_of, processes, silence, connect_timeout, drain, max_memory, reload=reload)
    if status:
        _meant(require_metrics)
    if data is not None and not embedded:
        fail("--data: it is for the broker inside; add --embedded", codes.USAGE)
    if observe is not None:
        _meant(lambda: brokers.http)
    if worker is None and (processes > 1 or reload):
        of_one = context.obj is not OWN_PROCESS or embedded or observe is not None
        raise typer.Exit(_supervised(asked, status, of_one=of_one))
    if worker is not None:
        name, status = f"{name}-{worker.number}", _meant(worker.status_of, status)
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
            worker=worker,
        ),
    )
    if code == codes.GAVE_UP:
        fail("the tree gave up: see the reports above", codes.GAVE_UP)
    raise typer.Exit(code)


def _set_log(level: LogLevel | None, *, in_json: bool) -> None:
    log = logging.getLogger()
    if level is not None:
        log.setLevel(level.upper())
    for handler in log.handlers if in_json else ():
        handler.setFormatter(JsonLines())


def _meant(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call it; what has no meaning is said now: before the tree is loaded, or a first scrape."""
    try:
        return call(*arguments, **options)
    except ConfigError as error:
        fail(str(error), codes.USAGE)


def _loaded(tree: str) -> Any:
    """What to run. Without a loop: a module may run one of its own while it is imported."""
    with exit_cleanly_on_signal():
        return _meant(load_tree, tree)


async def _run(
    root: Any,
    *,
    own_process: bool,
    status: str,
    observer: tuple[int, Brokers] | None,
    worker: WorkerOf | None,
    **options: Any,
) -> int:
    quiet_while_connecting(True)
    if worker is not None:
        worker.end_with_parent()
    node = make_node(**options)
    try:
        async with (
            naming_wrong_servers(node.dialled, start=OR_EMBEDDED),
            _status_page(
                status,
                lambda: node.health() if node.is_open else NOT_STARTED,
                lambda: node.metrics() if node.is_open else "",
            ),
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


def _supervised(asked: Workers, status: str, *, of_one: bool) -> int:
    """Run the processes to their end; gives the exit code."""
    if of_one:
        what = "--embedded and --observe are for one process: `irismq dev`, `irismq observe`"
        fail(f"--processes, --reload: {what}", codes.USAGE)
    with tempfile.TemporaryDirectory(prefix="irismq-") as folder:
        return execute(_supervise(asked, status, Path(folder)))


async def _supervise(asked: Workers, status: str, folder: Path) -> int:
    """Be the parent of processes of this command."""
    from irismq_runtime.cli.workers.command import Parent, again

    parent = Parent(asked, again(), folder)
    async with _status_page(status, parent.health, parent.metrics):
        return await parent.run(partial(_tell, "workers"))


@contextlib.asynccontextmanager
async def _status_page(
    status: str, health: Callable[[], Health], metrics: Callable[[], str]
) -> AsyncIterator[None]:
    """Answer HTTP at `status`, from before the start until the end."""
    if not status:
        yield
        return
    from irismq_runtime.observe import StatusServer

    where = parse_endpoint(status, option="--status", default_port=8150)
    page = StatusServer(health=health, metrics=metrics, host=where.host, port=where.port)
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
    if phase == "connected":
        quiet_while_connecting(False)
        ends = ", ".join(f"{what} {where}" for what, where in node.endpoints.items())
        _tell(name, "%s is connected (%s)", name, ends, phase=phase)
    elif phase == "runs":
        _tell(name, "%s runs", name, phase=phase)
    else:
        _tell(name, "%s: draining", phase, phase=phase)


def _tell(name: str, text: str, *args: object, **fields: str) -> None:
    """One line for people, or one record where the log is of records, with its own template."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        _LOG.info(text, *args, extra={"node": name, **fields})
    else:
        remark(text % args)
