"""`irismq check`: what answers on which port, and whether it is what it should be."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import execute, out
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    NSQD_DEFAULT,
    NSQD_HTTP_DEFAULT,
    Iris,
    Nsqd,
    NsqdHttp,
)
from irismq_runtime.cli.probes import IRIS, NSQD, NSQD_HTTP, what_answers
from irismq_runtime.config import (
    DEFAULT_IRIS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    parse_endpoint,
    parse_endpoints,
)

__all__ = ["check"]


def check(
    nsqd: Nsqd = NSQD_DEFAULT,
    nsqd_http: NsqdHttp = NSQD_HTTP_DEFAULT,
    iris: Iris = IRIS_DEFAULT,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the exit code.")] = False,
) -> None:
    """See what answers at each address; code 3 when something else does, or nothing."""
    wanted = [
        *((e, NSQD) for e in parse_endpoints(nsqd, option="nsqd", default_port=DEFAULT_NSQD_PORT)),
        *(
            (e, NSQD_HTTP)
            for e in parse_endpoints(
                nsqd_http, option="nsqd-http", default_port=DEFAULT_NSQD_HTTP_PORT
            )
        ),
        (parse_endpoint(iris, option="iris", default_port=DEFAULT_IRIS_PORT), IRIS),
    ]

    async def look() -> list[str]:
        return list(await asyncio.gather(*(what_answers(endpoint) for endpoint, _ in wanted)))

    found = execute(look())
    good = True
    for (endpoint, role), answer in zip(wanted, found, strict=True):
        fits = answer == role
        good = good and fits
        if not quiet:
            _say(f"{endpoint}", role, answer, fits=fits)
    raise typer.Exit(codes.OK if good else codes.UNREACHABLE)


def _say(endpoint: str, role: str, answer: str, *, fits: bool) -> None:
    if fits:
        line = f"ok    {endpoint}: {answer}"
    else:
        line = f"WRONG {endpoint} should be {role}, but there is {answer}{_remedy(role, answer)}"
    out.print(line, style="green" if fits else "bold red", soft_wrap=True, highlight=False)


def _remedy(role: str, answer: str) -> str:
    if answer.startswith("nothing"):
        return "; start one with `irismq dev`, or give another address"
    if role == NSQD and answer == NSQD_HTTP:
        return "; give nsqd's TCP port here (4150 by default)"
    if role == NSQD_HTTP and answer == NSQD:
        return "; give nsqd's HTTP port here (4151 by default)"
    return "; give another address"
