"""`irismq dev`: a broker and a relay of ours on this machine, until a signal."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import err, execute, fail
from irismq_runtime.config import (
    DEFAULT_IRIS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
)
from irismq_runtime.node import Servers
from irismq_runtime.node.signals import Signals

__all__ = ["dev"]


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
            await over.wait()
        finally:
            await servers.stop()
