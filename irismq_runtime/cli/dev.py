"""`irismq dev`: a broker and a relay of ours on this machine, until a signal.

On a terminal a table shows what they do, once a second; elsewhere a line says
what changed, at most once a second, and nothing when nothing did.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated, Final

import typer
from rich.live import Live

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import err, execute, fail, out
from irismq_runtime.cli.dashboard import Moment, change_line, rows_between, table
from irismq_runtime.config import (
    DEFAULT_IRIS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
)
from irismq_runtime.node import Servers
from irismq_runtime.node.signals import Signals

__all__ = ["dev"]

#: Seconds between two looks at the servers.
_PERIOD: Final = 1.0


def dev(
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep messages in this folder, across restarts.")
    ] = None,
    nsqd_port: Annotated[int, typer.Option(help="TCP port of the broker.")] = DEFAULT_NSQD_PORT,
    nsqd_http_port: Annotated[
        int, typer.Option(help="HTTP port of the broker.")
    ] = DEFAULT_NSQD_HTTP_PORT,
    iris_port: Annotated[int, typer.Option(help="Port of the relay.")] = DEFAULT_IRIS_PORT,
) -> None:
    """Run a broker and a relay on loopback, for development."""
    servers = Servers(
        data=data, nsqd_port=nsqd_port, nsqd_http_port=nsqd_http_port, iris_port=iris_port
    )
    execute(_serve(servers, data))


async def _serve(servers: Servers, data: Path | None) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    with Signals(loop, lambda _: over.set(), codes.FORCED):
        try:
            await servers.start()
        except OSError as error:
            fail(
                f"cannot listen: {error}; is another `irismq dev`, nsqd or iris running? "
                "give other ports, see irismq dev --help",
                codes.UNREACHABLE,
            )
        try:
            where = f"messages are kept in {data}" if data else "messages are kept in memory"
            err.print(
                f"nsqd on {servers.nsqd} (HTTP {servers.nsqd_http}), iris on {servers.iris}; "
                f"{where}. Ctrl-C stops.",
                soft_wrap=True,
                highlight=False,
            )
            await _show(servers, over)
        finally:
            await servers.stop()


def _moment(servers: Servers) -> Moment:
    nsqd, relay = servers.stats()
    return Moment(asyncio.get_running_loop().time(), nsqd, relay)


async def _show(servers: Servers, over: asyncio.Event) -> None:
    """Show what the servers do until `over` is set."""
    before = _moment(servers)
    shown = rows_between(before, before)
    live: Live | None = None
    if out.is_terminal:
        live = Live(table(shown, "irismq dev"), console=out, auto_refresh=False)
    with live or nullcontext():
        while not await _passed(over):
            now = _moment(servers)
            rows = rows_between(before, now)
            if live is not None:
                live.update(table(rows, "irismq dev"), refresh=True)
            elif line := change_line(shown, rows):
                out.print(line, markup=False, highlight=False, soft_wrap=True)
            before, shown = now, rows


async def _passed(over: asyncio.Event) -> bool:
    """Whether it is over; waits a second for that."""
    try:
        await asyncio.wait_for(over.wait(), _PERIOD)
    except TimeoutError:
        return False
    return True
