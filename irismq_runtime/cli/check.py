"""`irismq check`: what answers on which port, and whether it is what it should be.

The short one, for probes and scripts: servers alone, a line each, code 0 or 3.
`irismq doctor` looks at the same servers, at their clocks, and at this machine.
"""

from __future__ import annotations

from typing import Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    NSQD_HTTP_DEFAULT,
    Iris,
    Store,
)
from irismq_runtime.cli.probes import LIMIT, Limit, examine_all
from irismq_runtime.cli.server_identification import Finding, Level, judge
from irismq_runtime.cli.store import look_at_store
from irismq_runtime.cli.terminal import out

__all__ = ["check"]


@takes_brokers
def check(
    brokers: Brokers = Brokers(nsqd_http=NSQD_HTTP_DEFAULT),
    iris: Iris = IRIS_DEFAULT,
    store: Store = "",
    limit: Limit = LIMIT,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the exit code.")] = False,
) -> None:
    """See what answers at each address; code 3 when something else does, or nothing."""

    async def look() -> list[Finding]:
        answers = await examine_all(brokers.targets(iris), limit=limit, brokers=brokers)
        found = [judge(place.role, str(place.endpoint), answer) for place, answer in answers]
        return [*found, *(await look_at_store(store, limit))[:1]] if store else found

    findings = execute(look())
    for finding in findings if not quiet else ():
        good = finding.level is Level.OK
        style = "green" if good else "bold red"
        line = f"{'ok   ' if good else 'WRONG'} {finding.line}"
        out.print(line, style=style, soft_wrap=True, highlight=False, markup=False)
    wrong = any(finding.level is not Level.OK for finding in findings)
    raise typer.Exit(codes.UNREACHABLE if wrong else codes.OK)
