"""`irismq dev`: a broker and a relay of ours on this machine, until a signal."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

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
from irismq_runtime.endpoints import parse_endpoints
from irismq_runtime.errors import ConfigError
from irismq_runtime.node import OwnBroker, OwnRelay, Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irismq_runtime.embedded.nsqd import NsqdOptions

__all__ = ["dev"]

#: Where an authorization server is asked whose address has no port: that of HTTP.
DEFAULT_AUTH_PORT: Final = 80


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
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file: the broker offers TLS with this certificate.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file: the key of it.")] = None,
    tls_required: Annotated[
        bool, typer.Option("--tls-required", help="The broker serves nobody without TLS.")
    ] = False,
    auth_http_address: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a server that the broker asks what an AUTH may do."),
    ] = None,
) -> None:
    """Run a broker and a relay on loopback, for development."""
    execute(
        _run(
            OwnRelay(port=iris_port),
            data=data,
            ports=(nsqd_port, nsqd_http_port),
            options=lambda: _options(tls_cert, tls_key, tls_required, auth_http_address or []),
        )
    )


async def _run(
    relay: OwnRelay,
    *,
    data: Path | None,
    ports: tuple[int, int],
    options: Callable[[], NsqdOptions],
) -> None:
    """Run both until a signal. Raises `ConfigError` for options without meaning."""
    broker = OwnBroker(data=data, port=ports[0], http_port=ports[1], options=options())
    kept = f"messages are kept in {data}" if data else "messages are kept in memory"
    await serve(
        Servers(broker, relay),
        title="irismq dev",
        where=lambda: (
            f"nsqd on {broker.endpoint} (HTTP {broker.http}), iris on {relay.endpoint}; {kept}"
        ),
        moment=lambda: Moment(asyncio.get_running_loop().time(), broker.stats(), relay.stats()),
    )


def _options(
    certificate: Path | None, key: Path | None, required: bool, authorities: Sequence[str]
) -> NsqdOptions:
    """Return the broker's TLS and AUTH, named as nsqd names its own. Raises `ConfigError`."""
    import ssl

    from irismq_runtime.embedded.nsqd import NsqdOptions

    tls = None
    if certificate is not None and key is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"{str(certificate)!r} and its key cannot be used: {reason}"
            raise ConfigError("--tls-cert", problem, "give PEM files") from error
    elif certificate is not None or key is not None:
        alone = "--tls-key" if certificate is None else "--tls-cert"
        raise ConfigError(alone, "a certificate and its key go together", "give both")
    elif required:
        raise ConfigError(
            "--tls-required", "the broker has no certificate", "give --tls-cert and --tls-key"
        )
    found = parse_endpoints(
        authorities, option="--auth-http-address", default_port=DEFAULT_AUTH_PORT
    )
    return NsqdOptions(tls=tls, tls_required=required, auth_http_addresses=tuple(map(str, found)))
