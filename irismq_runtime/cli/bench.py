"""`irismq bench ADDRESS TYPE [JSON]`: load on a running service, and how long it takes.

Every message is a real one: the service does what it does for it.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import execute, print_json, remark
from irismq_runtime.cli.load import LoadOutcome, LoadPlan, send_load
from irismq_runtime.cli.messages import Address, Body, Type, message_of
from irismq_runtime.cli.options import (
    IRIS_DEFAULT,
    Imports,
    Iris,
    Timeout,
    a_number,
    client_node,
)
from irismq_runtime.cli.terminal import out, print_rows

__all__ = ["bench"]

_COLUMNS: Final = ("done", "failed", "seconds", "rate", "p50_ms", "p90_ms", "p99_ms", "longest_ms")
#: Kinds of errors that are told of.
_MOST_TOLD: Final = 10


@takes_brokers
def bench(
    address: Address,
    type_name: Type = "-",
    body: Body = None,
    count: Annotated[
        int, typer.Option("--count", min=1, max=100_000_000, help="How many messages.")
    ] = 1000,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            max=1e6,
            callback=lambda value: value if value is None else a_number(value),
            help="Messages a second, each due at its time.",
            show_default="as fast as they are answered",
        ),
    ] = None,
    in_flight: Annotated[
        int, typer.Option("--in-flight", min=1, max=100_000, help="At most so many at a time.")
    ] = 16,
    tell: Annotated[
        bool, typer.Option("--tell", help="Store them; the time is that of the broker's OK.")
    ] = False,
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    timeout: Timeout = 5.0,
    imports: Imports = [],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send many messages to an address; print the rate and the times they took.

    Example: `irismq bench shop.inventory shop.stock '{"sku": "tea"}' --count 10000`
    """
    message = message_of(type_name, body, imports)

    async def work() -> LoadOutcome:
        async with client_node(brokers, iris) as node:
            await node.settled()
            ref = node.ref(address)
            send = (
                (lambda: ref.tell(message)) if tell else (lambda: ref.ask(message, timeout=timeout))
            )
            return await send_load(LoadPlan(count, in_flight, rate), send, time.perf_counter)

    outcome = execute(work())
    _print(outcome, {"address": address, "verb": "tell" if tell else "ask"}, as_json=as_json)
    raise typer.Exit(codes.FAILED if outcome.errors else codes.OK)


def _print(outcome: LoadOutcome, what: dict[str, Any], *, as_json: bool) -> None:
    figures = outcome.to_dict()
    if as_json or not out.is_terminal:
        print_json({**what, **figures})
    else:
        cells = ["-" if figures[name] is None else f"{figures[name]:,}" for name in _COLUMNS]
        print_rows([name.replace("_", " ") for name in _COLUMNS], [cells])
    for text, times in outcome.errors.most_common(_MOST_TOLD):
        remark(f"{times:,} times: {text}")
