"""`irismq dead list|show|replay|drop ADDRESS`: messages that were given up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.completion import addresses
from irismq_runtime.cli.console import err, execute, fail, out, print_json, print_rows
from irismq_runtime.cli.options import NSQD_DEFAULT, Nsqd
from irismq_runtime.config import need_address
from irismq_runtime.observer import letters as dead
from irismq_runtime.observer.letters import Filter, Letter, dead_letters

__all__ = ["app"]

app = typer.Typer(
    help="Look at, replay or drop the dead letters of an address.",
    add_completion=False,
    no_args_is_help=True,
)

Address = Annotated[
    str,
    typer.Argument(help="The address whose letters are meant.", autocompletion=addresses),
]
Ids = Annotated[list[str], typer.Option("--id", help="Only ids that begin so; may be repeated.")]
Reason = Annotated[str, typer.Option("--reason", help="Only reasons that contain this.")]
TypeName = Annotated[str, typer.Option("--type", help="Only messages of this type.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=2500, help="At most so many letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
All = Annotated[bool, typer.Option("--all", help="Every letter, when no filter is given.")]


@app.command("list")
def list_letters(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = 1000,
    nsqd: Nsqd = NSQD_DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the letters: id, time, deliveries, type, reason."""
    wanted = Filter(tuple(ids), reason, type_name)
    rows = execute(_rows(nsqd, address, limit, wanted))
    if as_json or not out.is_terminal:
        print_json(rows)
        return
    if not rows:
        err.print(f"{address} has no such dead letters", highlight=False, markup=False)
        return
    shown = ("id", "time", "attempts", "type", "reason")
    columns = ("id", "time", "deliveries", "type", "reason")
    print_rows(columns, ([str(row[name]) for name in shown] for row in rows))


@app.command()
def show(
    address: Address,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")],
    limit: Limit = 2500,
    nsqd: Nsqd = NSQD_DEFAULT,
) -> None:
    """Show one letter with its error, traceback and message."""
    rows = execute(_rows(nsqd, address, limit, Filter((letter_id,)), full=True))
    if not rows:
        fail(f"{address} has no dead letter whose id begins with {letter_id!r}")
    print_json(rows[0], data=True)


@app.command()
def replay(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = 2500,
    every: All = False,
    dry_run: DryRun = False,
    nsqd: Nsqd = NSQD_DEFAULT,
) -> None:
    """Put letters back into the mailbox, byte for byte as they were told."""
    wanted = _needed(ids, reason, type_name, every=every)

    async def work() -> tuple[int, int]:
        need_address(address)
        async with dead_letters(nsqd, address, limit) as (mailbox, letters):
            meant = _meant(letters, wanted)
            return (len(meant), 0) if dry_run else await dead.replay(mailbox, address, meant)

    done, back = execute(work())
    _said(done, "replayed", dry_run=dry_run)
    _said_back(back, "are listed still, though replayed")


@app.command()
def drop(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = 2500,
    every: All = False,
    dry_run: DryRun = False,
    nsqd: Nsqd = NSQD_DEFAULT,
) -> None:
    """Give letters up for good."""
    wanted = _needed(ids, reason, type_name, every=every)

    async def work() -> tuple[int, int]:
        need_address(address)
        async with dead_letters(nsqd, address, limit) as (_, letters):
            meant = _meant(letters, wanted)
            return (len(meant), 0) if dry_run else dead.drop(meant)

    done, back = execute(work())
    _said(done, "dropped", dry_run=dry_run)
    _said_back(back, "were not dropped")


def _needed(ids: list[str], reason: str, type_name: str, *, every: bool) -> Filter:
    if not (ids or reason or type_name or every):
        fail("say which letters: --id, --reason, --type, or --all", codes.USAGE)
    return Filter(tuple(ids), reason, type_name)


def _said(count: int, what: str, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    err.print(f"{count} letter{'' if count == 1 else 's'} {would}{what}", highlight=False)


def _said_back(count: int, what: str) -> None:
    """Tell of letters that the broker took back before they were finished."""
    if count:
        fail(
            f"{count} of the letters {what}: the connection to nsqd was lost meanwhile; "
            "repeat the command"
        )


async def _rows(
    nsqd: list[str], address: str, limit: int, wanted: Filter, *, full: bool = False
) -> list[dict[str, Any]]:
    need_address(address)
    async with dead_letters(nsqd, address, limit) as (_, letters):
        return [one.full() if full else one.row() for one in _meant(letters, wanted)]


def _meant(letters: list[Letter], wanted: Filter) -> list[Letter]:
    return [letter for letter in letters if wanted.takes(letter)]
