"""`irismq dead list|show|replay|drop ADDRESS`: messages that were given up.

All letters means all, in bounded memory (see observer.letters); where something is cut
or left, it is said. Looking makes nothing at the broker: whether the address has
letters is asked over HTTP, and where there are none nobody subscribes.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import addresses
from irismq_runtime.cli.console import err, execute, fail, out, print_json, print_rows
from irismq_runtime.cli.options import signing_anew
from irismq_runtime.cli.stock import take_stock
from irismq_runtime.config import need_address
from irismq_runtime.messaging import dead_topic
from irismq_runtime.observer import letters as dead
from irismq_runtime.observer.letters import Filter, Tally, looking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from irismq_runtime.observer.letters import Letter, Look

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
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most so many letters.", show_default="no limit"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
All = Annotated[bool, typer.Option("--all", help="Every letter, when no filter is given.")]

#: Seconds between two lines that say how far it is.
_NEWS: Final = 2.0
_PLAIN: Final[dict[str, Any]] = {"highlight": False, "markup": False, "soft_wrap": True}


@app.command("list")
@takes_brokers
def list_letters(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many letters; what is cut is said.")
    ] = 1000,
    brokers: Brokers = Brokers(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the letters: id, time, deliveries, type, reason."""
    wanted = Filter(tuple(ids), reason, type_name)
    letters, cut, blind = execute(_rows(brokers, address, limit, wanted))
    rows = [row for _, row in sorted(letters, key=lambda one: one[0])]
    if as_json or not out.is_terminal:
        print_json(rows)
    elif rows:
        shown = ("id", "time", "attempts", "type", "reason")
        columns = ("id", "time", "deliveries", "type", "reason")
        print_rows(columns, ([str(row[name]) for name in shown] for row in rows))
    elif not blind:
        err.print(f"{address} has no such dead letters", **_PLAIN)
    if cut:
        err.print(cut, **_PLAIN)
    if blind:
        fail(blind, codes.UNREACHABLE)


async def _rows(
    brokers: Brokers, address: str, limit: int, wanted: Filter
) -> tuple[list[tuple[float, dict[str, Any]]], str, str]:
    """The rows with the times of their letters, and what is to be said of the rest."""
    rows: list[tuple[float, dict[str, Any]]] = []
    async with _look(brokers, address) as look:
        if look is None:
            return rows, "", ""
        news = _News("looked at", look)
        async for letter in look:
            news.tell()
            if wanted.takes(letter):
                rows.append((letter.when, letter.row()))
                if len(rows) >= limit:
                    break
            look.keep(letter)
        return rows, _cut(look, limit=len(rows) >= limit), _blind(look, address)


def _blind(look: Look, address: str) -> str:
    """Why nothing is known where nothing came, "" otherwise."""
    if look.expected is not None or look.seen:
        return ""
    return (
        f"no letter of {address} came, and whether there are any is not known: nsqd's HTTP is not "
        "at the port after its TCP port; give it with --nsqd-http"
    )


def _cut(look: Look, *, limit: bool) -> str:
    """What is to be said of letters that were not looked at, "" when all were."""
    if look.expected is None:
        return "there may be more: give --limit" if limit else ""
    if not look.missing:
        return ""
    if limit:
        return f"{look.missing:,} of {look.expected:,} letters were not looked at: give --limit"
    return _away(look)


def _away(look: Look) -> str:
    return (
        f"{look.missing:,} of {look.expected:,} letters are held by somebody else now, or were put "
        "aside by a look that was cut off; repeat the command"
    )


@app.command()
@takes_brokers
def show(
    address: Address,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")],
    brokers: Brokers = Brokers(),
) -> None:
    """Show one letter with its error, traceback and message."""
    wanted = Filter((letter_id,))

    async def work() -> tuple[dict[str, Any] | None, str]:
        async with _look(brokers, address) as look:
            if look is None:
                return None, ""
            news = _News("looked at", look)
            async for letter in look:
                news.tell()
                if wanted.takes(letter):
                    return letter.full(), ""
                look.keep(letter)
            unknown = _blind(look, address)
            if unknown:
                fail(unknown, codes.UNREACHABLE)
            return None, f" ({_away(look)})" if look.missing else ""

    row, why = execute(work())
    if row is None:
        fail(f"{address} has no dead letter whose id begins with {letter_id!r}{why}")
    print_json(row, data=True)


