"""`irismq doctor`: everything that is commonly wrong, one line each.

Gathers facts (the servers, what a directory lists, this machine), judges them, and
prints the findings, the worst last. The exit code is that of the worst one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, print_json
from irismq_runtime.cli.doctor.directory import judge_producers, look_at_producers
from irismq_runtime.cli.doctor.judgement import judge_machine
from irismq_runtime.cli.doctor.machine import look_at_machine
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    NSQD_HTTP_DEFAULT,
    Iris,
    Store,
)
from irismq_runtime.cli.probes import LIMIT, Limit, Target, examine_all
from irismq_runtime.cli.server_identification import Finding, Level, ServerKind, judge, judge_clock
from irismq_runtime.cli.store import look_at_store
from irismq_runtime.cli.terminal import out

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["doctor", "exit_code"]

_STYLES: Final = {
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.WARN: "yellow",
    Level.BAD: "bold red",
}


@takes_brokers
def doctor(
    brokers: Brokers = Brokers(nsqd_http=NSQD_HTTP_DEFAULT),
    iris: Iris = IRIS_DEFAULT,
    store: Store = "",
    limit: Limit = LIMIT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at the servers and this machine; say what is wrong and what to do, a line each.

    The code is 3 when a server is away or another one, 2 when the installation is
    broken, 1 when something will hurt, else 0.

    Example: `irismq doctor --nsqd broker:4150 --nsqd-http broker:4151 --lookupd dir:4161`
    """
    machine = look_at_machine()

    async def look() -> list[Finding]:
        wanted = brokers.targets(iris)
        over_nats = any(place.role is ServerKind.NATS for place in wanted)
        found = [*judge_machine(machine, nats=over_nats), *await _servers(wanted, limit, brokers)]
        return [*found, *await look_at_store(store, limit)] if store else found

    found = sorted(execute(look()), key=lambda finding: finding.level)
    code = exit_code(found)
    if as_json:
        print_json({"code": code, "findings": [finding.record for finding in found]})
    else:
        for finding in found:
            line = f"{finding.level.name.lower():4}  {finding.line}"
            style = _STYLES[finding.level]
            out.print(line, style=style, soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(code)


def exit_code(found: Iterable[Finding]) -> int:
    """The code of the worst finding: servers before installation before warnings."""
    bad = {finding.kind for finding in found if finding.level is Level.BAD}
    if "server" in bad:
        return codes.UNREACHABLE
    if bad:
        return codes.USAGE
    return codes.FAILED if any(finding.level is Level.WARN for finding in found) else codes.OK


async def _servers(wanted: list[Target], limit: float, brokers: Brokers) -> list[Finding]:
    found: list[Finding] = []
    examined = await examine_all(wanted, limit=limit, brokers=brokers)
    for place, answer in examined:
        name = str(place.endpoint)
        found.append(judge(place.role, name, answer))
        if place.role is answer.kind and (clock := judge_clock(name, answer)) is not None:
            found.append(clock)
    directories = [
        p.endpoint for p, answer in examined if p.role is answer.kind is ServerKind.LOOKUPD
    ]
    listed = await asyncio.gather(*(look_at_producers(one, limit) for one in directories))
    for directory, producers in zip(directories, listed, strict=True):
        found += judge_producers(directory, producers)
    return found
