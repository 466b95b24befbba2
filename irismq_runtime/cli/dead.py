"""`irismq dead list|show|replay|edit|drop ADDRESS`: messages that were given up.

All letters means all, in bounded memory (see dead_letters.reader); where something is cut
or left, it is said. Looking makes nothing at the broker: whether the address has
letters is asked over HTTP, and where there are none nobody subscribes. Where HTTP does not
answer there is no other way to look than to subscribe, and nsqd makes the topic then: said.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from actors.messages import readable_types
from irismq_runtime.cli import codes
from irismq_runtime.cli.brokers import Brokers, takes_brokers
from irismq_runtime.cli.completion import addresses
from irismq_runtime.cli.console import execute, fail, print_json, remark
from irismq_runtime.cli.deferred import command_group
from irismq_runtime.cli.letter_editing import EditFile, edited, shown
from irismq_runtime.cli.letter_reading import (
    Progress,
    beginnings_of,
    check_beginnings,
    letters_of,
    why_missing,
    why_unknown,
)
from irismq_runtime.cli.letter_rows import LetterRows
from irismq_runtime.cli.options import (
    Imports,
    Json,
    Ndjson,
    Store,
    import_modules,
    signing_anew,
)
from irismq_runtime.cli.terminal import print_listing
from irismq_runtime.cli.topic_stats import letters_at
from irismq_runtime.dead_letters import reader as dead
from irismq_runtime.dead_letters.reader import Filter, LetterOutcomes
from irismq_runtime.errors import ConfigError, SignatureError
from irismq_runtime.messaging import mailbox_topic
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from irismq_runtime.dead_letters.reader import DeadLetterReader, Letter

__all__ = ["app"]

app = command_group("Look at, replay, change or drop the dead letters of an address.")

Address = Annotated[
    str,
    typer.Argument(help="The address whose letters are meant.", autocompletion=addresses),
]
AddressOrAll = Annotated[
    str | None,
    typer.Argument(
        help="The address whose letters are meant.",
        show_default="which addresses have some",
        autocompletion=addresses,
    ),
]
Ids = Annotated[list[str], typer.Option("--id", help="Only ids that begin so; may be repeated.")]
OneId = Annotated[
    list[str], typer.Option("--id", help="Only this id, or how it begins; may be repeated.")
]
Reason = Annotated[str, typer.Option("--reason", help="Only reasons that contain this.")]
TypeName = Annotated[str, typer.Option("--type", help="Only messages of this type.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most so many letters.", show_default="no limit"),
]
To = Annotated[
    str,
    typer.Option("--to", metavar="ADDRESS", help="Store them in the mailbox of this address."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
All = Annotated[bool, typer.Option("--all", help="Every letter, when no filter is given.")]

#: What stands above the columns of letters, and what is in them.
_COLUMNS: Final = {
    "id": "id",
    "time": "time",
    "deliveries": "attempts",
    "type": "type",
    "reason": "reason",
}


@app.command("list")
@takes_brokers
def list_letters(
    address: AddressOrAll = None,
    ids: Ids = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="At most so many letters; what is cut is said.")
    ] = 1000,
    brokers: Brokers = Brokers(),
    as_json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """List the letters: id, time, deliveries, type, reason; or which addresses have some."""
    if address is None:
        if ids or reason or type_name:
            fail("--id, --reason, --type: they are of one address, give it", codes.USAGE)
        _list_addresses(brokers, as_json=as_json, ndjson=ndjson)
        return
    wanted = Filter(tuple(ids), reason, type_name)
    letters, cut, unknown = execute(_rows(brokers, address, limit, wanted))
    rows = [row for _, row in sorted(letters, key=lambda one: one[0])]
    nothing = "" if unknown else f"{address} has no such dead letters"
    print_listing(rows, _COLUMNS, as_json=as_json, ndjson=ndjson, nothing=nothing)
    if cut:
        remark(cut)
    if unknown:
        fail(unknown, codes.UNREACHABLE)


def _list_addresses(brokers: Brokers, *, as_json: bool, ndjson: bool) -> None:
    found = execute(letters_at(brokers))
    rows = [
        {"address": address, "nsqd": str(broker), "letters": count.total, "away": count.away}
        for address, broker, count in found
    ]
    columns = ("address", "nsqd", "letters", "away")
    print_listing(
        rows, columns, as_json=as_json, ndjson=ndjson, nothing="no broker has dead letters"
    )


async def _rows(
    brokers: Brokers, address: str, limit: int, wanted: Filter
) -> tuple[list[tuple[float, dict[str, Any]]], str, str]:
    """The rows with the times of their letters, and what is to be said of the rest."""
    rows: list[tuple[float, dict[str, Any]]] = []
    async with letters_of(brokers, address) as reader:
        if reader is None:
            return rows, "", ""
        progress = Progress("looked at", reader)
        async for letter in reader:
            progress.tell()
            if wanted.takes(letter):
                rows.append((letter.when, letter.row()))
                if len(rows) >= limit:
                    break
            reader.keep(letter)
        return rows, _cut(reader, limit=len(rows) >= limit), why_unknown(reader, address)


def _cut(reader: DeadLetterReader, *, limit: bool) -> str:
    """What is to be said of letters that were not looked at, "" when all were."""
    if reader.expected is None:
        return "there may be more: give --limit" if limit else ""
    if not reader.missing:
        return ""
    if limit:
        return f"{reader.missing:,} of {reader.expected:,} letters were not looked at: give --limit"
    return why_missing(reader)


@app.command()
@takes_brokers
def show(
    address: Address,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")],
    brokers: Brokers = Brokers(),
) -> None:
    """Show one letter with its error, traceback and message."""
    print_json(_one(brokers, address, letter_id).full(), data=True)


def _one(brokers: Brokers, address: str, letter_id: str) -> Letter:
    """The letter that is meant; ends the command where there is none, or more than one."""
    beginnings = beginnings_of([letter_id])
    wanted = Filter((letter_id,))

    async def work() -> tuple[Letter | None, str]:
        async with letters_of(brokers, address) as reader:
            if reader is None:
                return None, ""
            progress = Progress("looked at", reader)
            found: Letter | None = None
            async for letter in reader:
                progress.tell()
                if wanted.takes(letter):
                    beginnings.see(letter.id)
                    found = letter
                    if not beginnings:  # the whole id
                        break
                reader.keep(letter)
            if problem := beginnings.problem():
                fail(problem)
            if found is not None:
                return found, ""
            unknown = why_unknown(reader, address)
            if unknown:
                fail(unknown, codes.UNREACHABLE)
            return None, f" ({why_missing(reader)})" if reader.missing else ""

    letter, why = execute(work())
    if letter is None:
        fail(f"{address} has no dead letter whose id begins with {letter_id!r}{why}")
    return letter


@app.command()
@takes_brokers
def edit(
    address: Address,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")],
    body: Annotated[
        str | None,
        typer.Argument(
            metavar="JSON",
            help="The message as it should be; - reads standard input.",
            show_default="what the editor of EDITOR makes of it",
        ),
    ] = None,
    imports: Imports = [],
    to: To = "",
    brokers: Brokers = Brokers(),
) -> None:
    """Change the message of one letter, and put it back into the mailbox.

    Example: `irismq dead edit shop.inventory 0d5e --import shop.messages`
    """
    if body == "-":
        body = sys.stdin.read()
    try:
        import_modules(imports)
        letter = _one(brokers, address, letter_id)
        text = shown(letter)
        topic = mailbox_topic(address)  # of wrong keys one hears before the work
        signing_anew(brokers.names)(letter.record.body, topic, topic)
        changed = _edited(letter, text, body)
    except ConfigError as error:
        fail(str(error), codes.USAGE)
    except SignatureError as error:
        fail(f"the letter {letter.id} cannot be signed anew: {error.reason}")
    if changed is None:
        remark("nothing was changed, and the letter is where it was")
        return
    sign = signing_anew(brokers.names, lambda _: changed)
    there = (letter.id, letter.record.body)

    async def one(reader: DeadLetterReader, letter: Letter, counts: LetterOutcomes) -> bool:
        same = (letter.id, letter.record.body) == there
        return same and await dead.replay(reader, address, letter, counts, to=to, sign_anew=sign)

    wanted = Filter((letter.id,))
    taken_back = "are listed still, though replayed"
    done = _change("replayed", taken_back, brokers, address, wanted, None, one)
    if not done:
        fail(f"the letter {letter.id} is not there any more: somebody replayed or dropped it")


def _edited(letter: Letter, text: str, given: str | None) -> Envelope | None:
    """What a person makes of a letter that is shown as `text`; None: the same.

    Raises `ConfigError`; what was written in an editor is kept then.
    """
    inside = letter.inside
    if not isinstance(inside, Envelope):
        return None  # `shown` has refused it
    if inside.type and inside.type not in readable_types():
        remark(f"{inside.type} is not declared here, so it is not checked; see --import")
    if given is not None:
        return edited(inside, given)
    file = EditFile(text)
    try:
        written = file.edit()
        changed = None if written.strip() == text.strip() else edited(inside, written)
    except ConfigError:
        if file.is_as_shown():  # a message need not lie about
            file.remove()
        else:
            remark(f"what was written is kept: {file.path}")
        raise
    file.remove()
    return changed


@app.command()
@takes_brokers
def replay(
    address: Address,
    ids: OneId = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    to: To = "",
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
    try:
        sign = signing_anew(brokers.names)
    except ConfigError as error:
        fail(str(error), codes.USAGE)

    async def one(reader: DeadLetterReader, letter: Letter, counts: LetterOutcomes) -> bool:
        return await dead.replay(
            reader, address, letter, counts, to=to, every_channel=every_channel, sign_anew=sign
        )

    act = None if dry_run else one
    _change("replayed", "are listed still, though replayed", brokers, address, wanted, limit, act)


@app.command()
@takes_brokers
def drop(
    address: Address,
    ids: OneId = [],
    reason: Reason = "",
    type_name: TypeName = "",
    limit: Limit = None,
    every: All = False,
    dry_run: DryRun = False,
    brokers: Brokers = Brokers(),
    store: Store = "",
) -> None:
    """Give letters up for good; those of durable actors in their store (--store) as well."""
    wanted = _needed(ids, reason, type_name, every=every)
    until = contextlib.AsyncExitStack()
    rows = LetterRows(store, address, until)

    async def one(_reader: DeadLetterReader, letter: Letter, counts: LetterOutcomes) -> bool:
        if not await rows.drop(letter):
            counts.rows += 1
            return False
        dead.drop(letter, counts)
        return True

    act = None if dry_run else one
    _change("dropped", "were not dropped", brokers, address, wanted, limit, act, until)


def _change(
    verb: str,
    taken_back: str,
    brokers: Brokers,
    address: str,
    wanted: Filter,
    limit: int | None,
    act: Callable[[DeadLetterReader, Letter, LetterOutcomes], Awaitable[bool]] | None,
    until: contextlib.AsyncExitStack | None = None,
) -> int:
    """Do `act` to all letters that are meant (None: count them), and say what became of them.

    Returns how many it was done to.

    `taken_back`: what is so of letters that the broker took back before they were finished.
    `until`: closes what `act` has opened.
    """

    async def each() -> tuple[LetterOutcomes, str]:
        async with until or contextlib.AsyncExitStack():
            return await _each(brokers, address, wanted, limit, verb, act)

    counts, missing = execute(each())
    would = "would be " if act is None else ""
    letters = f"{counts.done} letter{'' if counts.done == 1 else 's'}"
    remark(f"{letters} {would}{verb}")
    for left in counts.left:
        remark(f"left: {left}")
    if counts.back:
        fail(
            f"{counts.back} of the letters {taken_back}: the connection to nsqd was lost "
            "meanwhile; repeat the command"
        )
    if missing:
        fail(missing)
    if counts.events or counts.large or counts.unsigned or counts.rows:
        fail(f"not all could be {verb}, see above")
    return counts.done


async def _each(
    brokers: Brokers,
    address: str,
    wanted: Filter,
    limit: int | None,
    what: str,
    act: Callable[[DeadLetterReader, Letter, LetterOutcomes], Awaitable[bool]] | None,
) -> tuple[LetterOutcomes, str]:
    """Do `act` to all letters that are meant, or count them; and what was not reached."""
    counts = LetterOutcomes()
    await check_beginnings(brokers, address, wanted)
    async with letters_of(brokers, address) as reader:
        if reader is None:
            return counts, ""
        progress = Progress(what, reader)
        meant = 0
        async for letter in reader:
            if not wanted.takes(letter):
                reader.keep(letter)
            elif act is None:
                counts.done += 1
                reader.keep(letter)
            elif not await act(reader, letter, counts):
                reader.keep(letter)
            meant += wanted.takes(letter)
            if limit is not None and meant >= limit:
                return counts, ""
            progress.tell(counts.done)
        if reader.again:
            remark(f"{reader.again:,} came again, or are copies of what was replayed: still listed")
        return counts, why_missing(reader) if reader.missing else why_unknown(reader, address)


def _needed(ids: list[str], reason: str, type_name: str, *, every: bool) -> Filter:
    if not (ids or reason or type_name or every):
        fail("say which letters: --id, --reason, --type, or --all", codes.USAGE)
    return Filter(tuple(ids), reason, type_name)
