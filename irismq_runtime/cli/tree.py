"""`irismq tree`: the supervision trees of all nodes, asked over their private clusters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.tree import Tree

from actors.errors import ActorError
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, fail, printable
from irismq_runtime.cli.options import (
    CLIENT_NAME,
    IRIS_DEFAULT,
    Iris,
    Json,
    Ndjson,
    Timeout,
    client_node,
)
from irismq_runtime.cli.terminal import out, print_as_json
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.observer.reports import offers_untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.node import Node

__all__ = ["tree"]


@takes_brokers
def tree(
    node: Annotated[str, typer.Option("--node", help="Only nodes of this name or id.")] = "",
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    timeout: Timeout = 3.0,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Versions, messages and exposed methods too."),
    ] = False,
    as_json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """Show who runs where, in which state, and how often it was restarted."""
    found = execute(_gather(node, brokers, iris, timeout, verbose=verbose))
    if not print_as_json(found, as_json=as_json, ndjson=ndjson):
        for report in found:
            out.print(_drawn(report))
    if not found:
        which = f"called {node!r} " if node else ""
        fail(f"no node {which}is announced at {iris}; start one with `irismq run MODULE:TREE`")


async def _gather(
    wanted: str, brokers: Brokers, iris: str, timeout: float, *, verbose: bool
) -> list[Any]:
    async with client_node(brokers, iris) as own:
        found = await own.trees(timeout=timeout, only=[wanted] if wanted else ())
        found.pop(own.id, None)
        if verbose:
            told = await asyncio.gather(*(_offers(own, each, timeout) for each in found))
            found = {each: {**found[each], **more} for each, more in zip(found, told, strict=True)}
    reports = sorted(found.values(), key=lambda report: (report["name"], report["node"]))
    if wanted:
        return reports
    # Other commands that run now are nodes too, and of no interest.
    return [r for r in reports if r["name"] != CLIENT_NAME]


async def _offers(own: Node, node_id: str, timeout: float) -> dict[str, Any]:
    """What a node offers; nothing where it does not say, which older ones do not."""
    try:
        told = offers_untrusted(await own.overview.offers(node_id, timeout=timeout))
    except (ActorError, RuntimeFault):
        return {}
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def _drawn(report: dict[str, Any]) -> Tree:
    health = report.get("health") or {}
    state = "[green]ready" if health.get("ready") else "[yellow]not ready"
    drawn = Tree(f"[bold]{_safe(report['name'])}[/] {_safe(report['node'])} {state}")
    if "error" in report:
        drawn.add(f"[red]no answer: {_safe(report['error'])}")
    for reason in health.get("reasons") or ():
        drawn.add(f"[yellow]{_safe(reason)}")
    if "runtime" in report:
        versions = f"irismq-runtime {report['runtime']}, Python {report['python']}"
        drawn.add(f"[dim]{_safe(versions)}[/]")
    for root in report["trees"]:
        _draw(drawn, root, report.get("offers", {}))
    return drawn


def _safe(text: str) -> str:
    """What another node says, as markup and the terminal take it for text."""
    return escape(printable(" ".join(text.split())))


def _draw(above: Tree, place: dict[str, Any], offers: dict[str, Any]) -> None:
    colour = "green" if place["state"] == "running" else "yellow"
    name, kind, state = (_safe(place[key]) for key in ("name", "class", "state"))
    text = f"{name} [dim]{kind}[/] [{colour}]{state}[/]"
    if place.get("address"):
        text += f" [cyan]{_safe(place['address'])}[/]"
    if place.get("progress"):
        text += f" {_safe(place['progress'])}"
    if place["restarts"]:
        text += f" [bold]{place['restarts']} restart{'s' if place['restarts'] > 1 else ''}[/]"
    last = place.get("last_exit") or {}
    if last.get("error"):
        text += f" [dim]last: {_safe(last['error'])}: {_safe(last.get('text') or '')}[/]"
    branch = above.add(text)
    if (offer := offers.get(place.get("address") or "")) is not None:
        for line in _offer_lines(offer):
            branch.add(f"[dim]{_safe(line)}[/]")
    for below in place["children"]:
        _draw(branch, below, offers)


def _offer_lines(offer: dict[str, Any]) -> Iterator[str]:
    """What an address takes, a line each."""
    if offer["version"]:
        yield f"version {offer['version']}"
    for name, answer in offer["messages"].items():
        yield f"takes {name}" + (f", answers {answer}" if answer else "")
    if offer["exposed"]:
        yield f"exposes {', '.join(offer['exposed'])}"
