"""`irismq observe`: the observer page, for every node that presence hears.

A client node of its own looks at the others; `irismq run --observe PORT` serves the
same page from a node that works, from its connection until it drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, fail, remark
from irismq_runtime.cli.http import get_totals
from irismq_runtime.cli.options import (
    CLIENT_NAME,
    IRIS_DEFAULT,
    NSQD_HTTP_DEFAULT,
    PORTS,
    Iris,
    client_node,
)
from irismq_runtime.namespace import Namespace
from irismq_runtime.node.process.signals import Signals
from irismq_runtime.observer import Gatherer
from irismq_runtime.observer.page import ObserverPage, new_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from irismq_runtime.node import Node

__all__ = ["DEFAULT_PORT", "PageBeside", "observe", "observer_page"]

DEFAULT_PORT = 8160


@takes_brokers
def observe(
    brokers: Brokers = Brokers(nsqd_http=NSQD_HTTP_DEFAULT),
    iris: Iris = IRIS_DEFAULT,
    port: Annotated[int, typer.Option("--port", help="Where the page is.", **PORTS)] = DEFAULT_PORT,
    host: Annotated[
        str,
        typer.Option(
            help="Where to listen. Whoever reaches another host than loopback may read everything."
        ),
    ] = "127.0.0.1",
) -> None:
    """Serve a page that shows all nodes, their trees, services and dead letters."""
    execute(_serve(brokers, iris, host, port))


async def _serve(brokers: Brokers, iris: str, host: str, port: int) -> None:
    _ = brokers.http  # what has no meaning is said before anything is connected
    over = asyncio.Event()
    with Signals(asyncio.get_running_loop(), lambda _: over.set(), codes.FORCED):
        async with client_node(brokers, iris) as node:
            try:
                async with observer_page(node, brokers=brokers, host=host, port=port):
                    await over.wait()
            except OSError as error:
                other = "--port" if host == "127.0.0.1" else "--host or --port"
                fail(f"{_cannot(host, port, error)}; give another {other}", codes.UNREACHABLE)


def _cannot(host: str, port: int, error: OSError) -> str:
    where = f"port {port}" if host == "127.0.0.1" else f"port {port} of {host}"
    return f"cannot listen on {where}: {error.strerror or error}"


@contextlib.asynccontextmanager
async def observer_page(
    node: Node, *, brokers: Brokers, port: int, host: str = "127.0.0.1", itself: bool = False
) -> AsyncIterator[ObserverPage]:
    """Serve the page for what `node` hears, and say where. `itself`: `node` is shown too.

    Raises `OSError` when the port is taken.
    """
    token = new_token()
    stats = partial(get_totals, tls=brokers.tls_context())
    names = Namespace(node.config.namespace)
    gatherer = Gatherer(
        node,
        brokers=brokers.http,
        stats=stats,
        ignore={CLIENT_NAME},
        itself=itself,
        namespace=names,
    )
    nsqd = [str(endpoint) for endpoint in node.config.nsqd]
    page = ObserverPage(
        gatherer,
        nsqd=nsqd,
        token=token,
        host=host,
        port=port,
        config=brokers.config(),
        namespace=names,
    )
    async with gatherer, page:
        _say(page, host)
        yield page


class PageBeside:
    """The page of a node that is run, driven by the node's phases.

    That it cannot be served is said and changes nothing: the node works.
    """

    def __init__(self, port: int, brokers: Brokers) -> None:
        self._port = port
        self._brokers = brokers
        self._over = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    def on_phase(self, node: Node, phase: str) -> None:
        """Serve from "connected" on, until the node stops: a phase of `Node.run`."""
        if phase == "connected":
            own = node.endpoints.get("nsqd_http")
            brokers = Brokers(nsqd_http=[own]) if own else self._brokers
            self._serving = asyncio.get_running_loop().create_task(self._serve(node, brokers))
        elif phase != "runs":
            self._over.set()

    async def ended(self) -> None:
        """Stop serving, and wait for that."""
        self._over.set()
        if self._serving is not None:
            await self._serving

    async def _serve(self, node: Node, brokers: Brokers) -> None:
        try:
            async with observer_page(node, brokers=brokers, port=self._port, itself=True):
                await self._over.wait()
        except OSError as error:
            remark(f"no observer page: {_cannot('127.0.0.1', self._port, error)}")


def _say(page: ObserverPage, host: str) -> None:
    lines = [
        f"the observer is at {page.url}",
        f"to act, not only to read: {page.acting_url}",
    ]
    if not _is_loopback(host):
        lines.append(f"whoever reaches {host} may read: keep others off with a firewall or a proxy")
    for line in lines:
        remark(line)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
