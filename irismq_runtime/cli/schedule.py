"""`irismq schedule list|show|pause|resume|run|remove`: messages at the times of a calendar.

What there is, is read in the store, while nodes run. Changes are made by the node that has the
schedule, which is asked over the relay: a node that has a store, and a schedule in it, answers.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.console import confirm, execute, fail, print_json, remark
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.options import IRIS_DEFAULT, Iris, Json, Ndjson, Store, client_node
from irismq_runtime.cli.store import looking_at
from irismq_runtime.cli.terminal import print_listing
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from actors.request import RequestOf
    from irismq_runtime.schedules import Scheduled

__all__ = ["app"]

app = command_group("Look at messages that come at the times of a calendar; pause, run or end one.")

Name = Annotated[str, typer.Argument(help="The name of the schedule.")]


@app.command("list")
def list_schedules(store: Store = "", as_json: Json = False, ndjson: Ndjson = False) -> None:
    """List the schedules of a store: who is told what, when, and when next.

    Example: `irismq schedule list --store postgresql://db/shop`
    """
    shown = [_record(each) for each in execute(_all(store))]
    columns = ("name", "to", "type", "when", "next", "told")
    print_listing(
        shown,
        columns,
        as_json=as_json,
        ndjson=ndjson,
        cell=_cell,
        nothing="there are no schedules",
    )


@app.command()
def show(name: Name, store: Store = "") -> None:
    """Show one schedule as JSON.

    Example: `irismq schedule show nightly --store postgresql://db/shop`
    """
    for each in execute(_all(store)):
        if each.name == name:
            print_json(_record(each))
            return
    fail(f"there is no schedule {name!r} in this store", codes.FAILED)


async def _all(store: str) -> list[Scheduled]:
    from irismq_runtime.schedules import schedules_in

    async with looking_at(store) as (opened, _):
        return await schedules_in(opened)


def _record(schedule: Scheduled) -> dict[str, Any]:
    when = f"{schedule.cron} {schedule.tz}" if schedule.cron else "once"
    if schedule.every:
        when = f"every {schedule.every:g} s"
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(schedule).items()
    }
    return {**values, "when": when, "next": "paused" if schedule.paused else values["due"]}


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


@app.command()
@takes_brokers
def pause(name: Name, brokers: Brokers = Brokers(), iris: Iris = IRIS_DEFAULT) -> None:
    """Let a schedule tell nothing until it is resumed; what it misses is not made up for.

    Example: `irismq schedule pause nightly`
    """
    from irismq_runtime.schedules.schedule import Pause

    _say(name, _asked(name, Pause(), brokers, iris), "paused", "it was paused already")


@app.command()
@takes_brokers
def resume(name: Name, brokers: Brokers = Brokers(), iris: Iris = IRIS_DEFAULT) -> None:
    """Let a schedule that was paused go on with its next occurrence.

    Example: `irismq schedule resume nightly`
    """
    from irismq_runtime.schedules.schedule import Resume

    _say(name, _asked(name, Resume(), brokers, iris), "resumed", "it was not paused")


@app.command()
@takes_brokers
def run(name: Name, brokers: Brokers = Brokers(), iris: Iris = IRIS_DEFAULT) -> None:
    """Tell the target of a schedule now, beside its calendar.

    Example: `irismq schedule run nightly`
    """
    from irismq_runtime.schedules.schedule import RunNow

    _asked(name, RunNow(), brokers, iris)
    remark(f"told: {name}")


@app.command()
@takes_brokers
def remove(
    name: Name,
    brokers: Brokers = Brokers(),
    iris: Iris = IRIS_DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a schedule; a program that adds it begins it anew.

    Example: `irismq schedule remove nightly`
    """
    from irismq_runtime.schedules.schedule import Remove

    if not yes:
        confirm(f"End the schedule {name!r}{brokers.within} for good?")
    if not _asked(name, Remove(), brokers, iris):
        fail(f"there is no schedule {name!r}", codes.FAILED)
    remark(f"removed: {name}")


def _say(name: str, changed: object, done: str, otherwise: str) -> None:
    remark(f"{done}: {name}" if changed else f"{name}: {otherwise}")


def _asked(name: str, request: RequestOf[Any, Any], brokers: Brokers, iris: str) -> Any:
    """What the node answers that has the schedule."""
    from irismq_runtime.schedules import ASK_TIMEOUT
    from irismq_runtime.schedules.schedule import ADDRESS, SHARDS

    async def ask() -> Any:
        async with client_node(brokers, iris) as node:
            try:
                ref = node.entity(ADDRESS, name, shards=SHARDS)
            except ValueError as error:
                raise ConfigError("NAME", str(error)) from None
            return await ref.ask(request, timeout=ASK_TIMEOUT)

    return execute(ask())