@app.command()
@takes_brokers
def replay(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    to: Annotated[
        str,
        typer.Option("--to", metavar="ADDRESS", help="Store them in the mailbox of this address."),
    ] = "",
    every_channel: Annotated[
        bool,
        typer.Option(
            "--every-channel",
            help="Publish a durable event to all channels again, also those that handled it.",
        ),
    ] = False,
    brokers: Brokers = Brokers(),
) -> None:
    """Put letters back into the mailbox, byte for byte as they were told."""
    wanted = _needed(ids, reason, type_name, every=every)
    if to and every_channel:
        fail("--to and --every-channel exclude each other", codes.USAGE)

    renewed = signing_anew()

    async def one(look: Look, letter: Letter, tally: Tally) -> bool:
        return await dead.replay(
            look,
            address,
            letter,
            tally,
            to=to,
            every_channel=every_channel,
            renewed=renewed,
        )

    act = None if dry_run else one
    tally, missing = execute(_each(brokers, address, wanted, limit, "replayed", act))
    _said(tally.done, "replayed", dry_run=dry_run)
    for left in tally.left:
        err.print(f"left: {left}", **_PLAIN)
    _said_back(tally.back, "are listed still, though replayed")
    _said_missing(missing)
    if tally.events or tally.large:
        fail("not all could be replayed, see above")


@app.command()
@takes_brokers
def drop(
    address: Address,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    brokers: Brokers = Brokers(),
) -> None:
    """Give letters up for good."""
    wanted = _needed(ids, reason, type_name, every=every)

    async def one(_look: Look, letter: Letter, tally: Tally) -> bool:
        dead.drop(letter, tally)
        return True

    act = None if dry_run else one
    tally, missing = execute(_each(brokers, address, wanted, limit, "dropped", act))
    _said(tally.done, "dropped", dry_run=dry_run)
    _said_back(tally.back, "were not dropped")
    _said_missing(missing)


async def _each(
    brokers: Brokers,
    address: str,
    wanted: Filter,
    limit: int | None,
    what: str,
    act: Callable[[Look, Letter, Tally], Awaitable[bool]] | None,
) -> tuple[Tally, str]:
    """Do `act` to all letters that are meant, or count them; and what was not reached."""
    tally = Tally()
    async with _look(brokers, address) as look:
        if look is None:
            return tally, ""
        news = _News(what, look)
        meant = 0
        async for letter in look:
            if not wanted.takes(letter):
                look.keep(letter)
            elif act is None:
                tally.done += 1
                look.keep(letter)
            elif not await act(look, letter, tally):
                look.keep(letter)
            meant += wanted.takes(letter)
            if limit is not None and meant >= limit:
                return tally, ""
            news.tell(tally.done)
        if look.again:
            err.print(
                f"{look.again:,} came again, or are copies of what was replayed: still listed",
                **_PLAIN,
            )
        return tally, _away(look) if look.missing else _blind(look, address)


def _needed(ids: list[str], reason: str, type_name: str, *, every: bool) -> Filter:
    if not (ids or reason or type_name or every):
        fail("say which letters: --id, --reason, --type, or --all", codes.USAGE)
    return Filter(tuple(ids), reason, type_name)


class _News:
    """Says on standard error how far a long look is."""

    def __init__(self, what: str, look: Look) -> None:
        self._what = what
        self._look = look
        self._due = time.monotonic() + _NEWS

    def tell(self, done: int | None = None) -> None:
        """Say it, if it is time."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _NEWS
        look = self._look
        of = "" if look.expected is None else f" of {look.expected:,}"
        count = look.seen if done is None else done
        aside = f", {look.aside:,} put aside for {look.delay:.0f} s" if look.aside else ""
        err.print(f"{count:,}{of} letters {self._what}{aside}", **_PLAIN)


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


def _said_missing(missing: str) -> None:
    """Tell of letters that did not come."""
    if missing:
        fail(missing)


@contextlib.asynccontextmanager
async def _look(brokers: Brokers, address: str) -> AsyncIterator[Look | None]:
    """Look at the letters of `address`: None where there are none.

    Ends the command when no broker knows the address, or when nsqd says nothing of it.
    """
    need_address(address)
    topic = dead_topic(address)
    stock = await take_stock(brokers, address)
    if stock is not None and not stock.holding:
        if not stock.known:
            fail(f"no broker knows {address!r}: nothing was ever told to it, and it has no letters")
        if stock.elsewhere:
            channels = ", ".join(sorted(stock.elsewhere))
            fail(f"the letters of {address} went to other channels of {topic}: {channels}")
        yield None
        return
    where = stock.holding if stock is not None else [str(one) for one in brokers.endpoints]
    held = stock.held if stock is not None else None
    async with looking(where, address, held, config=brokers.config()) as look:
        yield look
