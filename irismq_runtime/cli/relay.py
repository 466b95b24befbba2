"""`irismq relay`: an Iris relay of ours, alone or over NATS, until a signal.

Programs on this machine speak to it as to an Iris node, in any language; with
`--nats` it reaches the programs at every other relay of the same network.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import START_NATS
from irismq_runtime.cli.console import execute, fail
from irismq_runtime.cli.dashboard import Moment
from irismq_runtime.cli.foreground import serve
from irismq_runtime.cli.options import PORTS, SECONDS, naming_wrong_servers
from irismq_runtime.config import DEFAULT_IRIS_PORT, NatsOverlay
from irismq_runtime.errors import ConfigError
from irismq_runtime.node import OwnRelay, Servers

__all__ = ["relay"]


def relay(
    nats: Annotated[
        list[str],
        typer.Option(
            "--nats",
            envvar="IRISMQ_NATS_ADDRESS",
            metavar="NATS://HOST:PORT",
            help="A server of the NATS cluster to route over; may be repeated.",
        ),
    ] = [],
    net: Annotated[
        str,
        typer.Option(
            "--net",
            envvar="IRISMQ_NATS_NET",
            help="The network: relays of another one do not see this one's programs.",
            show_default="irismq",
        ),
    ] = "",
    port: Annotated[
        int,
        typer.Option("--port", envvar="IRISMQ_RELAY_PORT", help="Where it listens.", **PORTS),
    ] = DEFAULT_IRIS_PORT,
    creds: Annotated[
        str,
        typer.Option(
            "--creds", envvar="IRISMQ_NATS_CREDS", metavar="FILE", help="Credentials for NATS."
        ),
    ] = "",
    tls_ca: Annotated[
        str,
        typer.Option(
            "--tls-ca",
            envvar="IRISMQ_NATS_TLS_CA",
            metavar="FILE",
            help="Certificates that NATS's must lead to.",
        ),
    ] = "",
    tls_cert: Annotated[
        str,
        typer.Option(
            "--tls-cert",
            envvar="IRISMQ_NATS_TLS_CERT",
            metavar="FILE",
            help="The certificate to show to NATS.",
        ),
    ] = "",
    tls_key: Annotated[
        str,
        typer.Option(
            "--tls-key",
            envvar="IRISMQ_NATS_TLS_KEY",
            metavar="FILE",
            help="The key of that certificate.",
        ),
    ] = "",
    connect_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for NATS at the start.", **SECONDS)
    ] = 2.5,
) -> None:
    """Run an Iris relay on loopback, over NATS or alone, until a signal."""
    options = {  # as fields of a NatsOverlay
        "net": net,
        "credentials": creds,
        "tls_ca": tls_ca,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
    try:
        overlay = _overlay(nats, options)
    except ConfigError as error:
        fail(str(error), codes.USAGE)
    own = OwnRelay(overlay, port=port, connect_timeout=connect_timeout)
    routes = f"over {overlay.peer}, net {overlay.net}" if overlay else "for this machine alone"

    async def work() -> None:
        async with naming_wrong_servers({"nats": overlay.endpoints} if overlay else {}):
            await serve(
                Servers(own),
                title="irismq relay",
                where=lambda: f"iris on {own.endpoint}, {routes}",
                moment=lambda: _moment(own),
            )

    execute(work(), remedy=START_NATS)


def _moment(own: OwnRelay) -> Moment:
    return Moment(asyncio.get_running_loop().time(), {"topics": []}, own.stats())


def _overlay(nats: list[str], options: dict[str, str]) -> NatsOverlay | None:
    """Return what the flags say; None without `--nats`. Raises `ConfigError`."""
    if nats:
        return NatsOverlay.parse(nats, **options)
    if given := [name for name, value in options.items() if value]:
        flag = "--creds" if given[0] == "credentials" else f"--{given[0].replace('_', '-')}"
        raise ConfigError(flag, "it is for NATS, and no server is named", "give --nats")
    return None
