"""`irismq dev`: a broker and a relay of ours on this machine, until a signal."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated

import typer

from irismq_runtime.cli.console import execute
from irismq_runtime.cli.dashboard import Moment
from irismq_runtime.cli.foreground import serve
from irismq_runtime.cli.options import PORTS
from irismq_runtime.config import (
    DEFAULT_IRIS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
)
from irismq_runtime.node import OwnBroker, OwnRelay, Servers

__all__ = ["dev"]


def dev(
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep messages in this folder, across restarts.")
    ] = None,
    nsqd_port: Annotated[
        int, typer.Option(help="TCP port of the broker.", **PORTS)
    ] = DEFAULT_NSQD_PORT,
    nsqd_http_port: Annotated[
        int, typer.Option(help="HTTP port of the broker.", **PORTS)
    ] = DEFAULT_NSQD_HTTP_PORT,
    iris_port: Annotated[int, typer.Option(help="Port of the relay.", **PORTS)] = DEFAULT_IRIS_PORT,
) -> None:
    """Run a broker and a relay on loopback, for development."""
    broker = OwnBroker(data=data, port=nsqd_port, http_port=nsqd_http_port)
    relay = OwnRelay(port=iris_port)
    kept = f"messages are kept in {data}" if data else "messages are kept in memory"
    execute(
        serve(
            Servers(broker, relay),
            title="irismq dev",
            where=lambda: (
                f"nsqd on {broker.endpoint} (HTTP {broker.http}), iris on {relay.endpoint}; {kept}"
            ),
            moment=lambda: Moment(asyncio.get_running_loop().time(), broker.stats(), relay.stats()),
        )
    )
